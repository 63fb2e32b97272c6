"""OpenAI's calls for kept responses, over what the stream function has kept."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.encode.base import Head
from lambda_fn.errors import UpstreamFailed
from lambda_fn.event_log import failed_by
from lambda_fn.ids import new_request_id
from lambda_fn.metering import ledger
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.stream_log.heads import read_head
from tests.support.function import KEY_ID, Call, Reply
from tests.support.kept import Kept, events, head_of
from tests.support.response_events import check_response, events_of, response_of

PATH = "/v1/responses"
ASKED: dict[str, Any] = {"model": "m", "input": "Hi", "instructions": "Be brief."}
DURABLE = {**ASKED, "stream": True, "sluice": {"durable": True}}
FAILED = failed_by(UpstreamFailed("It failed."))


@pytest.fixture
def ask(make_call: Callable[..., Call], streams: Any, account: dict[str, str]) -> Call:
    """Return a function that asks the stream function for a response."""
    call = make_call(stream_table=streams.name)

    async def asked(body: Any) -> Reply:
        reply = await call(path=PATH, body=body)
        assert reply.status == 200
        return reply

    return asked


def response(**changes: Any) -> Head:
    """Return the head of a response of this API."""
    return head_of(**{"form": "responses_body", **changes})


def path_of(head: Head | str, rest: str = "") -> str:
    """Return the path of a response."""
    name = head if isinstance(head, str) else f"resp_{head.response_id}"
    return f"{PATH}/{name}{rest}"


@pytest.mark.parametrize("body", [ASKED, {**ASKED, "stream": True}, DURABLE])
async def test_a_response_is_read_again(ask: Call, recall: Call, body: dict[str, Any]) -> None:
    """What is read is what was answered, to the byte of its JSON."""
    reply = await ask(body)
    sent = response_of(reply.body) if body.get("stream") else json.loads(reply.body)
    again = await recall("GET", path_of(sent["id"]))
    assert (again.status, json.loads(again.body)) == (200, sent)
    assert again.headers["cache-control"] == "no-store"
    waited = await recall("GET", path_of(sent["id"], "?wait=5&include[]=x&include=y"))
    assert waited.body == again.body


async def test_a_logged_stream_is_sent_again(ask: Call, recall: Call) -> None:
    """A stream whose events are logged is sent behind any number. Others say why they are not."""
    first = await ask(DURABLE)
    name, sent = response_of(first.body)["id"], events_of(first.body)
    for query, after in (("", -1), ("&starting_after=2", 2), ("&starting_after=99", 99)):
        again = await recall("GET", path_of(name, f"?stream=true{query}"))
        blocks = [it for it in again.body.split(b"\n\n") if it.startswith(b"event")]
        numbers = [json.loads(it.split(b"data: ")[1])["sequence_number"] for it in blocks]
        assert numbers == [it["sequence_number"] for it in sent if it["sequence_number"] > after]
    unlogged = json.loads((await ask(ASKED)).body)["id"]
    refused = await recall("GET", path_of(unlogged, "?stream=true"))
    assert (refused.status, refused.error["param"]) == (400, "stream")


async def test_states(recall: Call, kept: Kept) -> None:
    """A response that runs has no output, nor has a cancelled one. A failed one tells why."""
    running = await kept.begin(response(), kept="result")
    read = json.loads((await recall("GET", path_of(running.head))).body)
    assert (read["status"], read["output"]) == ("in_progress", [])
    stopped = await recall("POST", path_of(running.head, "/cancel"))
    for reply in (
        stopped,
        await recall("POST", path_of(running.head, "/cancel")),
        await recall("GET", path_of(running.head)),
    ):
        found = json.loads(reply.body)
        assert (reply.status, found["status"], found["output"]) == (200, "cancelled", [])
        assert found["error"] is None
    failed = await kept.begin(response())
    number = await kept.flush(failed, 0, events("So"))
    await kept.end(failed, number, FAILED, "failed")
    found = json.loads((await recall("GET", path_of(failed.head))).body)
    assert (found["status"], found["error"]["message"]) == ("failed", "It failed.")
    assert found["output"][0]["content"][0]["text"] == "So"
    refused = await recall("POST", path_of(failed.head, "/cancel"))
    assert refused.error["message"] == "Cannot cancel a failed response."
    cut = await kept.begin(response())
    await kept.end(cut, 0, failed_by(UpstreamFailed("It was cut.")), "incomplete")
    refused = await recall("POST", path_of(cut.head, "/cancel"))
    assert refused.error["message"] == "Cannot cancel an incomplete response."


@pytest.mark.parametrize(
    ("outcome", "status", "message"),
    [
        ("complete", 400, "Cannot cancel a completed response."),
        ("cut", 400, "Cannot cancel a failed response."),
        ("cancelled", 200, None),
    ],
)
async def test_a_cancel_of_what_was_not_kept(
    recall: Call, table: Table, outcome: str, status: int, message: str | None
) -> None:
    """What has ended is named as the other calls name it, and what is cancelled is returned."""
    name = new_request_id()
    item = ledger.opening_item(Opening(name, KEY_ID, "m", 10, 0, Prices(0, 0)))
    await table.put({**item, "state": "SETTLED", "settled": 5, "outcome": outcome})
    reply = await recall("POST", path_of(f"resp_{name}", "/cancel"))
    assert reply.status == status
    assert message is None or reply.error["message"] == message


async def test_an_end_whose_segment_is_missing(recall: Call, kept: Kept) -> None:
    """A response has ended when its head says so."""
    stored = await kept.begin(response())
    number = await kept.flush(stored, 0, events("So"))
    await kept.end(stored, number, put=False)
    found = json.loads((await recall("GET", path_of(stored.head))).body)
    assert found["status"] == "completed"


async def test_a_response_is_deleted(ask: Call, recall: Call) -> None:
    """A deleted response is not found, and nothing goes on from it."""
    name = json.loads((await ask(ASKED)).body)["id"]
    deleted = await recall("DELETE", path_of(name))
    assert json.loads(deleted.body) == {"id": name, "object": "response.deleted", "deleted": True}
    for method, rest in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        assert (await recall(method, path_of(name, rest))).status == 404


async def test_input_items(ask: Call, recall: Call) -> None:
    """The input of a request is listed, the last item first, page by page, each with an id."""
    items: list[Any] = [
        {"role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": "two", "phase": "commentary"},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    name = json.loads((await ask({**ASKED, "input": items})).body)["id"]
    whole = json.loads((await recall("GET", path_of(name, "/input_items?order=asc"))).body)
    assert [item["content"][0]["text"] for item in whole["data"]] == ["one", "two", "three"]
    assert whole["data"][1]["phase"] == "commentary"
    assert whole["data"][1]["content"][0]["type"] == "output_text"
    assert (whole["object"], whole["has_more"]) == ("list", False)
    ids = [item["id"] for item in whole["data"]]
    assert len(set(ids)) == 3
    page = json.loads((await recall("GET", path_of(name, "/input_items?limit=2"))).body)
    assert [item["id"] for item in page["data"]] == [ids[2], ids[1]]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)
    rest = f"/input_items?after={ids[1]}&include=x"
    last = json.loads((await recall("GET", path_of(name, rest))).body)
    assert ([item["id"] for item in last["data"]], last["has_more"]) == ([ids[0]], False)
    again = await ask({**ASKED, "input": [{"type": "item_reference", "id": ids[0]}]})
    check_response(json.loads(again.body))  # an id of an input can be referred to, too


@pytest.mark.parametrize("number", [b"1e400", b"9" * 6000])
async def test_an_input_item_with_a_large_number(
    make_call: Callable[..., Call],
    streams: Any,
    account: dict[str, str],
    recall: Call,
    number: bytes,
) -> None:
    """A member that nobody reads is listed as it was sent, though Python has no such number."""
    item = b'{"role":"user","content":"x","more":%b}' % number
    call = make_call(stream_table=streams.name)
    made = await call(path=PATH, body=b'{"model":"m","input":[%b]}' % item)
    listed = await recall("GET", path_of(json.loads(made.body)["id"], "/input_items"))
    assert listed.status == 200
    assert b'"more":%b' % number in listed.body


@pytest.mark.parametrize(
    ("rest", "param"),
    [
        ("?stream=maybe", "stream"),
        ("?starting_after=1", "starting_after"),
        ("?stream=true&starting_after=-1", "starting_after"),
        ("?stream=true&starting_after=x", "starting_after"),
        ("?wait=x", "wait"),
        ("?other=1", "other"),
        ("/input_items?limit=0", "limit"),
        ("/input_items?limit=101", "limit"),
        ("/input_items?order=up", "order"),
        ("/input_items?after=msg_x", "after"),
        ("/input_items?before=msg_x", "before"),
        ("/input_items?other=1", "other"),
    ],
)
async def test_parameters_that_are_wrong(recall: Call, kept: Kept, rest: str, param: str) -> None:
    """A parameter that makes no sense is a 400 with its name."""
    stored = await kept.whole(response())
    reply = await recall("GET", path_of(stored.head, rest))
    assert (reply.status, reply.error["param"]) == (400, param)
    assert (reply.error["code"] == "invalid_page_token") == ("after=msg" in rest)


async def test_a_chat_is_no_response(recall: Call, kept: Kept) -> None:
    """What another API made is not found here, nor is another key's. It runs on."""
    chat, running = await kept.whole(), await kept.begin()
    theirs = await kept.begin(response(), owner="another")
    for stored in (chat, running, theirs):
        for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel")):
            assert (await recall(method, path_of(stored.head, rest))).status == 404
    for stored in (running, theirs):
        found = await read_head(kept.table, stored.response_id, now=time.time())
        assert found is not None
        assert found.status == "in_progress"


async def test_a_compaction_is_cancelled(recall: Call, kept: Kept) -> None:
    """One that runs is cancelled as a response is, although it cannot be read as one."""
    echoes = msgspec.Raw(b'[{"type":"message","role":"user","content":[]}]')
    stored = await kept.begin(head_of("compaction_body", echoes=echoes))
    for _ in range(2):
        reply = await recall("POST", path_of(stored.head, "/cancel"))
        found = json.loads(reply.body)
        assert (reply.status, found["object"], found["status"]) == (200, "response", "cancelled")
        assert (found["id"], found["output"]) == (f"resp_{stored.response_id}", [])
    assert (await recall("GET", path_of(stored.head))).status == 404
