"""`sluice keys ...`: manage a deployed stack's API keys through its admin API."""

import argparse
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from rich.table import Table

from cli.lib import values
from cli.lib.admin_api import add_access, admin
from cli.lib.printable import printable
from cli.lib.project import CommandError, UsageError
from cli.lib.terminal import (
    confirm,
    console,
    errors,
    item,
    literal,
    print_json,
    require_terminal,
    show,
)

HELP = "Make, list, change, rotate, revoke and delete API keys."
_LIMITS = {
    "requests_per_minute": (values.count, "requests that may begin in a minute"),
    "tokens_per_minute": (values.count, "prompt and completion tokens in a minute, such as 50k"),
    "concurrent_streams": (values.count, "requests that may run at once, 200 at most"),
    "tokens_per_day": (values.count, "prompt and completion tokens in a day (UTC), such as 2M"),
    "tokens_per_month": (values.count, "the same in a month"),
    "cost_per_day": (values.amount, "cost in a day (UTC) in USD, such as 12.50"),
    "cost_per_month": (values.amount, "the same in a month"),
}
_OPTIONS = {
    "name": "--name",
    "owner": "--owner",
    "expires_at": "--expires",
    "models": "--model",
    "networks": "--network",
    "redact": "--redact",
    "moderate": "--moderate",
    **{f"limits.{name}": f"--{name.replace('_', '-')}" for name in _LIMITS},
}
"""The options that set the fields of a key."""
_MAX_GRACE_S = 30 * 86_400
_COLOURS = {"active": "green", "disabled": "yellow", "expired": "red", "revoked": "red"}


def add(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each operation on keys."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, *, key: bool = True
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if key:
            added.add_argument(
                "id", type=values.key_id, metavar="KEY", help="the key's id, such as abcdefghijkl"
            )
        add_access(added)
        return added

    create = command(
        "create", _create, "Make a key and print it. It cannot be printed again.", key=False
    )
    create.add_argument("--name", default="unnamed", help="the key's name in reports (unnamed)")
    _add_fields(create)
    listed = command("list", _list, "List keys, the newest first.", key=False)
    listed.add_argument("--owner", help="only this owner's keys")
    command("show", _show, "Show a key, its limits and what is left of its budgets.")
    text = (
        "Change a key. Fields without an option stay as they are. `none` removes a limit; 0 allows "
        "nothing."
    )
    update = command("update", _update, text)
    update.add_argument("--name", help="the key's new name in reports")
    _add_fields(update)
    text = "Make a new secret for a key and print the new key; its id, budget and usage stay."
    rotate = command("rotate", _rotate, text)
    text = "how much longer the old secret is accepted (24h; 30d at most)"
    rotate.add_argument("--grace", type=_grace, default=86_400, metavar="TIME", help=text)
    text = (
        "Revoke a leaked key: all its secrets are refused from now on, and its running requests "
        "are stopped."
    )
    revoke = command("revoke", _revoke, text, key=False)
    text = (
        "the key's id, or the whole key, of which only the id leaves this machine; - reads it "
        "from standard input"
    )
    revoke.add_argument("id", type=values.pasted_key_id, metavar="KEY", help=text)
    command(
        "disable",
        lambda args: _enable(args, yes=False),
        "Refuse a key's requests until it is enabled.",
    )
    command(
        "enable", lambda args: _enable(args, yes=True), "Accept a disabled key's requests again."
    )
    text = (
        "Delete a key for ever, and the answers that it has stored; its usage stays in the ledger "
        "and in reports."
    )
    delete = command("delete", _delete, text)
    delete.add_argument(
        "--keep-answers",
        action="store_true",
        help="keep its stored answers and conversations until they expire",
    )
    delete.add_argument(
        "--yes", action="store_true", help="do not ask; required without a terminal"
    )


def _grace(text: str) -> int:
    """Parse a span of 30 days at most into seconds."""
    seconds = values.seconds(text)
    if seconds > _MAX_GRACE_S:
        raise argparse.ArgumentTypeError(f"{text!r} is over 30d")
    return seconds


def _add_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--owner", help="the key's owner")
    text = "when the key expires: a duration such as 30d, or a date (never)"
    parser.add_argument(
        "--expires", type=values.moment, default=argparse.SUPPRESS, metavar="WHEN", help=text
    )
    text = "a model that the key may use; may be repeated (all)"
    parser.add_argument("--model", action="append", metavar="NAME", help=text)
    text = "a network that the key may be used from; may be repeated (everywhere)"
    parser.add_argument("--network", action="append", metavar="CIDR", help=text)
    text = (
        "what is replaced in answers to the key, such as email or card, beside what the "
        "deployment replaces; may be repeated (no more)"
    )
    parser.add_argument("--redact", action="append", metavar="KIND", help=text)
    text = (
        "block: the deployment's moderation blocks the key's prompts and answers, although "
        "moderate_mode is score; none: as moderate_mode says (none)"
    )
    parser.add_argument("--moderate", choices=("block", values.NONE), help=text)
    for name, (kind, text) in _LIMITS.items():
        flag, metavar = f"--{name.replace('_', '-')}", "MONEY" if kind is values.amount else "N"
        parser.add_argument(
            flag, dest=name, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=text
        )


def _fields(args: argparse.Namespace) -> dict[str, Any]:
    """Return the body of a request that makes or changes a key, from the command line."""
    body: dict[str, Any] = {
        name: getattr(args, name) for name in ("name", "owner") if getattr(args, name) is not None
    }
    if hasattr(args, "expires"):
        body["expires_at"] = args.expires
    if args.model:
        body["models"] = None if args.model == [values.NONE] else args.model
    if args.network:
        body["networks"] = None if args.network == [values.NONE] else args.network
    if args.redact:
        body["redact"] = None if args.redact == [values.NONE] else args.redact
    if args.moderate:
        body["moderate"] = None if args.moderate == values.NONE else args.moderate
    if limits := {name: getattr(args, name) for name in _LIMITS if hasattr(args, name)}:
        body["limits"] = limits
    return body


def _print_secret(args: argparse.Namespace, key: dict[str, Any]) -> None:
    if args.json:
        print_json(key)
        return
    errors.print(
        f"[dim]Key {literal(key['id'])} ({literal(key['name'])}). It is shown only once; "
        "only its hash is kept.[/dim]"
    )
    sys.stdout.write(f"{printable(key['secret'], keep='')}\n")


def _create(args: argparse.Namespace) -> None:
    key = admin(args, _OPTIONS)("POST", "/keys", _fields(args))
    _print_secret(args, key)
    if not args.json:
        streams = values.counted(key["limits"]["concurrent_streams"], "stream")
        errors.print(
            f"[dim]It may run {streams} at once; --concurrent-streams sets another limit.[/dim]"
        )
        _warn_of_nothing(key)


def _warn_of_nothing(key: dict[str, Any]) -> None:
    """Warn if a limit of 0 refuses every request of a key. 0 might be meant as no limit."""
    for name, most in key["limits"].items():
        if most is not None and not Decimal(most):
            errors.print(
                "[yellow]![/yellow] Every request of this key is refused, because "
                f"--{name.replace('_', '-')} is 0. Without a limit, it is `none`."
            )


def _rotate(args: argparse.Namespace) -> None:
    key = admin(args)("POST", f"/keys/{args.id}/rotate", {"grace_seconds": args.grace})
    _print_secret(args, key)
    if not args.json and key["old_secret_expires_at"] is not None:
        until = values.when(key["old_secret_expires_at"])
        errors.print(f"[dim]The old secret is valid until {until} UTC.[/dim]")


def _revoke(args: argparse.Namespace) -> None:
    key = admin(args)("POST", f"/keys/{args.id}/revoke")
    if args.json:
        print_json(key)
        return
    show_key(key)
    running = values.counted(key["cancelled"], "running request")
    console.print(f"Revoked. It had {running}; what runs ends within seconds.")
    console.print(
        f"[dim]For another secret: `sluice keys rotate {args.id}`, then "
        f"`sluice keys enable {args.id}`[/dim]"
    )


def _list(args: argparse.Namespace) -> None:
    keys = list(admin(args).pages("/keys", owner=args.owner, limit=100))
    if args.json:
        print_json(keys)
        return
    if not keys:
        console.print("There are no keys. Make one with: `sluice keys create --name NAME`")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("key", "name", "owner", "status", "networks", "created", "last used"):
        table.add_column(name, no_wrap=name in {"key", "last used"})
    for name in ("requests", "tokens", "cost"):
        table.add_column(name, justify="right")
    for key in keys:
        totals = key["totals"]
        table.add_row(
            literal(key["id"]),
            literal(key["name"]),
            literal(key["owner"]),
            f"[{_COLOURS[key['status']]}]{key['status']}[/]",
            literal(" ".join(key["networks"] or ())),
            values.when(key["created_at"]),
            values.ago(key["last_used_at"]),
            f"{totals['requests']:,}",
            f"{totals['prompt_tokens'] + totals['completion_tokens']:,}",
            literal(totals["cost"]),
        )
    show(table)


def _show(args: argparse.Namespace) -> None:
    api = admin(args)
    key, budget = api("GET", f"/keys/{args.id}"), api("GET", f"/keys/{args.id}/budget")
    if args.json:
        print_json({**key, "budget": budget})
        return
    show_key(key)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("limit", "maximum", "spent", "remaining", "used", "resets (UTC)"):
        table.add_column(
            name, justify="right" if name in {"maximum", "spent", "remaining"} else "left"
        )
    for name, limit in key["limits"].items():
        window = budget.get(name)
        text = "none" if limit is None else _figure(limit)
        words = name.replace("_", " ")
        if window is None:
            table.add_row(words, text)
            continue
        table.add_row(
            words,
            text,
            _figure(window["spent"]),
            _figure(window["left"]),
            _bar(window),
            values.when(window["resets_at"]),
        )
    show(table)


def _figure(value: int | str | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else literal(value)


def show_key(key: dict[str, Any]) -> None:
    """Print a key's fields, except its limits."""
    status = f"[{_COLOURS[key['status']]}]{key['status']}[/]"
    console.print(f"[bold]{literal(key['name'])}[/bold]  {literal(key['prefix'])}-…  {status}")
    fields = {
        "owner": literal(key["owner"]),
        "created": values.when(key["created_at"]),
        "last used": values.ago(key["last_used_at"]),
        "expires": values.when(key["expires_at"]) or "never",
        "models": literal(", ".join(key["models"])) if key["models"] else "all",
        "networks": literal(", ".join(key["networks"])) if key["networks"] else "everywhere",
        "redacted": literal(", ".join(key.get("redact") or ())),
        "moderation": literal(key.get("moderate") or ""),
        "old secret": f"valid until {values.when(key['old_secret_expires_at'])} UTC"
        if key["old_secret_expires_at"]
        else "",
        "running": f"{key['in_flight']:,}",
        "used": "{requests:,} requests, {prompt_tokens:,} prompt tokens, "
        "{completion_tokens:,} completion tokens, cost ".format(**key["totals"])
        + literal(key["totals"]["cost"]),
    }
    for name, value in fields.items():
        if value:
            item(f"  [dim]{name:<10}[/dim]", value)


def _bar(window: dict[str, Any], width: int = 20) -> str:
    if window["limit"] is None:
        return ""
    limit = float(window["limit"])
    share = min(1.0, float(window["spent"]) / limit) if limit else 1.0
    colour = "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
    full = round(share * width)
    return f"[{colour}]{'━' * full}[/][dim]{'━' * (width - full)}[/dim] {share:.0%}"


def _update(args: argparse.Namespace) -> None:
    body = _fields(args)
    if not body:
        raise UsageError(
            "Nothing was changed, because no option names a change. `sluice keys update --help` "
            "lists the options."
        )
    key = admin(args, _OPTIONS)("PATCH", f"/keys/{args.id}", body)
    _print_changed(args, key)
    if not args.json:
        _warn_of_nothing(key)
        if reason := _refused(key):
            errors.print(f"[yellow]![/yellow] {literal(reason)}")


def _enable(args: argparse.Namespace, *, yes: bool) -> None:
    key = admin(args)("PATCH", f"/keys/{args.id}", {"enabled": yes})
    _print_changed(args, key)
    if not (reason := _refused(key)):
        return
    if yes:  # it was asked for, and is not so
        raise CommandError(reason)
    if not args.json:
        errors.print(f"[yellow]![/yellow] {literal(reason)}")


def _refused(key: dict[str, Any]) -> str:
    """Return why a key is refused although it may be enabled, and what to do; or an empty text."""
    if key["status"] == "revoked":
        enable = "" if key["enabled"] else f", then `sluice keys enable {key['id']}`"
        return (
            "This key is revoked: it has no valid secret, and its requests get a 401. Make another "
            f"secret with: `sluice keys rotate {key['id']}`{enable}"
        )
    if key["status"] == "expired":
        return (
            f"This key expired at {values.when(key['expires_at'])} UTC, and its requests get a 401. "
            f"Give it more time with: `sluice keys update {key['id']} --expires 30d`"
        )
    return ""


def _print_changed(args: argparse.Namespace, key: dict[str, Any]) -> None:
    if args.json:
        print_json(key)
        return
    show_key(key)
    limits = (
        f"{_figure(limit)} {name.replace('_', ' ')}"
        for name, limit in key["limits"].items()
        if limit is not None
    )
    item(f"  [dim]{'limits':<10}[/dim]", ", ".join(limits) or "none")


def _delete(args: argparse.Namespace) -> None:
    api = admin(args)
    if not args.yes:
        require_terminal("Deleting a key cannot be undone: confirm it with --yes.")
        key = api("GET", f"/keys/{args.id}")
        what = "" if args.keep_answers else ", with the answers that it has stored,"
        if not confirm(f"Delete {literal(key['prefix'])} ({literal(key['name'])}){what} for ever?"):
            raise CommandError("Nothing was deleted.")
    query = {"keep_answers": "true"} if args.keep_answers else {}
    deleted = api("DELETE", f"/keys/{args.id}", **query)
    if args.json:
        print_json({"id": args.id, "deleted": True, "answers": deleted["answers"]})
        return
    console.print(f"Deleted {args.id}. Its usage stays in reports.")
    if deleted["answers"] == "deleting":
        console.print("What it has stored is deleted within some minutes.")
