"""`sluice fault`: makes things go wrong in the running local cloud, on demand."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from cli.lib.project import LOCAL, CommandError
from cli.lib.terminal import columns, console
from local.cloud import LocalCloud, LocalCloudError
from local.faults.plan import KINDS

_COUNTS = ("seed", "seen", "struck", "landed")
PLACES = {
    "endpoint": "of an endpoint's answers, --scope being endpoint names",
    "table": "of DynamoDB calls, --scope being table names",
    "function": "of a function's invocations, --scope being function names",
}


def _said(what: str) -> str:
    return re.sub(r"`(\w+)`", lambda option: option[1].upper(), what)


def kinds() -> str:
    """All kinds, for the help text."""
    lines = []
    for place, text in PLACES.items():
        lines += ["", f"kinds {text}:"]
        lines += [f"  {kind:<30} {_said(what)}" for kind, (target, what) in KINDS.items() if target == place]
    return "\n".join(lines[1:])


def show() -> None:
    """List the faults that are set.

    Raises:
        CommandError: no local cloud is running.

    """
    faults = _call("GET")["faults"]
    if not faults:
        console.print("No faults are set.")
        return
    lines = []
    for fault in faults:
        scope = fault["scope"] if fault["operation"] == "*" else f"{fault['scope']} {fault['operation']}"
        bound = "" if fault["count"] is None else f", {fault['count']} at most"
        counts = (str(fault[name]) for name in _COUNTS)
        lines.append((fault["id"], fault["kind"], scope, f"{fault['probability']:.0%}{bound}", *counts))
    columns(("id", "kind", "scope", "strikes", *_COUNTS), lines, right=_COUNTS)


def add(fields: Mapping[str, object]) -> None:
    """Set a fault and print its id.

    Raises:
        CommandError: no local cloud is running, or the fault makes no sense.

    """
    console.print(_call("POST", body=fields)["id"])


def clear(fault_id: str | None) -> None:
    """Take one fault away, or all. Raises as `add`."""
    _call("DELETE", f"/{quote(fault_id, safe='')}" if fault_id else "")


def _call(method: str, path: str = "", body: object = None) -> Any:
    cloud = LocalCloud.find(LOCAL)
    if cloud is None:
        raise CommandError("No local cloud is running. Start one with: make up")
    try:
        return cloud.ask(f"faults{path}", method=method, body=body)
    except LocalCloudError as error:
        raise CommandError(str(error)) from None
    except (OSError, ValueError) as error:
        raise CommandError(f"The local cloud does not answer: {error}") from None
