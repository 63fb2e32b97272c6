"""An admin API that puts an attacker's text into every field."""

from collections.abc import Iterator
from typing import Any

from cli.lib.project import CommandError

HOSTILE = "=1+1\x1b[2J\x9b31m\r\n\u202e[red]"
KEY = "abcdefghijkl"
_LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "concurrent_streams",
    "tokens_per_day",
    "cost_per_day",
)
_ROW = {
    **dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "recovered", "open"), 1),
    "outcomes": {},
    "day": "2026-11-21",
    "model": HOSTILE,
    "key": KEY,
    "cost": "0.5",
}
FACTS = {
    "id": KEY,
    "prefix": f"sk-{KEY}",
    "name": HOSTILE,
    "owner": HOSTILE,
    "status": "active",
    "enabled": True,
    "models": [HOSTILE],
    "networks": [HOSTILE],
    "limits": dict.fromkeys(_LIMITS),
    "in_flight": 0,
    "totals": {"requests": 1, "prompt_tokens": 2, "completion_tokens": 3, "cost": "0.5"},
    **dict.fromkeys(("created_at", "last_used_at", "expires_at", "old_secret_expires_at")),
}
"""A key, as the API describes it."""
_TEXTS = ("action", "actor", "address", "outcome", "code", "invocation", "id")
_ENTRY = {
    **dict.fromkeys(_TEXTS, HOSTILE),
    "at": 1.0,
    "key": KEY,
    "attempts": None,
    "asked": {HOSTILE: HOSTILE},
    "before": {},
    "after": {},
}
_LISTS: dict[str, list[dict[str, Any]]] = {
    "/usage": [_ROW],
    "/keys": [FACTS],
    "/audit": [_ENTRY, {**_ENTRY, "code": None}],
}


class HostileAdmin:
    """A stand-in for `cli.lib.admin_api.Admin`."""

    def __call__(
        self, method: str, path: str, body: object = None, **query: object
    ) -> dict[str, Any]:
        """Return hostile fields. Reject an unknown path with a hostile message."""
        if path.endswith("/budget"):
            return {}
        if path.startswith("/keys/"):
            return {**FACTS, "cancelled": 1}
        if path.startswith("/requests/"):
            return {"object": "request", "id": HOSTILE, "model": HOSTILE}
        raise CommandError(HOSTILE)

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Return a list of hostile items."""
        return iter(_LISTS[path])
