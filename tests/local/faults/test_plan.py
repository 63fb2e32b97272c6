"""Which fault strikes which request, and where answers are cut."""

import contextlib
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from local.cloud import LocalCloud
from local.faults import dynamodb
from local.faults.parts import Boundary, Cutting, Joined, OneByte
from local.faults.plan import KINDS, FaultError, Plan, parse
from tests.support.local_cloud import Client


def _struck(plan: Plan, requests: int = 200) -> list[tuple[int, int]]:
    found = [(number, plan.strike("endpoint", "one")) for number in range(requests)]
    return [(number, strike.after) for number, strike in found if strike]


def _plan(*faults: dict[str, Any]) -> Plan:
    plan = Plan()
    for fault in faults:
        plan.set(parse(fault))
    return plan


RESET = {"kind": "container-reset", "probability": 0.2, "seed": 7, "after": 10, "after_most": 900}


def test_the_seed_decides() -> None:
    """A seed strikes the same requests at the same places again, another one others, about as often as asked for."""
    first = _struck(_plan(RESET))
    assert first == _struck(_plan(RESET))
    assert first != _struck(_plan({**RESET, "seed": 8}))
    assert 20 < len(first) < 60
    assert all(10 <= after <= 900 for _, after in first)
    assert len({after for _, after in first}) > 10


def test_faults_do_not_disturb_each_other() -> None:
    """A fault decides about a request by its own seed alone, also when another one strikes it."""
    other = {"kind": "container-error", "probability": 0.5, "seed": 3}
    alone = [number for number, _ in _struck(_plan(RESET))]
    plan = _plan(other, RESET)
    _struck(plan)
    assert plan.listing()[1]["struck"] == len(alone)


def test_scope_and_count() -> None:
    """A fault strikes names in its scope, calls that it names, and so many times; without a bound once."""
    plan = _plan({"kind": "table-down", "scope": "sluice-*", "operation": "Put*", "count": 2})
    assert plan.strike("table", "other", "PutItem") is None
    assert plan.strike("table", "sluice-a", "UpdateItem") is None
    assert plan.strike("function", "sluice-a") is None
    assert [bool(plan.strike("table", "sluice-a", "PutItem")) for _ in range(4)] == [True, True, False, False]
    plan = _plan({"kind": "caller-killed-after", "containing": "SETTLED"})
    assert not plan.strike("table", "a", "UpdateItem", '{"state": "OPEN"}')
    assert plan.strike("table", "a", "UpdateItem", '{"state": "SETTLED"}')
    assert parse({"kind": "table-down"}).count == 1
    assert parse({"kind": "table-down", "probability": 1}).count is None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([], "object"),
        ({"kind": "flood"}, "kind"),
        ({"kind": "table-slow", "probability": 1.5}, "probability"),
        ({"kind": "table-slow", "probability": "1"}, "probability"),
        ({"kind": "table-slow", "count": 0}, "count"),
        ({"kind": "table-slow", "count": True}, "count"),
        ({"kind": "table-slow", "after": 5, "after_most": 4}, "after_most"),
        ({"kind": "table-slow", "status": 200}, "status"),
        ({"kind": "table-slow", "seconds": -1}, "seconds"),
        ({"kind": "table-slow", "scope": ""}, "scope"),
        ({"kind": "table-slow", "often": 1}, "often"),
    ],
)
def test_a_fault_that_makes_no_sense(wrong: object, named: str) -> None:
    """A description that makes no sense is refused, and the message names the field."""
    with pytest.raises(FaultError, match=named):
        parse(wrong)


@pytest.mark.parametrize("size", [1, 5, 40])
def test_parts(size: int) -> None:
    """However the bytes come, a fault's parts end where it says, and joined they are the bytes."""
    data = "".join(f'{{"n": {number}, "text": "ä😀"}}\n' for number in range(10)).encode()

    def parts(cutter: Cutting) -> list[bytes]:
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        found = [part for piece in pieces for part in cutter.cut(piece)]
        return [part for part in [*found, cutter.rest()] if part]

    assert parts(OneByte()) == [data[at : at + 1] for at in range(len(data))]
    for after in range(1, len(data)):
        assert parts(Boundary(after)) == [data[:after], data[after:]]
    joined = parts(Joined(4))
    assert b"".join(joined) == data
    assert all(part.count(b"\n") >= 4 for part, _ in pairwise(joined))


@pytest.mark.parametrize(
    ("call", "tables"),
    [
        ({"TableName": "a", "Item": {"TableName": {"S": "b"}}}, {"a"}),
        ({"TableName": "arn:aws:dynamodb:us-east-1:1:table/a"}, {"a"}),
        ({"RequestItems": {"a": [], "b": []}}, {"a", "b"}),
        ({"TransactItems": [{"Put": {"TableName": "a"}}, {"Update": {"TableName": "b"}}]}, {"a", "b"}),
        ({}, set()),
    ],
)
def test_tables_of_a_call(call: dict[str, Any], tables: set[str]) -> None:
    """The tables of every form of call are found."""
    assert dynamodb._tables(json.loads(json.dumps(call))) == tables


def test_every_kind_is_told_apart_by_its_place() -> None:
    """Each kind strikes in one place only."""
    for kind, (target, _) in KINDS.items():
        plan = _plan({"kind": kind})
        assert [place for place in ("endpoint", "table", "function") if plan.watches(place)] == [target]


@contextlib.contextmanager
def _fault(cloud: LocalCloud, **fields: object) -> Iterator[None]:
    cloud.ask("faults", method="POST", body=fields)
    yield
    cloud.ask("faults", method="DELETE")


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [("table-throttled", "ProvisionedThroughputExceededException", 400), ("table-down", "InternalServerError", 500)],
)
def test_dynamodbs_own_errors(cloud: LocalCloud, client: Client, kind: str, code: str, status: int) -> None:
    """Stock boto3 reads a table's fault as DynamoDB's own error; other tables and calls go on."""
    dynamodb = client("dynamodb")
    with _fault(cloud, kind=kind, scope="struck", operation="Put*"):
        with pytest.raises(ClientError) as caught:
            dynamodb.put_item(TableName="struck", Item={"pk": {"S": "1"}})
        answer = caught.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
        for call in (dynamodb.put_item, dynamodb.get_item):
            argument = "Item" if call == dynamodb.put_item else "Key"
            with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
                call(TableName="other", **{argument: {"pk": {"S": "1"}}})


def test_a_lost_answer(cloud: LocalCloud, client: Client) -> None:
    """A call whose answer is lost was made, one that did not arrive was not."""
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="lost",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for kind in ("table-answer-lost", "table-unreachable"):
        with _fault(cloud, kind=kind, scope="lost"), pytest.raises(ConnectionClosedError):
            dynamodb.put_item(TableName="lost", Item={"pk": {"S": kind}})
    assert [item["pk"]["S"] for item in dynamodb.scan(TableName="lost")["Items"]] == ["table-answer-lost"]
    dynamodb.delete_table(TableName="lost")
