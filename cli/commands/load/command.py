"""What `sluice load` does with its arguments: choose the target, run, compare, report."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.commands.check.base_url import model_of
from cli.commands.check.wire import NoResponse, Server
from cli.commands.load import ledger
from cli.commands.load.aiperf import export
from cli.commands.load.connection import Address
from cli.commands.load.forms import FORMS
from cli.commands.load.generator import Options, Run, generate
from cli.commands.load.page import page
from cli.commands.load.plan import Plan, Rate, read_asks
from cli.commands.load.report import show_report
from cli.commands.load.summary import Objectives, summarize
from cli.lib.admin_api import Admin
from cli.lib.project import CommandError, UsageError
from cli.lib.signals import ending
from cli.lib.stack import stay_local
from cli.lib.terminal import confirm, console, errors, literal, print_json, require_terminal, step
from cli.lib.trust import authority_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


@dataclass(frozen=True)
class Target:
    """An API to load. With `admin`, the run gets its own keys, and its requests are looked up."""

    url: str
    model: str
    authority: str | None = None
    admin: Admin | None = None
    key: str = ""
    sockets: str = ""
    """The address of its WebSockets, if the form needs it."""


def load(args: argparse.Namespace) -> None:
    """Run the load test.

    Raises:
        CommandError: too few requests were good, or the run could not be made.
        SystemExit: the status is 2, because this client was the bottleneck.
        KeyboardInterrupt: Ctrl-C ended the run, whose report is printed.
        UsageError: a file cannot be written.

    """
    plan = _plan(args)
    for path in filter(None, (args.html, args.aiperf)):
        try:
            path.open("a").close()  # no run is lost for a folder that is not there
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    target = _target(args)
    _ask(args, plan)
    objectives = Objectives(args.good, args.ttft, args.itl, args.within)
    with ending(), _keys(target, args, plan) as keys:
        options = Options(
            Address.of(target.url, target.authority),
            FORMS[args.form],
            target.model,
            [secret for _, secret in keys],
            max_open=args.max_open,
            timeout=args.timeout,
            silence=args.silence,
            slow_pace=args.slow_pace,
            sockets=target.sockets,
        )
        own = (target.url, keys[0][1], target.authority)
        before = None if target.admin else ledger.own_usage(*own)
        with _progress(plan, quiet=args.json) as progress:
            run = asyncio.run(generate(plan, options, progress))
        checked = _check(args, target, run, keys, before)
        # within the block: a report is not lost where the keys cannot be deleted
        report = _report(args, target, plan, run, objectives, checked)
    _exit(report, run)


def _report(
    args: argparse.Namespace,
    target: Target,
    plan: Plan,
    run: Run,
    objectives: Objectives,
    checked: ledger.Checked,
) -> dict[str, Any]:
    """Write and print the report, and return it."""
    report = summarize(
        run,
        target={"url": target.url, "model": target.model, "form": args.form},
        plan={
            "rate": list(args.rate),
            "seconds": args.duration,
            "arrivals": args.arrivals,
            "seed": args.seed,
            "prompts": "file" if args.prompts else f"{args.prompt_tokens} words",
            "max_tokens": args.max_tokens,
            "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.at)),
        },
        planned=sum(1 for _ in plan.moments()),
        objectives=objectives,
        checked=checked,
        max_open=args.max_open,
    )
    if args.html:
        args.html.write_text(page(report), encoding="utf-8")
    if args.aiperf:
        args.aiperf.write_text(json.dumps(export(run, report, args.seed), indent=2))
    if args.json:
        print_json(report)
    else:
        show_report(report)
    return report


def _exit(report: dict[str, Any], run: Run) -> None:
    if run.stopped:
        raise KeyboardInterrupt
    if report["client"]["bottleneck"]:
        raise SystemExit(2)
    goodput = report["goodput"]
    if report["ledger"]["agrees"] is False:
        raise CommandError("The ledger does not agree with what the client saw.")
    if not goodput["met"]:
        raise CommandError(
            f"{goodput['share']:.1%} of the requests were good; "
            f"{goodput['objectives']['share']:.0%} are wanted (--good)."
        )


def _plan(args: argparse.Namespace) -> Plan:
    if args.slow_readers + args.droppers + args.resumers > 1:
        raise UsageError("--slow-readers, --droppers and --resumers are more than 100% together.")
    plan = Plan(
        Rate(*args.rate),
        args.duration,
        read_asks(args.prompts, args.max_tokens) if args.prompts else None,
        arrivals=args.arrivals,
        seed=args.seed,
        prompt_tokens=args.prompt_tokens,
        max_tokens=args.max_tokens,
        slow=args.slow_readers,
        droppers=args.droppers,
        resumers=args.resumers,
    )
    plan.check()
    return plan


def _target(args: argparse.Namespace) -> Target:
    """Return the stage's own API, or the one at the URL.

    Raises:
        UsageError: the URL is another's, and --allow-host does not name it; or it is no base URL.
        CommandError: the stage is not deployed, or has no sockets.

    """
    if args.url is None:
        admin = Admin.of(args.stage, args.stack_name)
        domain = admin.outputs.get("Domain") or admin.outputs["DistributionDomain"]
        plain = args.stage == "local" and admin.authority is None
        url = f"{'http' if plain else 'https'}://{domain}/v1"
        model = args.model or admin.outputs["ModelName"]
        sockets = ""
        if FORMS[args.form].is_socket:
            if "WebSocketBaseUrl" not in admin.outputs:
                raise CommandError(
                    f"The stage {args.stage} has no sockets. Deploy it with -c websocket=true."
                )
            sockets = f"{admin.outputs['WebSocketBaseUrl']}/responses"
        return Target(url, model, admin.authority, admin, args.key or "", sockets)
    url = args.url.rstrip("/")
    address = Address.of(url)
    _may_load(address.host, args.allow_host)
    if loopback(address.host):
        stay_local()
    key = args.key or os.environ.get("OPENAI_API_KEY", "")
    server = Server(url, key, timeout=30.0, authority=authority_of(url))
    model = _model(server, args.model)
    sockets = ""
    if FORMS[args.form].is_socket:
        sockets = _sockets(server)
        # The answer of one host must not lead the load to another one.
        _may_load(Address.of(sockets.replace("ws", "http", 1)).host, args.allow_host)
    return Target(url, model, server.authority, key=key, sockets=sockets)


def _may_load(host: str, allowed: list[str]) -> None:
    """Raise UsageError for another host that the user has not named."""
    if not loopback(host) and host not in allowed:
        raise UsageError(
            f"{host} is not this machine. A load test costs its owner money and may keep "
            "others out: run it only where you may. If you may, say so with: --allow-host "
            f"{host}"
        )


def loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _model(server: Server, named: str | None) -> str:
    """Return the model to load. Raises as `model_of` does, but CommandError without a response."""
    try:
        return model_of(server, named)
    except NoResponse as error:
        raise CommandError(f"{server.base}: {error}") from None


def _sockets(server: Server) -> str:
    """Return the address of an API's sockets: what its tickets name, else the path of OpenAI's.

    Raises CommandError.
    """
    url = server.base
    try:
        response = server.send("POST", "/websocket/tickets", {})
        found = response.json()["url"] if response.status == 200 else None
    except NoResponse as error:
        raise CommandError(f"{url}: {error}") from None
    except (TypeError, KeyError):
        found = None
    address = found if isinstance(found, str) else f"{url}/responses".replace("http", "ws", 1)
    if not address.startswith(("ws://", "wss://")):
        raise CommandError(f"{url}/websocket/tickets names no address of sockets.")
    return address


def _ask(args: argparse.Namespace, plan: Plan) -> None:
    """Ask before a run that costs money."""
    if args.url is not None or args.stage == "local" or args.yes:
        return
    expected = plan.rate.expected(plan.seconds)
    text = (
        f"Some {expected:,.0f} requests go to the stage {args.stage}, with up to "
        f"{expected * args.max_tokens:,.0f} completion tokens."
    )
    if args.json:
        raise CommandError(f"{text} They cost money; with --json, pass --yes.")
    require_terminal(f"{text} They cost money; without a terminal, pass --yes.")
    if not confirm(f"{text} They cost money. Go on?"):
        raise CommandError("Nothing was sent.")


@contextmanager
def _keys(target: Target, args: argparse.Namespace, plan: Plan) -> Iterator[list[tuple[str, str]]]:
    """Yield the ids and secrets of the keys to use. An id is empty for a key of the user."""
    if target.admin is None or target.key:
        if not target.key:
            errors.print("[dim]No key: set --key or OPENAI_API_KEY if the API needs one.[/dim]")
        yield [("", target.key)]
        return
    streams = min(args.max_open, math.ceil(plan.rate.expected(plan.seconds)))
    each = ledger.SOCKETS if FORMS[args.form].is_socket else ledger.STREAMS
    count = max(1, math.ceil(streams / each))
    seconds = plan.seconds + args.timeout + args.settle
    with ledger.temporary_keys(target.admin, count, seconds=seconds) as keys:
        yield keys


def _check(
    args: argparse.Namespace,
    target: Target,
    run: Run,
    keys: list[tuple[str, str]],
    before: ledger.Own | None,
) -> ledger.Checked:
    if args.json:
        return _compare(args, target, run, keys, before)
    with step("Comparing with the ledger"):
        return _compare(args, target, run, keys, before)


def _compare(
    args: argparse.Namespace,
    target: Target,
    run: Run,
    keys: list[tuple[str, str]],
    before: ledger.Own | None,
) -> ledger.Checked:
    if target.admin is None:
        return ledger.check_own(
            target.url, keys[0][1], before, run.records,
            patience=args.settle, authority=target.authority,
        )  # fmt: skip
    ids = [key_id for key_id, _ in keys if key_id]
    try:
        return ledger.check_requests(target.admin, run.records, ids, patience=args.settle)
    except CommandError as error:  # a report is not lost where the admin API fails
        return ledger.Checked("nothing", str(error))


@contextmanager
def _progress(plan: Plan, *, quiet: bool) -> Iterator[Any]:
    """Show the progress on a terminal. Yield what takes it."""
    if quiet or not console.is_terminal:
        yield lambda run: None
        return
    columns = (
        BarColumn(bar_width=None),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=plan.seconds, counts="")

        def update(run: Run) -> None:
            passed = min(plan.seconds, time.monotonic() - run.began)
            bar.update(task, completed=passed, counts=literal(counts(run)))

        yield update


def counts(run: Run) -> str:
    """Return the progress of a run as text: what is open, and how streams ended."""
    complete = run.ended["complete"]
    others = "".join(
        f", {count:,} {name}" for name, count in run.ended.most_common() if name != "complete"
    )
    return f"{len(run.open):,} open, {complete:,} complete{others}"
