"""`sluice fault`: inject repeatable faults into the running local cloud."""

import argparse
import re
import textwrap
from typing import Any
from urllib.parse import quote

from cli.lib.command_line import instead_of_stage, meant
from cli.lib.project import CommandError, UsageError, why
from cli.lib.stack import running_cloud
from cli.lib.terminal import columns, console, print_json

HELP = "Cause repeatable faults in the running local cloud."
_INDENT, _WIDTH = 32, 80
_COUNTS = ("seed", "seen", "struck", "landed")
_TARGETS = {
    "endpoint": "of an endpoint's responses; --scope is a pattern of endpoint names",
    "table": "of DynamoDB calls; --scope is a pattern of table names",
    "function": "of a function's invocations; --scope is a pattern of function names",
    "route": "of WebSocket events; --scope is a pattern of route keys, such as $default",
    "socket": "of WebSocket connections; --scope is a pattern of stages",
    "event": "of asynchronous invocations; --scope is a pattern of function names",
}
_FIELDS = (
    "kind",
    "scope",
    "operation",
    "containing",
    "count",
    "probability",
    "seed",
    "seconds",
    "status",
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add `list`, `set` and `clear`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Show the faults that are set, and how many requests each has seen and struck."
    listed = commands.add_parser("list", help=text, description=text)
    listed.add_argument("--json", action="store_true", help="print JSON")
    listed.set_defaults(run=show)
    text = "Set a fault and print its id. Without --count and --probability it strikes once."
    raw = argparse.RawDescriptionHelpFormatter
    added = commands.add_parser(
        "set", help=text, description=text, epilog=_kinds(), formatter_class=raw
    )
    added.set_defaults(run=set_fault)
    text = "the kind of fault; the kinds are listed below"
    added.add_argument("kind", type=_kind, metavar="KIND", help=text)
    text = "names of endpoints, tables or functions, with * and ? (all)"
    added.add_argument("--scope", default="*", metavar="PATTERN", help=text)
    text = "names of DynamoDB calls, such as PutItem, with * and ? (all)"
    added.add_argument("--operation", default="*", metavar="PATTERN", help=text)
    text = "only DynamoDB calls, or requests to a container, whose JSON contains this text"
    added.add_argument("--containing", metavar="TEXT", help=text)
    added.add_argument("--count", type=int, metavar="N", help="strike at most N requests")
    added.add_argument(
        "--probability", type=float, metavar="P", help="strike each request with this probability"
    )
    text = "the seed that decides, with --probability, which requests are struck (0)"
    added.add_argument("--seed", type=int, default=0, metavar="N", help=text)
    text = "bytes of the response before it strikes, or MIN-MAX (0)"
    added.add_argument("--after", default="0", metavar="BYTES", help=text)
    added.add_argument(
        "--seconds", type=float, metavar="S", help="how long a fault that delays lasts (1)"
    )
    added.add_argument(
        "--status", type=int, metavar="STATUS", help="the status of a container's error (500)"
    )
    added.add_argument("--json", action="store_true", help="print the whole fault as JSON")
    text = "Remove one fault, or all."
    cleared = commands.add_parser("clear", help=text, description=text)
    cleared.set_defaults(run=clear)
    cleared.add_argument("id", nargs="?", help="the id that `sluice fault set` printed (all)")
    instead_of_stage(parser, "There are faults only in the local cloud.")


def _kind(text: str) -> str:
    """Parse a kind of fault."""
    from local.faults.plan import KINDS

    if text in KINDS:
        return text
    near = meant(text, KINDS)
    hint = f" Did you mean {near}?" if near else ""
    kinds = ", ".join(KINDS)
    raise argparse.ArgumentTypeError(f"there is no kind {text!r}.{hint} The kinds are: {kinds}.")


def _kinds() -> str:
    """Return a table of all kinds, for the help text."""
    from local.faults.plan import KINDS

    lines = []
    for target, text in _TARGETS.items():
        lines += ["", f"kinds {text}:"]
        for kind, (place, description) in KINDS.items():
            if place == target:
                wrapped = textwrap.wrap(_with_options(description), _WIDTH - _INDENT)
                lines.append(f"  {kind:<{_INDENT - 2}}{wrapped[0]}")
                lines += [" " * _INDENT + line for line in wrapped[1:]]
    return "\n".join(lines[1:])


def _with_options(description: str) -> str:
    """Return a kind's description with its fields in upper case, as the help writes values of
    options.
    """
    return re.sub(r"`(\w+)`", lambda field: field[1].upper(), description)


def show(args: argparse.Namespace) -> None:
    """Print the faults that are set."""
    faults = _call("GET")["faults"]
    if args.json:
        print_json(faults)
        return
    if not faults:
        console.print("No faults are set.")
        return
    lines = []
    for fault in faults:
        scope = (
            fault["scope"]
            if fault["operation"] == "*"
            else f"{fault['scope']} {fault['operation']}"
        )
        bound = "" if fault["count"] is None else f", {fault['count']} at most"
        counts = (f"{fault[name]:,}" for name in _COUNTS)
        lines.append(
            (fault["id"], fault["kind"], scope, f"{fault['probability']:.0%}{bound}", *counts)
        )
    columns(("id", "kind", "scope", "strikes", *_COUNTS), lines, right=_COUNTS)


def set_fault(args: argparse.Namespace) -> None:
    """Set a fault and print its id. Raises CommandError if the fault is invalid."""
    after, _, upper = args.after.partition("-")
    fields = {name: getattr(args, name) for name in _FIELDS}
    try:
        fields |= {"after": int(after), "after_most": int(upper) if upper else None}
    except ValueError:
        raise UsageError(f"--after {args.after}: must be BYTES or MIN-MAX") from None
    fault = _call("POST", body=fields)
    if args.json:
        print_json(fault)
        return
    console.print(fault["id"])


def clear(args: argparse.Namespace) -> None:
    """Remove one fault, or all."""
    _call("DELETE", f"/{quote(args.id, safe='')}" if args.id else "")


def _call(method: str, path: str = "", body: object = None) -> Any:
    from local.cloud import LocalCloudError, LocalCloudRefusal

    cloud = running_cloud()
    try:
        return cloud.ask(f"faults{path}", method=method, body=body)
    except LocalCloudRefusal as error:
        name, colon, reason = str(error).partition(": ")
        option = f"--{name}" if name in _FIELDS[1:] else name
        raise UsageError(f"{option}{colon}{reason}") from None
    except LocalCloudError as error:
        raise CommandError(str(error)) from None
    except (OSError, ValueError) as error:
        raise CommandError(f"The local cloud does not answer: {why(error)}") from None
