"""Calls for items are answered as moto answers them, whatever way they take."""

import json
import re
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.core.botocore_stubber import MockRawResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from lambda_fn.aws.signing import sign
from local.moto import attribute_values, items
from local.moto.items.calls import ItemCalls
from tests.support.function import BOTO, CREDENTIALS
from tests.support.moto_calls import Call, answered, called, moto_as_it_is

_NUMBERS = count()


def _ways() -> dict[str, Any]:
    """Return moto's application, and how many calls came to it."""
    moto, taken = DomainDispatcherApplication(create_backend_app), [0]

    def counted(environ: Any, start: Any) -> Any:
        taken[0] += 1
        return moto(environ, start)

    return {"app": ItemCalls(counted), "taken": taken}


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    """Return the application under test."""
    attribute_values.install()
    items.install()
    return _ways()


@pytest.fixture(scope="module")
def theirs() -> Iterator[Call]:
    """Yield a call of moto as it is."""
    with moto_as_it_is() as call:
        yield call


def _pick(*choices: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(choices)


_TEXT = _pick("a", "b", "ab", "", "é", "in_progress", "z" * 40)
_NUMBER = _pick("0", "1", "-1", "2.50", "10", "1e3", "007", "123456789012345678901234567890")
_SCALARS = st.one_of(
    _TEXT.map(lambda text: {"S": text}),
    _NUMBER.map(lambda text: {"N": text}),
    _pick({"BOOL": True}, {"BOOL": False}, {"NULL": True}, {"B": "AP8="}, {"B": ""}),
)
_VALUES = st.recursive(
    st.one_of(
        _SCALARS,
        _pick({"SS": ["a", "b"]}, {"NS": ["1", "2.0"]}, {"BS": ["AA==", "/w=="]}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda each: {"L": each}),
        st.dictionaries(_pick("x", "y"), inner, max_size=2).map(lambda each: {"M": each}),
    ),
    max_leaves=4,
)
# What no client sends, and what moto says to it.
_ODD = _pick(
    {"N": "abc"}, {"N": " 1"}, {"N": "1e999"}, {"N": 5}, {"S": 5}, {"S": None}, {"Q": "x"}, {},
    {"SS": []}, {"NS": []}, {"M": {"x": {"SS": []}}}, {"S": "a", "N": "1"}, {"NULL": False},
    "text", None, {"B": "!"}, {"L": {}}, {"M": []}, {"S": "\ud800"},
)  # fmt: skip
_ANY = st.one_of(_VALUES, _VALUES, _VALUES, _VALUES, _ODD)
_KEYS = st.one_of(
    st.fixed_dictionaries({"pk": _pick({"S": "p"}, {"S": "q"}), "sk": _pick({"S": "1"}, {"S": "2"}, {"S": "3"})}),
    st.fixed_dictionaries({"pk": _pick({"S": "p"}, {"S": "q"}), "sk": _pick({"S": "1"}, {"S": "2"}, {"S": "3"})}),
    st.dictionaries(_pick("pk", "sk", "other"), st.one_of(_SCALARS, _ODD), max_size=3),
)  # fmt: skip
_NAMES = ("n", "s", "m", "l", "set", "b", "status", "open", "due", "a.b", "c[0]")
_ITEMS = st.builds(
    lambda key, rest: {**rest, **key}, _KEYS, st.dictionaries(_pick(*_NAMES), _ANY, max_size=5)
)
_CONDITIONS = _pick(
    None, None, None, "", "attribute_not_exists(pk)", "attribute_exists(sk)", "s = :s", "n = :n",
    "#n > :n", "#status = :s AND n < :n", "s = :s OR NOT (n >= :n)", "n BETWEEN :n AND :o",
    "s IN (:s, :t)", "begins_with(s, :s)", "contains(l, :s)", "contains(s, :s)", "size(s) < :n",
    "attribute_type(n, :s)", "m.x = :s", "#m.#x = :n", "l[0] = :s", "status = :s", "s <> :s",
    "#status = :s AND attribute_not_exists(deleted)", "((s = :s))", "(s = :s", "s = = :s", "s :s",
    "s = :missing", "#missing = :s", "NOT s = :s", "s = :s AND n = :n AND attribute_exists(m)",
)  # fmt: skip
_UPDATES = _pick(
    "SET s = :s", "SET n = :n, #status = :s", "SET n = n + :n", "SET n = n - :n, s = :s",
    "SET n = if_not_exists(n, :o) + :n", "ADD n :n", "ADD #set :set", "DELETE #set :set",
    "REMOVE s, n", "REMOVE l[0]", "SET m.x = :s", "SET #m.#x = :s", "SET l[1] = :s",
    "SET l = list_append(l, :l)", "SET s = :s REMOVE n ADD due :n", "SET s = :s, s = :t",
    "SET pk = :s", "SET #status = :missing", "SET #missing = :s", "SET status = :s", "", " ",
    "SET", "SET s = ", "GIVE s :s", "SET s = :s SET n = :n", "SET m = :m, m.x = :s", "SET s = n",
    "SET s = nowhere", "SET open = :s, due = :n", "SET due = :s", "SET m.x.y = :s", None,
)  # fmt: skip
_PLACED = {
    ":s": {"S": "a"}, ":t": {"S": "in_progress"}, ":n": {"N": "1"}, ":o": {"N": "10.0"},
    ":set": {"SS": ["a", "c"]}, ":l": {"L": [{"S": "z"}]}, ":m": {"M": {"x": {"N": "3"}}},
}  # fmt: skip
_CALLED = {"#n": "n", "#status": "status", "#m": "m", "#x": "x", "#set": "set"}
_PROJECTIONS = _pick(
    None, "pk, s, n", "#n,#status", "m.x, s", "n", "l[0]", "missing", "", "a b", "s,s"
)
_KEY_CONDITIONS = _pick(
    "pk = :p", "pk = :p AND sk = :s", "pk = :p AND sk BETWEEN :one AND :two", "pk = :p AND sk > :one",
    "pk = :p AND begins_with(sk, :one)", "sk = :one", "pk > :p", "pk = :p AND s = :s", "pk = :p AND",
    "open = :p", "open = :p AND due < :n", "#pk = :p AND sk <= :two", "pk = :none",
)  # fmt: skip
_RETURNS = _pick(None, None, "NONE", "ALL_NEW", "ALL_OLD", "UPDATED_NEW", "UPDATED_OLD", "SOME")


def _used(body: dict[str, Any], exact: bool, extra: dict[str, Any]) -> dict[str, Any]:
    """Return a body with the placeholders that its expressions use; with others if not `exact`."""
    body = {name: content for name, content in body.items() if content is not None}
    texts = " ".join(str(text) for name, text in body.items() if name.endswith("Expression"))
    words = set(re.findall(r"[:#]?\w+", texts))
    names = {
        name: text for name, text in {**_CALLED, "#pk": "pk"}.items() if name in words or not exact
    }
    values = {
        name: value
        for name, value in {**_PLACED, **extra}.items()
        if name in words or (not exact and name in {":s", ":n"})
    }
    if names:
        body["ExpressionAttributeNames"] = names
    if values:
        body["ExpressionAttributeValues"] = values
    return body


_EXACT = _pick(True, True, True, True, False)
_CONSUMED = _pick(None, None, None, "TOTAL", "INDEXES", "NONE", "ALL")
_ON_FAILURE = _pick(None, "ALL_OLD", "NONE")


def _written(kind: str, **members: Any) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda exact, body: (kind, _used(body, exact, {})),
        _EXACT,
        st.fixed_dictionaries(
            {
                **members,
                "ConditionExpression": _CONDITIONS,
                "ReturnValues": _RETURNS,
                "ReturnConsumedCapacity": _CONSUMED,
                "ReturnValuesOnConditionCheckFailure": _ON_FAILURE,
            }
        ),
    )


_RANGES = {":p": {"S": "p"}, ":one": {"S": "1"}, ":two": {"S": "2"}, ":none": {"NULL": True}}
_CALLS = st.one_of(
    _written("PutItem", Item=_ITEMS),
    _written("PutItem", Item=_ITEMS),
    _written("UpdateItem", Key=_KEYS, UpdateExpression=_UPDATES),
    _written("UpdateItem", Key=_KEYS, UpdateExpression=_UPDATES),
    _written("DeleteItem", Key=_KEYS),
    st.builds(
        lambda body: ("GetItem", _used(body, exact=True, extra={})),
        st.fixed_dictionaries(
            {"Key": _KEYS, "ProjectionExpression": _PROJECTIONS, "ReturnConsumedCapacity": _CONSUMED,
             "ConsistentRead": _pick(None, True, "yes")}
        ),
    ),
    st.builds(
        lambda exact, body: ("Query", _used(body, exact, _RANGES)),
        _EXACT,
        st.fixed_dictionaries(
            {
                "KeyConditionExpression": _KEY_CONDITIONS,
                "FilterExpression": _CONDITIONS,
                "ProjectionExpression": _PROJECTIONS,
                "IndexName": _pick(None, None, "overdue", "missing"),
                "Limit": _pick(None, None, 1, 2),
                "ScanIndexForward": _pick(None, True, False),
                "Select": _pick(None, None, "COUNT", "ALL_ATTRIBUTES"),
                "ExclusiveStartKey": _pick(None, None, None, {"pk": {"S": "p"}, "sk": {"S": "1"}}),
                "ReturnConsumedCapacity": _CONSUMED,
                "ConsistentRead": _pick(None, True),
            }
        ),
    ),
    st.builds(
        lambda wanted: ("BatchGetItem", {"RequestItems": {"T": wanted}}),
        st.fixed_dictionaries(
            {"Keys": st.lists(_KEYS, min_size=1, max_size=3)},
            optional={"ProjectionExpression": _pick("pk, s", "n")},
        ),
    ),
    st.builds(
        lambda puts, keys: (
            "BatchWriteItem",
            {"RequestItems": {"T": [
                *({"PutRequest": {"Item": item}} for item in puts),
                *({"DeleteRequest": {"Key": key}} for key in keys),
            ]}},
        ),
        st.lists(_ITEMS, max_size=2), st.lists(_KEYS, max_size=2),
    ),
)  # fmt: skip


# What is there when a sequence begins.
_BEGUN: list[dict[str, Any]] = [
    {
        "pk": {"S": "p"}, "sk": {"S": "1"}, "s": {"S": "a"}, "n": {"N": "1e3"},
        "m": {"M": {"x": {"N": "007"}}}, "l": {"L": [{"S": "a"}]}, "set": {"SS": ["a", "b"]},
        "open": {"S": "p"}, "due": {"N": "2"}, "status": {"S": "in_progress"},
    },
    {"pk": {"S": "p"}, "sk": {"S": "2"}, "n": {"N": "1"}, "b": {"B": "AP8="}, "open": {"S": "p"}},
]  # fmt: skip


def _body(call: dict[str, Any], table: str) -> bytes:
    if "RequestItems" in call:
        return json.dumps({"RequestItems": {table: call["RequestItems"]["T"]}}).encode()
    return json.dumps({"TableName": table, **call}).encode()


def _created(table: str) -> bytes:
    types = {"pk": "S", "sk": "S", "open": "S", "due": "N"}
    return json.dumps(
        {
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": kind} for name, kind in types.items()
            ],
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": "overdue",
                    "KeySchema": [
                        {"AttributeName": "open", "KeyType": "HASH"},
                        {"AttributeName": "due", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        }
    ).encode()


def _sorted(answer: Any) -> Any:
    """Return an answer whose sets are in order: a set has none."""
    if isinstance(answer, dict):
        return {
            name: sorted(item) if name in {"SS", "NS", "BS"} and isinstance(item, list) else _sorted(item)
            for name, item in answer.items()
        }  # fmt: skip
    return [_sorted(item) for item in answer] if isinstance(answer, list) else answer


@settings(max_examples=120)
@given(calls=st.lists(_CALLS, min_size=1, max_size=8))
def test_calls_have_motos_answers(
    calls: list[tuple[str, dict[str, Any]]], ours: dict[str, Any], theirs: Call
) -> None:
    """Each call of a sequence has the answer of moto as it is, and so has what they leave."""
    table = f"t{next(_NUMBERS)}"
    call = partial(answered, ours["app"])
    for ask in (call, theirs):
        assert ask("CreateTable", _created(table))[0] == 200
    begun = [("PutItem", {"Item": item}) for item in _BEGUN]
    for operation, members in [*begun, *calls, ("Scan", {})]:
        body = _body(members, table)
        assert _sorted(call(operation, body)) == _sorted(theirs(operation, body)), (operation, body)
    for ask in (call, theirs):
        assert ask("DeleteTable", json.dumps({"TableName": table}).encode())[0] == 200


@pytest.mark.parametrize("depth", [1, 31, 32, 33, 150])
def test_lists_within_lists(depth: int, ours: dict[str, Any], theirs: Call) -> None:
    """Those that are deeper than DynamoDB has them are answered by moto."""
    held: dict[str, Any] = {"S": "x"}
    for _ in range(depth):
        held = {"L": [held]}
    table = f"t{next(_NUMBERS)}"
    item = {"pk": {"S": "p"}, "sk": {"S": "1"}, "a": held}
    for ask in (call := partial(answered, ours["app"]), theirs):
        assert ask("CreateTable", _created(table))[0] == 200
    body = _body({"Item": item}, table)
    assert call("PutItem", body)[0] == theirs("PutItem", body)[0]


@pytest.mark.parametrize("value", ["0x10", "", "1e", "sNaN", "1"])
def test_a_query_for_a_number(value: str, ours: dict[str, Any], theirs: Call) -> None:
    """A partition whose number is none has no items."""
    table = f"t{next(_NUMBERS)}"
    created = {
        "TableName": table,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "N"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    for ask in (call := partial(answered, ours["app"]), theirs):
        assert ask("CreateTable", json.dumps(created).encode())[0] == 200
    members = {
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"N": value}},
    }
    body = _body(members, table)
    assert call("Query", body) == theirs("Query", body)


def test_a_usual_call_does_not_pass_through_motos_application(ours: dict[str, Any]) -> None:
    """A call for an item goes around moto's application, and any other call goes to it."""
    table = f"t{next(_NUMBERS)}"
    call, taken = partial(answered, ours["app"]), ours["taken"]
    call("CreateTable", _created(table))
    before = taken[0]
    key = {"pk": {"S": "p"}, "sk": {"S": "1"}}
    item = {**key, "b": {"B": "AP8="}, "m": {"M": {"l": {"L": [{"NULL": True}]}}}}
    wanted = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "p"}}}
    changed = {"UpdateExpression": "REMOVE b"}
    for operation, members in (
        ("PutItem", {"Item": item}),
        ("GetItem", {"Key": key}),
        ("Query", wanted),
        ("UpdateItem", {"Key": key, **changed}),
        ("BatchGetItem", {"RequestItems": {"T": {"Keys": [key]}}}),
        ("BatchWriteItem", {"RequestItems": {"T": [{"PutRequest": {"Item": item}}]}}),
        ("DeleteItem", {"Key": key}),
    ):
        assert call(operation, _body(members, table))[0] == 200
    assert taken[0] == before
    for operation, body in (
        ("PutItem", _body({"Item": {**key, "n": {"N": 1}}}, table)),
        ("PutItem", _body({"Item": item, "Expected": {}}, table)),
        ("PutItem", b"{"),
        ("Scan", _body({}, table)),
    ):
        call(operation, body)
    assert taken[0] == before + 4


def test_calls_of_the_functions_tests_are_usual(ours: dict[str, Any]) -> None:
    """The function's client and boto3, with the keys that the tests have, go around it, too."""
    table, taken = f"t{next(_NUMBERS)}", ours["taken"]
    answered(ours["app"], "CreateTable", _created(table))

    def ask(request: Any, **_: object) -> AWSResponse:
        headers = {
            name: content if isinstance(content, str) else content.decode()
            for name, content in request.headers.items()
        }
        kind = headers.pop("Content-Type")
        more = {f"HTTP_{name.upper().replace('-', '_')}": headers[name] for name in headers}
        status, found, content = called(
            ours["app"], "GetItem", request.body, CONTENT_TYPE=kind, **more
        )
        return AWSResponse(request.url, status, found, MockRawResponse(content))

    before = taken[0]
    client = boto3.client("dynamodb", endpoint_url="http://localhost", **BOTO)
    client.meta.events.register("before-send.dynamodb", ask)
    key = {"pk": {"S": "p"}, "sk": {"S": "1"}}
    client.get_item(TableName=table, Key=key)
    client.close()
    body = _body({"Key": key}, table)
    signed = sign(
        credentials=CREDENTIALS,
        region="eu-west-1",
        service="dynamodb",
        host="localhost",
        path="/",
        headers={},
        body=body,
    )
    call = partial(answered, ours["app"], HTTP_AUTHORIZATION=signed["authorization"])
    assert call("GetItem", body)[0] == 200
    assert taken[0] == before


@pytest.mark.parametrize(
    "changed",
    [
        {"QUERY_STRING": "a=b"},
        {"CONTENT_TYPE": "application/x-amz-json-1.1"},
        {"HTTP_X_MOTO_ACCOUNT_ID": "210987654321"},
        {"HTTP_HOST": "dynamodb.eu-west-2.amazonaws.com"},
        {"HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=key/20261129/eu-west-1/dynamodb/aws4_request"},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_a_request_of_another_form_goes_to_moto(
    changed: dict[str, str], ours: dict[str, Any]
) -> None:
    """A header by which moto may choose another account or region leaves the choice to moto."""
    before = ours["taken"][0]
    answered(ours["app"], "GetItem", b"{}", **changed)
    assert ours["taken"][0] == before + 1
