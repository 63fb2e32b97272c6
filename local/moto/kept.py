"""The state that outlives a local cloud: the items of tables, and generated secrets.

moto holds everything in memory. At its end the local cloud fetches `dump()` and writes it to a
file; at its next start it sends the file back for `load`. When a stack creates a table or secret
with the same generated name, apart from its random end, the resource gets the name and the content
that it had. `local.kept` has the form.
"""

import base64
import threading
from collections.abc import Callable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.secretsmanager.models import secretsmanager_backends

from local.kept import VERSION, KeptError

RANDOM = 12
"""Characters of a generated name's random end."""
_KINDS = ("tables", "secrets")

_lock = threading.Lock()
_waiting: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
"""The kept resources that no stack has created again yet."""


def load(found: dict[str, Any]) -> None:
    """Keep the state that `check` returned. Stacks that create these resources get them back."""
    with _lock:
        for kind in _KINDS:
            _waiting[kind] = dict(found[kind])


def name(kind: str, region: str, start: str) -> str | None:
    """Return the name of a kept table or secret whose generated name has this start, or None."""
    with _lock:
        return next(
            (
                name
                for name, found in _waiting[kind].items()
                if name[:-RANDOM] == start and found["region"] == region
            ),
            None,
        )


def restore_table(region: str, name: str) -> None:
    """Put the kept items into a table that was just created.

    Raises KeptError if the table has other keys than the kept one.
    """
    with _lock:
        found = _waiting["tables"].get(name)
        if found is None or found["region"] != region:
            return
        table = dynamodb_backends[DEFAULT_ACCOUNT_ID][region].get_table(name)
        if table.schema != found["keys"]:
            raise KeptError(
                f"The kept items of {name} have other keys than this table. Forget them with: "
                "sluice down --reset"
            )
        for item in found["items"]:
            table.put_item({name: _walk(value, base64.b64decode) for name, value in item.items()})
        del _waiting["tables"][name]


def take_secret(region: str, name: str) -> str | None:
    """Return the kept value of a secret that is about to be created, or None."""
    with _lock:
        found = _waiting["secrets"].get(name)
        if found is None or found["region"] != region:
            return None
        return str(_waiting["secrets"].pop(name)["value"])


def dump() -> dict[str, Any]:
    """Return all tables and secrets, and the kept ones that no stack has created again."""
    with _lock:
        tables, secrets = dict(_waiting["tables"]), dict(_waiting["secrets"])
    for region, tables_of in list(dynamodb_backends[DEFAULT_ACCOUNT_ID].items()):
        for name, table in list(tables_of.tables.items()):
            items = [
                {name: _walk(value, _text) for name, value in item.to_json()["Attributes"].items()}
                for item in table.all_items()
            ]
            tables[name] = {"region": region, "keys": table.schema, "items": items}
    for region, secrets_of in list(secretsmanager_backends[DEFAULT_ACCOUNT_ID].items()):
        for secret in list(secrets_of.secrets.values()):
            versions = getattr(secret, "versions", {})  # a replica has none
            value = versions.get(secret.default_version_id, {}).get("secret_string")
            if value is not None and not secret.is_deleted():
                secrets[secret.name] = {"region": region, "value": value}
    return {"version": VERSION, "tables": tables, "secrets": secrets}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _walk(value: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Return an attribute value with its binary data changed, which JSON has as base64."""
    [(kind, content)] = value.items()
    if kind == "B":
        return {kind: change(content)}
    if kind == "BS":
        return {kind: [change(member) for member in content]}
    if kind == "M":
        return {kind: {name: _walk(member, change) for name, member in content.items()}}
    if kind == "L":
        return {kind: [_walk(member, change) for member in content]}
    return value
