"""`/v1/sluice/streams`: state, list, deletion, and what is refused."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.ids import new_key_id, new_request_id
from lambda_fn.stream_log import listing
from lambda_fn.stream_log.keys import head_key
from tests.support.function import Call
from tests.support.kept import Kept, head_of

LIST = "/v1/sluice/streams"


def content(reply: Any) -> Any:
    """Return the JSON of a response."""
    return json.loads(reply.body)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "path", ["nonsense", "R#x", "%F0%9F%98%80" * 9, "0" * 26, "chatcmpl-" + "0" * 26, "Z" * 26]
)
async def test_an_id_that_is_none_is_unknown(recall: Call, method: str, path: str) -> None:
    """Whatever stands in the place of the id, the answer is the same 404."""
    reply = await recall(method, f"{LIST}/{path}")
    assert (reply.status, reply.error["code"]) == (404, "response_not_found")


async def test_another_keys_response_does_not_exist(recall: Call, kept: Kept) -> None:
    """Reading, waiting, cancelling and deleting answer as for an id that never was."""
    theirs = await kept.whole(owner=new_key_id())
    absent = new_request_id()
    path = f"{LIST}/{{}}"
    for method, end in (("GET", ""), ("GET", "?wait=0"), ("POST", "/cancel"), ("DELETE", "")):
        replies = [
            await recall(method, path.format(name) + end) for name in (theirs.response_id, absent)
        ]
        assert [it.status for it in replies] == [404, 404]
        same = {it.error["message"].replace(theirs.response_id, absent) for it in replies}
        assert len(same) == 1
    assert content(await recall("GET", LIST))["data"] == []


async def test_a_response_is_over_at_its_time(recall: Call, kept: Kept) -> None:
    """DynamoDB may remove items late, so the time in the head counts."""
    stored = await kept.whole(expires=int(time.time()) - 1)
    assert (await recall("GET", f"{LIST}/{stored.response_id}")).status == 404
    assert content(await recall("GET", LIST))["data"] == []


async def test_the_state_of_a_response(recall: Call, kept: Kept) -> None:
    """It has status, usage and times, and nothing of the content. The public id may be sent."""
    stored = await kept.whole(metadata={"user": "u"})
    reply = await recall("GET", f"{LIST}/chatcmpl-{stored.response_id}?wait=0")
    state = content(reply)
    assert state | {"ended_at": 0} == {
        "id": stored.response_id,
        "object": "sluice.stream",
        "created_at": stored.created,
        "model": "m",
        "form": "chat_stream",
        "status": "completed",
        "logged": True,
        "streamable": True,
        "ended_at": 0,
        "expires_at": stored.expires,
        "metadata": {"user": "u"},
        "usage": {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7},
        "error": None,
    }
    assert b"Hello" not in reply.body


async def test_waiting_ends_with_the_response(
    recall: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `wait` the state comes when the response ends, or when the seconds are over."""
    monkeypatch.setattr(limits, "LOG_WATCH", 0.01)
    stored = await kept.begin()
    path = f"{LIST}/{stored.response_id}"
    assert content(await recall("GET", f"{path}?wait=0"))["status"] == "in_progress"
    waiting = asyncio.ensure_future(recall("GET", f"{path}?wait=30"))
    await asyncio.sleep(0)
    await kept.end(stored, 0)
    assert content(await waiting)["status"] == "completed"


async def test_a_response_whose_producer_died_is_ended_by_who_finds_it(
    recall: Call, kept: Kept
) -> None:
    """With a lease that is over, the state is failed at once, and stays so."""
    stored = await kept.begin(lease=time.time() - limits.LEASE - 1)
    path = f"{LIST}/{stored.response_id}?wait=0"
    first, second = content(await recall("GET", path)), content(await recall("GET", path))
    assert first == second
    assert (first["status"], first["error"]["code"]) == ("failed", "interrupted")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("starting_after=-1", "starting_after"),
        ("starting_after=x", "starting_after"),
        ("starting_after=1.5", "starting_after"),
        ("starting_after=", "starting_after"),
        ("starting_after=9007199254740992", "starting_after"),
        ("starting_after=" + "9" * 4000, "starting_after"),
        ("starting_after=1&starting_after=2", "starting_after"),
        ("wait=31", "wait"),
        ("wait=1&starting_after=1", "wait"),
        ("cursor=1", "cursor"),
    ],
)
async def test_a_query_that_is_wrong_is_named(recall: Call, query: str, param: str) -> None:
    """It is refused before anything is read."""
    reply = await recall("GET", f"{LIST}/{new_request_id()}?{query}")
    assert (reply.status, reply.error["param"]) == (400, param)


async def test_a_last_event_id_that_is_none_is_named(recall: Call) -> None:
    """The header is checked like the parameter."""
    reply = await recall("GET", f"{LIST}/{new_request_id()}", more={"last-event-id": "x"})
    assert (reply.status, reply.error["param"]) == (400, "Last-Event-ID")


async def test_a_list_shows_the_newest_first_page_by_page(recall: Call, kept: Kept) -> None:
    """Each page continues behind the last response of the one before, in both orders."""
    made = [
        (
            await kept.whole(head_of(model=f"m{number % 2}"), created=int(time.time()) + number)
        ).response_id
        for number in range(5)
    ]
    later = int(time.time()) + 30
    await kept.begin(created=later)

    async def pages(query: str) -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            page = content(await recall("GET", f"{LIST}?limit=2{query}{after}"))
            found += [it["id"] for it in page["data"]]
            if not page["has_more"]:
                return found
            assert page["last_id"] == found[-1]
            after = f"&after={page['last_id']}"

    assert await pages("&status=completed") == made[::-1]
    assert await pages("&status=completed&order=asc") == made
    assert await pages("&model=m1&order=asc") == [made[1], made[3]]
    [running] = content(await recall("GET", f"{LIST}?status=in_progress"))["data"]
    assert running["created_at"] == later


async def test_a_list_looks_at_a_bounded_number_of_responses(
    recall: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that fits nothing ends the page there, and the client can go on behind it."""
    monkeypatch.setattr(listing, "MAX_LOOKED", 2)
    made = [
        (await kept.whole(created=int(time.time()) + number)).response_id for number in range(3)
    ]
    page = content(await recall("GET", f"{LIST}?model=other&order=asc"))
    assert (page["data"], page["has_more"], page["last_id"]) == ([], True, made[1])
    page = content(await recall("GET", f"{LIST}?model=other&order=asc&after={made[1]}"))
    assert (page["data"], page["has_more"], page["last_id"]) == ([], False, made[2])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("status=done", "status"),
        ("after=x", "after"),
        ("after=" + "0" * 26, "after"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(recall: Call, query: str, param: str) -> None:
    """The parameter that is wrong is named."""
    reply = await recall("GET", f"{LIST}?{query}")
    assert (reply.status, reply.error["param"]) == (400, param)
    assert (reply.error["code"] == "invalid_page_token") == (param == "after")


async def test_a_deleted_response_is_gone_with_all_its_items(
    recall: Call, kept: Kept, streams: Any, items: Any
) -> None:
    """From then on everything is 404. Only a head without owner and content is left."""
    stored = await kept.whole(head_of(echo="a prompt " * 100))
    other = await kept.whole()
    path = f"{LIST}/{stored.response_id}"
    reply = await recall("DELETE", path)
    assert content(reply) == {
        "id": stored.response_id,
        "object": "sluice.stream.deleted",
        "deleted": True,
    }
    for method, end in (("GET", ""), ("GET", "?wait=0"), ("POST", "/cancel"), ("DELETE", "")):
        assert (await recall(method, path + end)).status == 404
    assert [it["id"] for it in content(await recall("GET", LIST))["data"]] == [other.response_id]
    own = head_key(stored.response_id)
    [left] = [it for it in streams.scan()["Items"] if it["pk"] == own["pk"]]
    assert left.keys() == {"pk", "sk", "v", "deleted", "expires"}


async def test_a_running_response_is_not_deleted(recall: Call, kept: Kept) -> None:
    """Its producer still writes, so it has to be cancelled first."""
    stored = await kept.begin()
    reply = await recall("DELETE", f"{LIST}/{stored.response_id}")
    assert (reply.status, reply.error["code"]) == (400, "response_in_progress")


async def test_without_the_table_the_client_is_told(
    make_recall: Callable[..., Call], account: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call answers 503 with a time to try again."""
    monkeypatch.setattr(limits, "META_MAX_ATTEMPTS", 1)
    down = make_recall(stream_table="gone")
    path = f"{LIST}/{new_request_id()}"
    for method, end in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        reply = await down(method, path + end)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
    assert (await down("GET", LIST)).status == 503


async def test_a_path_that_does_not_exist_is_a_404(recall: Call) -> None:
    """It has OpenAI's form, and a method that does not fit is told which ones do."""
    assert (await recall("GET", "/v1/chat/other")).error["code"] == "not_found"
    reply = await recall("POST", LIST)
    assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
    assert (await recall("GET", "/health", key=None)).status == 200
