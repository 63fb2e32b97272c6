"""`sluice destroy`: remove a deployment, and print which resources are left and why.

If a stage retains its tables, they outlive the service. Everything that is paid by the hour is
removed.
"""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from cli.lib import cdk, values
from cli.lib.printable import printable
from cli.lib.project import LOCAL, CommandError
from cli.lib.settings import add_settings, settings_of
from cli.lib.stack import aws_environment, aws_options, no_access, outputs_of
from cli.lib.terminal import (
    confirm,
    console,
    item,
    literal,
    print_json,
    require_terminal,
    step,
)

if TYPE_CHECKING:
    from infra.settings.deployment import Settings

HELP = "Remove a deployment, and print what is left of it and why."
EDGE_REGION = "us-east-1"
"""CloudFront's certificates and web ACLs are here, whatever region the rest is in."""
_WHY_LEFT = {
    "acm": "a certificate: costs nothing; it goes with its stack",
    "dynamodb": (
        "accounts, ledger and usage: kept on purpose, paid by what is stored (0.25 USD a GB and "
        "month)"
    ),
    "logs": "logs: kept until their retention ends, paid by what is stored",
    "secretsmanager": "a secret: Secrets Manager forgets it by itself, at no cost",
    "s3": "objects: paid by what is stored",
    "ecr": "images: paid by what is stored",
    "wafv2": "a web ACL: 5 USD a month and 1 for each rule; it goes with its stack",
    "cloudformation": "a stack: costs nothing by itself",
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stage(parser, default="dev")
    add_settings(parser)
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; required without a terminal"
    )
    text = "print what would be removed and what would stay, and stop"
    parser.add_argument("--plan", action="store_true", help=text)
    text = "print the plan, or with --yes what was removed and what is left, as JSON"
    parser.add_argument("--json", action="store_true", help=text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Remove the deployment, or print the plan."""
    changes = dict(args.set)
    if args.plan or (args.json and not args.yes):
        _plan(args.stage, changes, as_json=args.json)
    else:
        destroy(args.stage, changes, ask=not args.yes, as_json=args.json)


def _plan(stage: str, changes: Mapping[str, object], *, as_json: bool) -> None:
    """Print which stacks `destroy` removes, and which one stays."""
    settings = settings_of(stage, changes)
    prefix = f"{settings.name}-{settings.stage}"
    there = [
        f"{prefix}-{stack}"
        for stack in ("service", "state")
        if outputs_of(stage, f"{prefix}-{stack}") is not None
    ]
    kept = [name for name in there if settings.retain and name.endswith("-state")]
    removed = [name for name in there if name not in kept]
    removed += list(settings.edge_stacks) if there else []
    if as_json:
        print_json({"removes": removed, "keeps": kept})
        return
    console.print(f"`sluice destroy --stage {stage}` removes:", markup=False)
    for name in removed or ["nothing: there are no such stacks"]:
        console.print(f"  {name}", markup=False)
    for name in kept:
        console.print(f"It keeps {name}, which has the tables with keys and usage.", markup=False)


def leftovers(client: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the ARN of each remaining resource with a deployment's tag, and why it remains.

    `client` is boto3's client of the tagging API.
    """
    pages = client.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": "sluice:deployment", "Values": [prefix]}]
    )
    for page in pages:
        for resource in page["ResourceTagMappingList"]:
            arn = resource["ResourceARN"]
            yield (
                arn,
                _WHY_LEFT.get(
                    arn.split(":")[2],
                    "unexpected: AWS may still be deleting it; look again in some minutes",
                ),
            )


def stacks_of(settings: "Settings") -> list[str]:
    """Return the stacks to name to `cdk destroy`: all, except the one of retained tables."""
    if not settings.retain:
        return ["--all"]
    return [f"{settings.name}-{settings.stage}-service", *settings.edge_stacks]


def _ask(stage: str, prefix: str, options: Mapping[str, str], *, kept: bool) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("sts", **options)
        where = (
            f"{prefix} in account {client.get_caller_identity()['Account']}, "
            f"{client.meta.region_name}"
        )
    except (BotoCoreError, ClientError) as error:
        raise no_access(stage, error) from None
    require_terminal(f"This would remove {where}: confirm it with --yes.")
    tables = "its tables are kept" if kept else "its tables with all keys and usage, too"
    if not confirm(f"Remove {where} ({tables})?"):
        raise CommandError("Nothing was removed.")


def destroy(
    stage: str, changes: Mapping[str, object], *, ask: bool = True, as_json: bool = False
) -> None:
    """Remove the stacks of a stage, except retained tables, and print what is left.

    Args:
        stage: The stage.
        changes: Settings that replace the stage's: those that it was deployed with.
        ask: Ask on the terminal first.
        as_json: Print JSON: whether anything was removed, and what is left with its reasons.

    Raises:
        CommandError: CDK failed, or the user did not confirm.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    settings = settings_of(stage, changes)
    prefix = f"{settings.name}-{settings.stage}"
    stacks = stacks_of(settings)
    options = aws_options(stage)
    if all(outputs_of(stage, f"{prefix}-{stack}") is None for stack in ("service", "state")):
        if as_json:
            print_json({"removed": False, "left": []})
        else:
            console.print(f"Nothing is removed: there are no stacks of {prefix}.")
        return
    if ask:
        _ask(stage, prefix, options, kept=settings.retain)
    context = [
        part
        for name, value in {**changes, "stage": stage}.items()
        for part in ("-c", f"{name}={value}")
    ]
    log = LOCAL / "logs" / "destroy.log"
    with nullcontext(_silent) if as_json else step(f"Removing {prefix}") as detail:
        cdk.cdk(
            ["destroy", *stacks, "--force", *context],
            aws=aws_environment(stage),
            log=log,
            detail=detail,
        )
    left: list[tuple[str, str]] = []
    unlisted = ""
    try:
        clients = [boto3.client("resourcegroupstaggingapi", **options)]
        if clients[0].meta.region_name != EDGE_REGION:
            clients.append(
                boto3.client("resourcegroupstaggingapi", **{**options, "region_name": EDGE_REGION})
            )
        left += [it for client in clients for it in leftovers(client, prefix)]
    except (BotoCoreError, ClientError) as error:
        unlisted = (
            f"AWS did not list the resources with the tag sluice:deployment={prefix}: {error}"
        )
    if as_json:
        named = [{"arn": arn, "why": why} for arn, why in left]
        print_json({"removed": True, "left": named, "unlisted": unlisted or None})
        return
    console.print("\nLeft in the account:")
    for arn, why in left:
        console.print(f"  {printable(arn, keep='')}", markup=False, soft_wrap=True)
        item("   ", literal(why))
    if unlisted:
        item(" ", literal(unlisted))
    if settings.retain:
        item(
            " ",
            f"The stack {prefix}-state with its tables is retained and protected. To delete "
            "them, turn off the stack's termination protection and the tables' deletion "
            "protection, delete the stack, and then the tables.",
        )
    item(
        " ",
        "CDK's bootstrap bucket and repository keep the zips and images of all deployments of "
        "the account. `npx cdk gc` removes those that no stack uses.",
    )


def _silent(_detail: str) -> None:
    """Show no progress."""
