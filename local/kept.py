"""The file with what outlives a local cloud, as `local.moto.kept` makes it.

{"version": 1,
 "tables": {NAME: {"region": R, "keys": [KeySchema], "items": [item in DynamoDB's JSON]}},
 "secrets": {NAME: {"region": R, "value": SecretString}}}
"""

import json
from typing import Any

VERSION = 1


class KeptError(ValueError):
    """The kept state cannot be used. The message is one line."""


def check(text: str) -> dict[str, Any]:
    """Return the kept state that a file's text has.

    Raises KeptError.
    """
    try:
        found = json.loads(text)
        if found["version"] != VERSION:
            raise KeptError(f"it has version {found['version']}, this checkout reads {VERSION}")
        for table in found["tables"].values():
            table["region"], table["keys"], iter(table["items"])
        for secret in found["secrets"].values():
            secret["region"], str(secret["value"])
    except KeptError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeptError("it is damaged") from None
    return {name: found[name] for name in ("version", "tables", "secrets")}
