"""`sluice stop`: refuse all requests with a 503 and cancel those that run; `--undo` serves again.

It writes one item of the usage table through the admin API, which puts an entry into the audit
trail. The stream function reads the item within 5 seconds. Deployments leave it as it is.
"""

import argparse
import time

from cli.lib.admin_api import Admin, add_access, admin
from cli.lib.project import CommandError, UsageError
from cli.lib.terminal import confirm, console, literal, print_json, require_terminal
from cli.lib.values import counted

HELP = "Stop everything: refuse new requests and cancel those that run. --undo serves again."
_WAIT_S = 60.0
_POLL_S = 1.0


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_access(parser)
    text = "serve requests again"
    parser.add_argument("--undo", action="store_true", help=text)
    text = "let running requests end by themselves"
    parser.add_argument("--drain", action="store_true", help=text)
    text = "the sentence that refused callers get"
    parser.add_argument("--reason", metavar="TEXT", help=text)
    text = "print whether the service is stopped, and change nothing"
    parser.add_argument("--status", action="store_true", help=text)
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; required without a terminal"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Stop, resume or show the service, and wait until what ran has ended.

    Raises:
        CommandError: the admin API refused, or requests still run after a minute.

    """
    if args.undo and args.status:
        raise UsageError("--undo and --status exclude each other.")
    if (args.undo or args.status) and (args.drain or args.reason):
        raise UsageError(
            "--drain and --reason are options of a stop; leave them out with --undo and --status."
        )
    api = admin(args, {"reason": "--reason"})
    if args.status:
        state = api("GET", "/stop")
    elif args.undo:
        state = api("DELETE", "/stop")
    else:
        if not args.yes:
            require_terminal("This would refuse every request: confirm it with --yes.")
            if not confirm(f"Refuse all requests of {args.stack_name}-{args.stage}?"):
                raise CommandError("Nothing was stopped.")
        body: dict[str, object] = {"drain": args.drain}
        if args.reason is not None:
            body["reason"] = args.reason
        state = _stop(api, body, wait=not args.drain)
    if args.json:
        print_json(state)
        return
    running = f"Running: {counted(state['running'], 'request')}"
    if state["stopped_at"] is None and state["exhausted_month"] is not None:
        month = literal(f"{state['exhausted_month']}: monthly_ceiling is reached")
        console.print(f"[red]■[/red] Requests are refused in {month}. {running}.")
        console.print("  Deploy with a higher ceiling; the sweeper sees it within 5 minutes.")
        return
    if state["stopped_at"] is None:
        console.print(f"[green]✓[/green] Requests are served. {running}.")
        return
    since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(state["stopped_at"]))
    console.print("[red]■[/red]", literal(f"Stopped since {since}: {state['reason']}"))
    console.print(f"  {running}. `sluice stop --undo --stage {args.stage}` serves again.")


def _stop(api: Admin, body: dict[str, object], *, wait: bool) -> dict[str, object]:
    """Stop the service, and repeat that until nothing runs: requests may be admitted meanwhile."""
    ends = time.monotonic() + _WAIT_S
    state = api("POST", "/stop", body)
    while wait and state["running"]:
        if time.monotonic() > ends:
            raise CommandError(
                f"New requests are refused, but {counted(state['running'], 'request')} "
                f"did not end within {_WAIT_S:.0f} s: their functions do not answer, or DynamoDB "
                "does not. They end with their function, after 9 minutes at most. To stop paying "
                "for the model: `sluice endpoint stop`"
            )
        time.sleep(_POLL_S)
        state = api("POST", "/stop", body)
    return state
