"""`sluice destroy`: removes a deployment, and says what is left of it and why.

What a stage retains on purpose, its tables, outlives the service; everything that is paid by the hour goes.
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cli.lib import cdk
from cli.lib.printable import printable
from cli.lib.project import LOCAL, CommandError
from cli.lib.stack import aws_environment, aws_options, outputs_of, unasked
from cli.lib.terminal import console, step
from infra.settings.context import settings_from_context
from infra.settings.deployment import Settings, SettingsError

EDGE = "us-east-1"
"""Where CloudFront's certificates and web ACLs are, whatever region the rest is in."""
_WHY = {
    "acm": "a certificate: costs nothing; it goes with its stack",
    "dynamodb": "accounts, ledger and usage: kept on purpose, paid by what is stored (0.25 USD a GB and month)",
    "logs": "logs: kept until their retention ends, paid by what is stored",
    "secretsmanager": "a secret: Secrets Manager forgets it by itself, at no cost",
    "s3": "objects: paid by what is stored",
    "ecr": "images: paid by what is stored",
    "wafv2": "a web ACL: 5 USD a month and 1 for each rule; it goes with its stack",
    "cloudformation": "a stack: costs nothing by itself",
}


def left(client: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """What AWS still has with a deployment's tag: ARN, and why. `client` is of the tagging API."""
    pages = client.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": "sluice:deployment", "Values": [prefix]}]
    )
    for page in pages:
        for found in page["ResourceTagMappingList"]:
            arn = found["ResourceARN"]
            yield arn, _WHY.get(arn.split(":")[2], "not expected: look whether it is being deleted still")


def stacks_of(settings: Settings) -> list[str]:
    """Give what `cdk destroy` is to be told: all stacks, but the one with the tables where they are retained."""
    if not settings.retain:
        return ["--all"]
    return [f"{settings.name}-{settings.stage}-service", *settings.edge_stacks]


def _ask(stage: str, prefix: str, options: Mapping[str, str], *, kept: bool) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client("sts", **options)
        where = f"{prefix} in account {client.get_caller_identity()['Account']}, {client.meta.region_name}"
    except (BotoCoreError, ClientError) as error:
        raise unasked(stage, error) from None
    if not sys.stdin.isatty():
        raise CommandError(f"This would remove {where}: say so with --yes.")
    tables = "its tables are kept" if kept else "its tables with all keys and usage, too"
    console.print(f"Remove {where} ({tables})? [y/N] ", end="")
    if input().strip().lower() not in {"y", "yes"}:
        raise CommandError("Nothing was removed.")


def destroy(stage: str, context: Mapping[str, object], *, ask: bool = True) -> None:
    """Remove the stacks of a stage, but the tables where they are retained; print what is left.

    Raises:
        CommandError: it failed; or whoever was to be asked said no, or is not there.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        settings = settings_from_context({**context, "stage": stage})
    except SettingsError as error:
        raise CommandError(str(error)) from None
    prefix = f"{settings.name}-{settings.stage}"
    stacks = stacks_of(settings)
    options = aws_options(stage)
    if all(outputs_of(stage, f"{prefix}-{stack}") is None for stack in ("service", "state")):
        console.print(f"Nothing is removed: there are no stacks of {prefix}.")
        return
    if ask:
        _ask(stage, prefix, options, kept=settings.retain)
    given = [part for name, value in {**context, "stage": stage}.items() for part in ("-c", f"{name}={value}")]
    log = LOCAL / "logs" / "destroy.log"
    with step(f"Removing {prefix}") as detail:
        cdk.cdk(["destroy", *stacks, "--force", *given], aws=aws_environment(stage), log=log, detail=detail)
    console.print("\nLeft in the account:")
    try:
        home = boto3.client("resourcegroupstaggingapi", **options)
        clients = [home]
        if home.meta.region_name != EDGE:
            clients.append(boto3.client("resourcegroupstaggingapi", **{**options, "region_name": EDGE}))
        for arn, why in (found for client in clients for found in left(client, prefix)):
            console.print(f"  {printable(arn, keep='')}\n    {why}", markup=False)
    except (BotoCoreError, ClientError) as error:
        console.print(f"  AWS cannot be asked what has the tag sluice:deployment={prefix}: {error}")
    if settings.retain:
        console.print(
            f"  The stack {prefix}-state with its tables is retained and protected. To give it up: turn off its "
            "termination\n    protection and the tables' deletion protection, delete the stack, then the tables."
        )
    console.print(
        "  Of CDK's bootstrap: zips and images in its bucket and repository, for every deployment of the account; "
        "`npx cdk gc`\n    removes those that no stack uses."
    )
