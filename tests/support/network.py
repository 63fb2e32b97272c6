"""The network between the function and DynamoDB, on which a test decides what fails.

moto's DynamoDB runs in this process, behind the interface of the function's HTTP client. If the
variable `SERVER_VARIABLE` has the URL of another DynamoDB, that one is called instead.
"""

import enum
import functools
import http.client
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from lambda_fn.aws.attributes import Item, unwrap_all
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.connection import TransportError
from local.moto import attribute_values, items
from local.moto.items.calls import ItemCalls
from tests.support import moto_calls

REGION = "eu-west-1"
SERVER_VARIABLE = "SLUICE_TEST_DYNAMODB"
_ORIGIN = f"https://dynamodb.{REGION}.amazonaws.com"


class Fate(enum.Enum):
    """What happens to one call."""

    WELL = "well"
    LOST = "lost"  # the call never arrives
    UNANSWERED = "unanswered"  # the call is carried out, and its response is lost
    LATE = "late"  # the caller gets no response, and the call is carried out later
    THROTTLED = "throttled"
    KILLED_BEFORE = "killed before"  # the caller's process ends
    KILLED_AFTER = "killed after"


class Killed(BaseException):
    """The process that made the call has ended."""


class Answer:
    """A whole response, like `lambda_fn.http.client.Response`."""

    def __init__(self, status: int, body: bytes) -> None:
        """Keep status, headers and body."""
        self.status = status
        self.headers: dict[str, str] = {}
        self._body = body

    async def read_all(self, limit: int) -> bytes:
        """Return the body."""
        assert len(self._body) <= limit
        return self._body

    def close(self) -> None:
        """Do nothing."""


class Network:
    """A stand-in for `lambda_fn.http.client.Client`. `fate` decides what happens to each call."""

    def __init__(self, fate: Callable[[str], Fate] = lambda _: Fate.WELL) -> None:
        """Begin without calls."""
        self.fate = fate
        self.late: list[bytes] = []
        self.calls: list[str] = []
        self._killed = False

    def table(self, name: str) -> Table:
        """Return the usage table behind this network."""
        return Table(
            self,  # type: ignore[arg-type] # as far as the table needs a client
            url=_ORIGIN,
            region=REGION,
            name=name,
            credentials=lambda: Credentials("AKID", "SECRET", ""),
        )

    async def request(
        self,
        method: str,
        origin: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        **_: object,
    ) -> Answer:
        """Make a call, and let its fate happen."""
        del method, origin, path
        target = headers["x-amz-target"]
        fate = self.fate(target)
        if self._killed or fate is Fate.KILLED_BEFORE:
            self._killed = True
            raise Killed
        self.calls.append(target.rpartition(".")[2])
        match fate:
            case Fate.LOST:
                raise TransportError("lost")
            case Fate.THROTTLED:
                return Answer(
                    400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}'
                )
            case Fate.LATE:
                self.late.append(target.encode() + b"\n" + body)
                raise TransportError("late")
        status, answer = carry_out(target, body)
        if fate is Fate.UNANSWERED:
            raise TransportError("unanswered")
        if fate is Fate.KILLED_AFTER:
            self._killed = True
            raise Killed
        return Answer(status, answer)

    def revive(self) -> None:
        """Begin a new process after one was killed."""
        self._killed = False

    def deliver(self, number: int) -> None:
        """Carry out one of the late calls."""
        target, _, body = self.late.pop(number).partition(b"\n")
        carry_out(target.decode(), body)


def carry_out(target: str, body: bytes) -> tuple[int, bytes]:
    """Call DynamoDB. Return the status and the body of its response."""
    if url := os.environ.get(SERVER_VARIABLE):
        connection = http.client.HTTPConnection(url.partition("//")[2], timeout=60)
        signed = {"X-Amz-Date": "20261129T000000Z", "Authorization": moto_calls.SIGNED}
        headers = {"X-Amz-Target": target, "Content-Type": moto_calls.KIND, **signed}
        try:
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
    status, _, answer = moto_calls.called(_moto(), target.partition(".")[2], body)
    return status, answer


@functools.cache
def _moto() -> ItemCalls:
    attribute_values.install()
    items.install()
    return ItemCalls(DomainDispatcherApplication(create_backend_app))


def operate(operation: str, **asked: Any) -> dict[str, Any]:
    """Call DynamoDB beside the network. Return the response, which must be a success."""
    status, body = carry_out(f"DynamoDB_20120810.{operation}", json.dumps(asked).encode())
    assert status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def create_table(name: str) -> None:
    """Create an empty usage table, and replace an existing one."""
    if name in operate("ListTables")["TableNames"]:
        delete_table(name)
    types = {"pk": "S", "sk": "S", "open": "S", "due": "N", "directory": "S", "created": "N"}

    def schema(*names: str) -> list[dict[str, str]]:
        return [
            {"AttributeName": key, "KeyType": kind}
            for key, kind in zip(names, ("HASH", "RANGE"), strict=True)
        ]

    operate(
        "CreateTable",
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=schema("pk", "sk"),
        AttributeDefinitions=[
            {"AttributeName": key, "AttributeType": kind} for key, kind in types.items()
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": schema(*keys),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, keys in {
                "overdue": ("open", "due"),
                "keys": ("directory", "created"),
            }.items()
        ],
    )


def delete_table(name: str) -> None:
    """Delete a table."""
    operate("DeleteTable", TableName=name)


def all_items(name: str) -> list[Item]:
    """Return every item of a table."""
    found: list[Item] = []
    after: dict[str, Any] = {}
    while True:
        page = operate("Scan", TableName=name, ConsistentRead=True, **after)
        found += map(unwrap_all, page["Items"])
        if "LastEvaluatedKey" not in page:
            return found
        after = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
