"""`sluice restore`: restore a usage table as it was at a moment, and check it.

DynamoDB restores into a new table, which lacks the old one's recovery, expiry, protection and tags.
This command adds them, compares the accounts with the ledger in the new table, and prints the
deployment that uses it. It changes nothing of the table in use.
"""

import argparse
import asyncio
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cli.lib import values
from cli.lib.own_table import own_table
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, no_access, outputs_of, undeployed
from cli.lib.terminal import confirm, console, literal, print_json, require_terminal, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from lambda_fn.reporting.reconcile import Report

HELP = "Restore the usage table as it was at a moment into a new table, and check it."
_TIMEOUT_S = 24 * 3600
_POLL_S = 2.0
_SHOWN = 10
"""The differences that are printed."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    text = "the moment in UTC, such as 2026-11-29T10:30; without it, the latest possible"
    parser.add_argument("--to", type=_past, metavar="TIME", help=text)
    text = "the restored table's name; without it, the old name with the time behind it"
    parser.add_argument("--table", metavar="NAME", help=text)
    parser.add_argument(
        "--yes", action="store_true", help="do not ask; required without a terminal"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _past(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time such as 2026-11-29T10:30"
        ) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if at > datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text!r} is in the future")
    return at


def run(args: argparse.Namespace) -> None:
    """Restore, complete and check the table.

    Raises:
        CommandError: AWS refused, or accounts and ledger differ in the restored table.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    stack = f"{args.stack_name}-{args.stage}-service"
    outputs = outputs_of(args.stage, stack)
    if not outputs:
        raise undeployed(stack, args.stage)
    options = aws_options(args.stage)
    try:
        functions = boto3.client("lambda", **options)
        function = functions.get_function_configuration(FunctionName=outputs["FunctionName"])
        source = function["Environment"]["Variables"]["SLUICE_USAGE_TABLE"]
        dynamodb = boto3.client("dynamodb", **options)
        moment = _moment(dynamodb, source, args.to)
        target = args.table or f"{source[:200]}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        if not args.yes:
            words = f"Restore {source} as of {moment:%Y-%m-%d %H:%M:%S}Z into {target}?"
            require_terminal(f"{words} AWS bills the new table by its size: confirm it with --yes.")
            if not confirm(words):
                raise CommandError("Nothing was restored.")
        shown: Callable[[str], AbstractContextManager[object]] = _unseen if args.json else step
        with shown(f"Restoring into {target} (minutes to hours, by size)"):
            _restore(dynamodb, source, target, moment if args.to else None)
        with shown("Adding recovery, expiry, protection and tags"):
            _complete(dynamodb, source, target)
    except (BotoCoreError, ClientError) as error:
        raise no_access(args.stage, error, "The table cannot be restored") from None
    with shown("Comparing accounts and ledger"):
        report = asyncio.run(reconciled(target, options))
    _show(args, source, target, moment, report)


def _unseen(_title: str) -> AbstractContextManager[None]:
    """Stand in for `step` where only JSON is printed."""
    return nullcontext()


def _moment(dynamodb: Any, source: str, asked: datetime | None) -> datetime:
    """Return the moment to restore to, if the table's backups reach it."""
    found = dynamodb.describe_continuous_backups(TableName=source)["ContinuousBackupsDescription"]
    recovery = found["PointInTimeRecoveryDescription"]
    if recovery["PointInTimeRecoveryStatus"] != "ENABLED":
        raise CommandError(f"The table {source} has no point-in-time recovery, so no backup.")
    # Not every implementation tells the bounds; DynamoDB itself refuses what is outside them.
    latest: datetime = recovery.get("LatestRestorableDateTime") or datetime.now(UTC)
    earliest: datetime | None = recovery.get("EarliestRestorableDateTime")
    if asked is None:
        return latest
    if asked > latest or (earliest is not None and asked < earliest):
        if earliest == latest:
            raise CommandError(
                f"{source} has no history, so it can only be restored as it is now: leave --to "
                "out. The local cloud keeps none; on AWS it begins some minutes after the "
                "deployment."
            )
        begins = "" if earliest is None else f"from {earliest:%Y-%m-%dT%H:%M:%S} "
        raise CommandError(
            f"The backups of {source} reach {begins}to {latest:%Y-%m-%dT%H:%M:%S} UTC; "
            f"{asked:%Y-%m-%dT%H:%M:%S} is outside of that."
        )
    return asked


def _restore(dynamodb: Any, source: str, target: str, moment: datetime | None) -> None:
    at: dict[str, Any] = {"UseLatestRestorableTime": True}
    if moment is not None:
        at = {"RestoreDateTime": moment}
    dynamodb.restore_table_to_point_in_time(SourceTableName=source, TargetTableName=target, **at)
    ends = time.monotonic() + _TIMEOUT_S
    while dynamodb.describe_table(TableName=target)["Table"]["TableStatus"] != "ACTIVE":
        if time.monotonic() > ends:
            raise CommandError(f"The table {target} is still being restored after a day.")
        time.sleep(_POLL_S)


def _complete(dynamodb: Any, source: str, target: str) -> None:
    """Add the settings of the old table that a restored table lacks."""
    dynamodb.update_continuous_backups(
        TableName=target, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    expiry = dynamodb.describe_time_to_live(TableName=source)["TimeToLiveDescription"]
    if "AttributeName" in expiry:
        dynamodb.update_time_to_live(
            TableName=target,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": expiry["AttributeName"]},
        )
    old = dynamodb.describe_table(TableName=source)["Table"]
    new = dynamodb.describe_table(TableName=target)["Table"]
    if old.get("DeletionProtectionEnabled"):
        dynamodb.update_table(TableName=target, DeletionProtectionEnabled=True)
    tags = [
        tag
        for page in dynamodb.get_paginator("list_tags_of_resource").paginate(
            ResourceArn=old["TableArn"]
        )
        for tag in page["Tags"]
        if not tag["Key"].startswith("aws:")
    ]
    if tags:
        dynamodb.tag_resource(ResourceArn=new["TableArn"], Tags=tags)


async def reconciled(table: str, options: dict[str, str]) -> "Report":
    """Return the comparison of a table's accounts, ledger and rollups."""
    from lambda_fn.reporting.reconcile import reconcile

    async with own_table(table, options) as found:
        return await reconcile(found)


def _show(
    args: argparse.Namespace, source: str, target: str, moment: datetime, report: "Report"
) -> None:
    differences = report.differences
    running = sum(totals.open for totals in report.keys)
    local = args.stage == "local"
    command = "sluice up" if local else f"npx cdk deploy --all -c stage={args.stage}"
    command += f" -c usage_table={target}"
    if args.stack_name != "sluice":
        command += f" -c name={args.stack_name}"
    if args.json:
        print_json(
            {
                "source": source,
                "table": target,
                "moment": moment.isoformat(timespec="seconds"),
                "keys": len(report.keys),
                "open": running,
                "differences": len(differences),
                "deploy": command,
            }
        )
    else:
        console.print(
            literal(
                f"{target}: {values.counted(len(report.keys), 'key')}. Open at {moment:%H:%M:%S}, "
                f"for the sweeper to settle: {values.counted(running, 'request')}."
            )
        )
    if differences:
        lines = "".join(
            f"\n  {one.key} {one.field}: {dict(zip(one.places, one.values, strict=False))}"
            for one in differences[:_SHOWN]
        )
        raise CommandError(
            f"Accounts and ledger differ in {values.counted(len(differences), 'figure')} of "
            f"{target}, so the damage is older than this moment. Restore an earlier one with "
            f"--to.{lines}"
        )
    if not args.json:
        console.print("[green]✓[/green] Accounts, ledger and rollups agree. Use the table:")
        console.print(f"    {command}", style="dim", markup=False, soft_wrap=True)
