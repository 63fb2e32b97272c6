"""`sluice verify`: check this project's assumptions about AWS against a deployed stage."""

import argparse
import os

from cli.lib import values

HELP = (
    "Check each assumption about AWS against a deployed stage; exit with 1 where AWS refutes one, "
    "with 2 where a check could not tell."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    text = "only this check; may be repeated (ids are in ARCHITECTURE.md, or: --list)"
    parser.add_argument("--only", metavar="ID", action="append", help=text)
    parser.add_argument("--list", action="store_true", help="print the checks and stop")
    text = "run also the checks that change the deployment for up to an hour; use a stage for tests"
    parser.add_argument("--destructive", action="store_true", help=text)
    parser.add_argument(
        "--gpu", action="store_true", help="run also the checks of an endpoint with a GPU"
    )
    parser.add_argument("--json", action="store_true", help="print the results for programs")
    text = "save the results in docs/verified/; `make docs` makes the table from them"
    parser.add_argument("--save", action="store_true", help=text)
    text = "do not ask before a run on AWS; required without a terminal"
    parser.add_argument("--yes", action="store_true", help=text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the plan, run the checks and print their results.

    Raises:
        CommandError: an id is unknown, or the stage cannot be read.
        SystemExit: the status is 1 or 2.

    """
    from cli.commands.verify import record, runner
    from cli.commands.verify.report import chosen, show, show_checks, show_plan, status, summary
    from cli.commands.verify.target import Target, temporary_keys
    from cli.lib.project import CommandError
    from cli.lib.terminal import confirm, console, print_json, require_terminal

    checks = chosen(args.only, destructive=args.destructive, gpu=args.gpu)
    if args.list:
        show_checks(checks, as_json=args.json)
        return
    target = Target.of(args.stage, args.stack_name)
    if not args.json:
        show_plan(target, checks)
    if args.stage != "local" and not args.yes:
        if args.json:
            raise CommandError("A run on AWS costs money; with --json, pass --yes.")
        require_terminal("A run on AWS costs money; without a terminal, pass --yes.")
        if not confirm("Go on?"):
            raise CommandError("Nothing was done.")
    with temporary_keys(target):
        results = runner.run(target, checks, (lambda _: None) if args.json else show)
    region = os.environ.get("AWS_REGION") or target.client("sts").meta.region_name
    place = record.LOCAL if args.stage == "local" else region
    if not args.json:
        console.print(f"\n{summary(results)}.")
    if args.save:
        file = record.save(results, place)
        if not args.json:
            console.print(f"Saved in {file}. `make docs` makes the table of it.")
    if args.json:
        print_json({"place": place, "results": record.entries(results), "status": status(results)})
    if code := status(results):
        raise SystemExit(code)
