"""`sluice destroy`: remove a deployment, and print which resources are left and why.

If a stage retains its tables, they outlive the service. Everything that is paid by the hour is
removed.
"""

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cli.lib import cdk, values
from cli.lib.printable import printable
from cli.lib.project import LOCAL, CommandError
from cli.lib.settings import add_settings, settings_of
from cli.lib.stack import aws_environment, aws_options, no_access, outputs_of
from cli.lib.terminal import confirm, console, require_terminal, step

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
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Remove the deployment."""
    destroy(args.stage, dict(args.set), ask=not args.yes)


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


def destroy(stage: str, changes: Mapping[str, object], *, ask: bool = True) -> None:
    """Remove the stacks of a stage, except retained tables, and print what is left.

    Args:
        stage: The stage.
        changes: Settings that replace the stage's: those that it was deployed with.
        ask: Ask on the terminal first.

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
    with step(f"Removing {prefix}") as detail:
        cdk.cdk(
            ["destroy", *stacks, "--force", *context],
            aws=aws_environment(stage),
            log=log,
            detail=detail,
        )
    console.print("\nLeft in the account:")
    try:
        clients = [boto3.client("resourcegroupstaggingapi", **options)]
        if clients[0].meta.region_name != EDGE_REGION:
            clients.append(
                boto3.client("resourcegroupstaggingapi", **{**options, "region_name": EDGE_REGION})
            )
        for arn, why in (it for client in clients for it in leftovers(client, prefix)):
            console.print(f"  {printable(arn, keep='')}\n    {why}", markup=False)
    except (BotoCoreError, ClientError) as error:
        console.print(
            f"  AWS did not list the resources with the tag sluice:deployment={prefix}: {error}"
        )
    if settings.retain:
        console.print(
            f"  The stack {prefix}-state with its tables is retained and protected. To delete "
            "them, turn off the stack's termination\n    protection and the tables' deletion "
            "protection, delete the stack, and then the tables."
        )
    console.print(
        "  CDK's bootstrap bucket and repository keep the zips and images of all deployments of "
        "the account.\n    `npx cdk gc` removes those that no stack uses."
    )
