"""`sluice usage reconcile`: reconcile part by part.

Each call covers a part, so it stays short for any amount of usage.
"""

from collections.abc import Callable
from typing import Any, Protocol

_KEYS_AT_ONCE = 100
# a correction between two parts makes a difference that the next attempt does not find
_ATTEMPTS = 2
_AMOUNTS = ("requests", "prompt_tokens", "completion_tokens", "cost")


class Api(Protocol):
    """The admin API."""

    def __call__(
        self, method: str, path: str, body: object = None, **query: object
    ) -> dict[str, Any]:
        """Make a call and return its JSON."""


def reconcile(api: Api, progress: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Return a report of the same form as that of `POST /reconcile`.

    `progress` is called with the hour that has been reached.
    """
    report: dict[str, Any] = {}
    for _ in range(_ATTEMPTS):
        report = _attempt(api, progress)
        if report["agrees"]:
            break
    return report


def _attempt(api: Api, progress: Callable[[str], None]) -> dict[str, Any]:
    past: dict[str, dict[str, Any]] = {}
    report: dict[str, Any] = {"agrees": True, "differences": [], "differences_left": 0, "keys": []}
    since: str | None = None
    while True:
        part = api("POST", "/reconcile/hours", {"since": since})
        _append(report, part)
        for key in part["keys"]:
            _add(past.setdefault(key["key"], _zero(key["key"])), key)
        since = str(part["until"])
        progress(since)
        if part["done"]:
            break
    names = sorted(past.keys() | set(part["every_key"]))
    report["rolled"] = part["rolled"]
    for start in range(0, len(names), _KEYS_AT_ONCE):
        batch = [past.get(name, _zero(name)) for name in names[start : start + _KEYS_AT_ONCE]]
        part = api("POST", "/reconcile/keys", {"since": since, "keys": batch})
        _append(report, part)
        report["keys"] += part["keys"]
    return report


def _append(report: dict[str, Any], part: dict[str, Any]) -> None:
    report["agrees"] = report["agrees"] and part["agrees"]
    report["differences"] += part["differences"]
    report["differences_left"] += part["differences_left"]


def _zero(key: str) -> dict[str, Any]:
    return {
        "key": key,
        **{place: dict.fromkeys(_AMOUNTS, 0) for place in ("ledger", "rollups")},
        "refused": 0,
        "open": 0,
    }


def _add(total: dict[str, Any], part: dict[str, Any]) -> None:
    for place in ("ledger", "rollups"):
        for name in _AMOUNTS:
            total[place][name] += part[place][name]
    for name in ("refused", "open"):
        total[name] += part[name]
