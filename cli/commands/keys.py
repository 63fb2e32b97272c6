"""`sluice keys ...`: keys of a deployed stack, by its admin API."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from rich.table import Table

from cli.lib import values
from cli.lib.admin_api import ALL, RIGHTS, Admin
from cli.lib.printable import printable
from cli.lib.project import CommandError
from cli.lib.terminal import console, errors, literal, show

_LIMITS = {
    "requests_per_minute": values.count,
    "tokens_per_minute": values.count,
    "concurrent_streams": values.count,
    "tokens_per_day": values.count,
    "tokens_per_month": values.count,
    "cost_per_day": values.amount,
    "cost_per_month": values.amount,
}
_COLOURS = {"active": "green", "disabled": "yellow", "expired": "red", "revoked": "red"}


def add_access(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Let a command say which stack it means, and how it gets in; an `inner` one leaves what the outer one was told."""
    values.add_stack(parser, inner=inner)
    default = argparse.SUPPRESS if inner else False
    words = "invoke the admin function by IAM, without the admin secret"
    parser.add_argument("--iam", dest="right", action="store_const", const=ALL, default=default or None, help=words)
    words = "by IAM, with this right alone"
    parser.add_argument("--right", choices=RIGHTS, default=default or None, help=words)
    parser.add_argument("--json", action="store_true", default=default, help="print what the admin API answers")


def admin(given: argparse.Namespace) -> Admin:
    """Find what a command line means."""
    return Admin.of(given.stage, given.stack_name, right=given.right)


def add_keys(commands: Any) -> None:
    """Add the commands."""
    text = "Make, list, change, rotate, revoke and delete API keys."
    keys = commands.add_parser("keys", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str, *, key: bool = True
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = keys.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if key:
            added.add_argument("id", type=values.key_id, metavar="KEY", help="its id, such as abcdefghijkl")
        add_access(added)
        return added

    create = command("create", _create, "Make a key and print it, this once.", key=False)
    create.add_argument("--name", default="unnamed", help="what it is called in reports")
    _add_fields(create)
    listed = command("list", _list, "List keys, the newest first.", key=False)
    listed.add_argument("--owner", help="only this owner's")
    command("show", _show, "Show a key, its limits and what is left of its budgets.")
    update = command("update", _update, "Change a key; what is not named stays. `none` takes a limit away.")
    update.add_argument("--name")
    _add_fields(update)
    rotate = command("rotate", _rotate, "Give a key another secret and print it; id, budget and usage stay.")
    rotate.add_argument(
        "--grace", type=values.seconds, default=86_400, metavar="TIME", help="the old secret's last time (24h)"
    )
    text = "Revoke a key that got about: no secret of it is good any more, and what runs with it ends."
    revoke = command("revoke", _revoke, text, key=False)
    words = "its id, or the whole key, of which only the id leaves this machine; - reads it from standard input"
    revoke.add_argument("id", type=values.found_key, metavar="KEY", help=words)
    command("disable", lambda given: _enable(given, yes=False), "Refuse a key's requests until it is enabled.")
    command("enable", lambda given: _enable(given, yes=True), "Let a disabled key be used again.")
    delete = command("delete", _delete, "Delete a key for ever; its usage stays in ledger and reports.")
    delete.add_argument("--yes", action="store_true", help="do not ask, which needs a terminal")


def _add_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--owner", help="whose it is")
    parser.add_argument("--expires", type=values.moment, default=argparse.SUPPRESS, metavar="WHEN", help="30d, a date")
    parser.add_argument("--model", action="append", metavar="NAME", help="a model it may use, repeatable (all)")
    parser.add_argument(
        "--network", action="append", metavar="CIDR", help="a network it may be used from, repeatable (everywhere)"
    )
    for name, kind in _LIMITS.items():
        flag, metavar = f"--{name.replace('_', '-')}", "MONEY" if kind is values.amount else "N"
        parser.add_argument(flag, dest=name, type=kind, default=argparse.SUPPRESS, metavar=metavar)


def _fields(given: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {
        name: getattr(given, name) for name in ("name", "owner") if getattr(given, name) is not None
    }
    if hasattr(given, "expires"):
        body["expires_at"] = given.expires
    if given.model:
        body["models"] = None if given.model == [values.NONE] else given.model
    if given.network:
        body["networks"] = None if given.network == [values.NONE] else given.network
    if limits := {name: getattr(given, name) for name in _LIMITS if hasattr(given, name)}:
        body["limits"] = limits
    return body


def _secret(given: argparse.Namespace, key: dict[str, Any]) -> None:
    if given.json:
        sys.stdout.write(json.dumps(key, indent=2) + "\n")
        return
    errors.print(
        f"[dim]Key {literal(key['id'])} ({literal(key['name'])}). It is shown this once; only its hash is kept.[/dim]"
    )
    sys.stdout.write(f"{printable(key['secret'], keep='')}\n")


def _create(given: argparse.Namespace) -> None:
    key = admin(given)("POST", "/keys", _fields(given))
    _secret(given, key)
    if not given.json:
        most = key["limits"]["concurrent_streams"]
        errors.print(f"[dim]It may have {most} streams at once; --concurrent-streams says else.[/dim]")


def _rotate(given: argparse.Namespace) -> None:
    _secret(given, admin(given)("POST", f"/keys/{given.id}/rotate", {"grace_seconds": given.grace}))


def _revoke(given: argparse.Namespace) -> None:
    key = admin(given)("POST", f"/keys/{given.id}/revoke")
    if given.json:
        sys.stdout.write(json.dumps(key, indent=2) + "\n")
        return
    show_key(key)
    many = key["cancelled"]
    console.print(f"Revoked. {many} running request(s) were told to stop, and do within seconds.")
    console.print(f"[dim]For another secret: sluice keys rotate {given.id}, then sluice keys enable {given.id}[/dim]")


def _list(given: argparse.Namespace) -> None:
    keys = list(admin(given).pages("/keys", owner=given.owner, limit=100))
    if given.json:
        sys.stdout.write(json.dumps(keys, indent=2) + "\n")
        return
    if not keys:
        console.print("There are no keys. Make one with: sluice keys create --name NAME")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("key", "name", "owner", "status", "networks", "created", "last used"):
        table.add_column(name, no_wrap=name in {"key", "created"})
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


def _show(given: argparse.Namespace) -> None:
    api = admin(given)
    key, budget = api("GET", f"/keys/{given.id}"), api("GET", f"/keys/{given.id}/budget")
    if given.json:
        sys.stdout.write(json.dumps({**key, "budget": budget}, indent=2) + "\n")
        return
    show_key(key)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("limit", "most", "spent", "left", "used", "resets (UTC)"):
        table.add_column(name, justify="right" if name in {"most", "spent", "left"} else "left")
    for name, most in key["limits"].items():
        window = budget.get(name)
        shown = "none" if most is None else _figure(most)
        words = name.replace("_", " ")
        if window is None:
            table.add_row(words, shown)
            continue
        table.add_row(
            words,
            shown,
            _figure(window["spent"]),
            _figure(window["left"]),
            _bar(window),
            values.when(window["resets_at"]),
        )
    show(table)


def _figure(value: int | str | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else literal(value)


def show_key(key: dict[str, Any]) -> None:
    """Print what is known of a key, but its limits."""
    status = f"[{_COLOURS[key['status']]}]{key['status']}[/]"
    console.print(f"[bold]{literal(key['name'])}[/bold]  {literal(key['prefix'])}-…  {status}")
    facts = {
        "owner": literal(key["owner"]),
        "created": values.when(key["created_at"]),
        "last used": values.ago(key["last_used_at"]),
        "expires": values.when(key["expires_at"]) or "never",
        "models": literal(", ".join(key["models"])) if key["models"] else "all",
        "networks": literal(", ".join(key["networks"])) if key["networks"] else "everywhere",
        "old secret": f"good until {values.when(key['old_secret_expires_at'])}" if key["old_secret_expires_at"] else "",
        "running": str(key["in_flight"]),
        "used": "{requests:,} requests, {prompt_tokens:,} + {completion_tokens:,} tokens, ".format(**key["totals"])
        + literal(key["totals"]["cost"]),
    }
    for name, fact in facts.items():
        if fact:
            console.print(f"  [dim]{name:<10}[/dim] {fact}")


def _bar(window: dict[str, Any], width: int = 20) -> str:
    if window["limit"] is None:
        return ""
    most = float(window["limit"])
    share = min(1.0, float(window["spent"]) / most) if most else 1.0
    colour = "red" if share >= 1 else "yellow" if share >= 0.8 else "green"
    full = round(share * width)
    return f"[{colour}]{'━' * full}[/][dim]{'━' * (width - full)}[/dim] {share:.0%}"


def _update(given: argparse.Namespace) -> None:
    body = _fields(given)
    if not body:
        raise CommandError("Nothing to change was named; `sluice keys update --help` shows what can be.")
    _changed(given, admin(given)("PATCH", f"/keys/{given.id}", body))


def _enable(given: argparse.Namespace, *, yes: bool) -> None:
    _changed(given, admin(given)("PATCH", f"/keys/{given.id}", {"enabled": yes}))


def _changed(given: argparse.Namespace, key: dict[str, Any]) -> None:
    if given.json:
        sys.stdout.write(json.dumps(key, indent=2) + "\n")
        return
    show_key(key)
    limits = (f"{_figure(most)} {name.replace('_', ' ')}" for name, most in key["limits"].items() if most is not None)
    console.print(f"  [dim]{'limits':<10}[/dim] {', '.join(limits) or 'none'}")


def _delete(given: argparse.Namespace) -> None:
    api = admin(given)
    if not given.yes:
        if not sys.stdin.isatty():
            raise CommandError("Deleting a key is for ever: say so with --yes.")
        key = api("GET", f"/keys/{given.id}")
        console.print(f"Delete {literal(key['prefix'])} ({literal(key['name'])}) for ever? [y/N] ", end="")
        if input().strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was deleted.")
    api("DELETE", f"/keys/{given.id}")
    console.print(f"Deleted {given.id}. Its usage stays in reports.")
