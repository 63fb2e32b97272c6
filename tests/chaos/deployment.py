"""A deployment in a local cloud for the chaos run, and its accounts, ledger and logs."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.metering import hours
from local.cloud import REGION, LocalCloud

# A sweep may take as long as its function.
_PATIENCE = Config(read_timeout=300, retries={"total_max_attempts": 1})
# The sweeper is throttled while the invocation of its schedule runs.
_THROTTLED = Config(read_timeout=300, retries={"mode": "standard", "total_max_attempts": 30})
# Within this time each strike has landed.
_STRIKES_S = 60.0


@dataclass
class ChaosDeployment:
    """A deployment. Only requests with its `keys` count.

    The sweeper treats a request as lost after `overdue` seconds. The run began at `since`, and the
    last request ended at `quiet`. When the last sweep began, `closing` was open, and the hours
    before it might be rolled.
    """

    cloud: LocalCloud
    outputs: dict[str, str]
    model: str
    overdue: float
    keys: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.time)
    quiet: float = 0.0
    closing: str = ""

    async def all_overdue(self) -> None:
        """Wait until every request is overdue."""
        await asyncio.sleep(max(0.0, self.quiet + self.overdue + 2 - time.time()))

    def next_to_close(self) -> str:
        """Return the first hour in which a request may still run."""
        return hours.hour_at(time.time() - self.overdue)

    @property
    def origin(self) -> str:
        """The address of its API."""
        return f"http://{self.outputs['DistributionDomain']}/v1"

    def client(self, service: str, config: Config = _PATIENCE) -> Any:
        """Return a stock boto3 client of the local cloud."""
        return boto3.client(service, config=config, **self.cloud.client_options())

    @property
    def boto(self) -> Any:
        """The usage table, as stock boto3 sees it."""
        return boto3.resource("dynamodb", **self.cloud.client_options()).Table(
            self.outputs["UsageTableName"]
        )

    def table(self, client: Client) -> Table:
        """Return the usage table, as the functions see it."""
        keys = Credentials(self.cloud.keys.access_key, self.cloud.keys.secret_key, "")
        return Table(
            client,
            url=self.cloud.endpoint_url,
            region=REGION,
            name=self.outputs["UsageTableName"],
            credentials=lambda: keys,
        )

    @property
    def key_ids(self) -> set[str]:
        """The ids of its keys."""
        return {key.split("-")[1] for key in self.keys}

    def items(self) -> list[dict[str, Any]]:
        """Return the accounts of its keys, their ledger items, and all rollups."""
        mine = self.key_ids
        return [
            item
            for item in self._scan()
            if item.get("key", item["pk"].partition("#")[2]) in mine
            or item["pk"].startswith("USAGE#")
        ]

    def _scan(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        page = self.boto.scan(ConsistentRead=True)
        found += page["Items"]
        while "LastEvaluatedKey" in page:
            page = self.boto.scan(ConsistentRead=True, ExclusiveStartKey=page["LastEvaluatedKey"])
            found += page["Items"]
        return sorted(found, key=lambda item: (item["pk"], item["sk"]))

    def snapshot(self, begin: str = "") -> str:
        """Return all items as one text, in which any difference shows.

        With a prefix, only items of the partitions that begin with it are returned.
        """
        return json.dumps(
            [one for one in self.items() if one["pk"].startswith(begin)],
            sort_keys=True,
            default=str,
        )

    def sweep(self) -> dict[str, Any]:
        """Invoke the deployed sweeper.

        Return its counts, or `{"killed": ...}` if it died.
        """
        self.closing = self.next_to_close()
        sweeper = self.client("lambda", _THROTTLED)
        answer = sweeper.invoke(FunctionName=self.outputs["SweeperName"])
        found: dict[str, Any] = json.loads(answer["Payload"].read())
        return {"killed": found["errorType"]} if "FunctionError" in answer else found

    def set_fault(self, table: str = "UsageTableName", **fault: Any) -> str:
        """Set a fault of the stream function, or of the table in an output. Return its id."""
        scope = self.outputs["FunctionName" if fault["kind"].startswith("function") else table]
        return str(self.cloud.ask("faults", method="POST", body={"scope": scope, **fault})["id"])

    def clear_fault(self, fault_id: str, *, strikes: int = 0) -> dict[str, Any]:
        """Clear a fault, once this number of strikes has landed. Return it with its counts.

        A client has its whole answer before the function that settles it is killed.
        """
        ends = time.monotonic() + _STRIKES_S
        while True:
            found = next(one for one in self.cloud.ask("faults")["faults"] if one["id"] == fault_id)
            if found["landed"] >= strikes or time.monotonic() > ends:
                break
            time.sleep(0.02)
        self.cloud.ask(f"faults/{fault_id}", method="DELETE")
        return dict(found)

    def lines(self, *patterns: str) -> list[str]:
        """Return the log lines of its functions (`function-*`) or containers (`endpoint-*`)."""
        logs = self.cloud.directory / "logs"
        files = sorted({path for pattern in patterns for path in logs.glob(f"{pattern}.log")})
        return [line for path in files for line in path.read_text(errors="replace").splitlines()]
