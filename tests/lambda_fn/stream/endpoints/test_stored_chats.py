"""The list of stored chat completions."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.ids import new_key, new_key_id
from lambda_fn.stream.endpoints import stored_chats
from lambda_fn.stream_log import listing
from tests.support.function import Call
from tests.support.kept import Kept, head_of

PATH = "/v1/chat/completions"


@pytest.fixture
def call(make_call: Callable[..., Call], streams: Any, account: dict[str, str]) -> Call:
    """Return a function that calls the stream function with a StreamTable."""
    return make_call(stream_table=streams.name)


async def listed(call: Call, query: str = "") -> Any:
    """Return a page of the list."""
    reply = await call("GET", PATH + query)
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"
    return json.loads(reply.body)


async def test_the_list(call: Call, kept: Kept) -> None:
    """It has what was stored, the oldest first, in pages; and nothing that was only logged."""
    made = [await kept.whole(created=number + 10**9, chat=True) for number in range(3)]
    await kept.whole()
    await kept.whole(chat=True, owner=new_key_id())
    await kept.begin(chat=True)
    ids = [f"chatcmpl-{it.response_id}" for it in made]
    whole = await listed(call)
    assert [it["id"] for it in whole["data"]] == ids
    assert whole["data"][0]["choices"][0]["message"]["content"] == "Hello wide world"
    assert (whole["object"], whole["has_more"]) == ("list", False)
    assert (whole["first_id"], whole["last_id"]) == (ids[0], ids[2])
    newest = await listed(call, "?order=desc&limit=2")
    assert [it["id"] for it in newest["data"]] == [ids[2], ids[1]]
    assert newest["has_more"]


async def test_pages_follow_each_other(call: Call, kept: Kept) -> None:
    """`after` is the last id of the page before."""
    for _ in range(5):
        await kept.whole(chat=True)
    seen: list[str] = []
    page = await listed(call, "?limit=2")
    while page["data"]:
        seen += [it["id"] for it in page["data"]]
        page = await listed(call, f"?limit=2&after={seen[-1]}")
    assert len(seen) == len(set(seen)) == 5


async def test_filters(call: Call, kept: Kept) -> None:
    """By model, and by fields of metadata, which must all be there."""
    await kept.whole(chat=True, metadata={"user": "u", "k": "v"})
    await kept.whole(chat=True, metadata={"user": "other"})
    await kept.whole(head_of(model="n"), chat=True)
    counts = {
        "?model=m": 2,
        "?model=n": 1,
        "?metadata[user]=u": 1,
        "?metadata[user]=u&metadata[k]=v": 1,
        "?metadata%5Buser%5D=u&metadata[k]=w": 0,
        "?model=n&metadata[user]=u": 0,
    }
    for query, count in counts.items():
        assert len((await listed(call, query))["data"]) == count, query


async def test_a_page_is_bounded(call: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends after some bytes, and after looking at some responses; there is more then."""
    for _ in range(6):
        await kept.whole(chat=True)
    monkeypatch.setattr(stored_chats, "MAX_PAGE_BYTES", 100)
    page = await listed(call)
    assert (len(page["data"]), page["has_more"]) == (4, True)
    monkeypatch.setattr(listing, "MAX_LOOKED", 2)
    page = await listed(call, "?metadata[user]=nobody")
    assert (page["data"], page["has_more"]) == ([], True)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=chatcmpl-x", "after"),
        ("other=1", "other"),
        ("metadata=1", "metadata"),
        ("metadata[a]=1&metadata[a]=2", "metadata[a]"),
    ],
)
async def test_parameters_that_are_wrong(call: Call, query: str, param: str) -> None:
    """They are a 400 with the name."""
    reply = await call("GET", f"{PATH}?{query}")
    assert (reply.status, reply.error["param"]) == (400, param)
    assert (reply.error["code"] == "invalid_page_token") == (param == "after")


async def test_a_wrong_key(call: Call) -> None:
    """Nothing is listed without a key that exists."""
    for key in (None, new_key()):
        assert (await call("GET", PATH, key=key)).status == 401


def test_the_cold_start_does_not_load_it() -> None:
    """A chat imports nothing of the list, nor of storage."""
    code = "import sys, lambda_fn.stream.app; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not [it for it in loaded if it.startswith("lambda_fn.stream_log")]
    assert "lambda_fn.stream.endpoints.stored_chats" not in loaded
