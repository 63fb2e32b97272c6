"""Stored chat completions: OpenAI's calls for one of them, over what the stream function kept."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.ids import new_key_id, new_request_id
from lambda_fn.stream_log.keys import head_key
from tests.support.function import FIRST, Call, Reply, StandIn
from tests.support.kept import Kept

PATH = "/v1/chat/completions"
ASKED: dict[str, Any] = {
    "model": "m",
    "store": True,
    "metadata": {"user": "u"},
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "x"}],
        },
    ],
}


@pytest.fixture
def ask(make_call: Callable[..., Call], streams: Any, account: dict[str, str]) -> Call:
    """Return a function that asks for a chat completion, and returns its reply."""
    call = make_call(stream_table=streams.name)

    async def asked(accept: str = "", **body: Any) -> Reply:
        more = {"accept": accept} if accept else {}
        return await call(path=PATH, body={**ASKED, **body}, more=more)

    return asked


def id_of(reply: Reply) -> str:
    """Return the id of a completion, streamed or not."""
    return "chatcmpl-" + reply.headers["x-request-id"][4:]


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"accept": "text/plain"}])
async def test_a_stored_completion_is_read_again(
    ask: Call, recall: Call, more: dict[str, Any]
) -> None:
    """However it was sent, it is read as one that was not streamed, with its metadata."""
    reply = await ask(**more)
    read = json.loads((await recall("GET", f"{PATH}/{id_of(reply)}")).body)
    if not more:
        assert read == json.loads(reply.body) | {"metadata": {"user": "u"}}
    assert (read["id"], read["object"]) == (id_of(reply), "chat.completion")
    assert read["choices"][0]["message"]["content"] == "Hello world"
    assert (read["usage"]["total_tokens"], read["metadata"]) == (6, {"user": "u"})


async def test_its_messages(ask: Call, recall: Call) -> None:
    """They are those of the request, each with an id, in pages, the first one first."""
    name = id_of(await ask())
    listed = json.loads((await recall("GET", f"{PATH}/{name}/messages")).body)
    first, second = listed["data"]
    assert first == {
        "role": "system",
        "content": "Be brief.",
        "id": f"{name}-0",
        "content_parts": None,
        "name": None,
    }
    assert (second["content"], second["content_parts"]) == (
        "Hi\nx",
        ASKED["messages"][1]["content"],
    )
    assert (listed["first_id"], listed["last_id"]) == (first["id"], second["id"])
    rest = f"{PATH}/{name}/messages?order=desc&limit=1&after={second['id']}"
    assert json.loads((await recall("GET", rest)).body)["data"] == [first]


async def test_messages_that_were_taken_in_another_form(ask: Call, recall: Call) -> None:
    """Texts in place of content parts are accepted, so they can be read again."""
    content = ["Hi", {"type": "text", "text": "x"}]
    name = id_of(await ask(messages=[{"role": "user", "content": content}]))
    [message] = json.loads((await recall("GET", f"{PATH}/{name}/messages")).body)["data"]
    assert (message["content"], message["content_parts"]) == ("Hi\nx", content)


async def test_messages_with_members_that_are_not_read(ask: Call, recall: Call) -> None:
    """A part of a type that has no text may have such a member, of any type."""
    parts = [{"type": "refusal", "refusal": "No.", "text": 5}, {"type": "text", "text": "x"}]
    before = {"role": "assistant", "content": parts}
    name = id_of(await ask(messages=[before, {"role": "user", "content": "Hi"}]))
    found = json.loads((await recall("GET", f"{PATH}/{name}/messages")).body)["data"]
    assert [message["content"] for message in found] == ["x", "Hi"]
    assert found[0]["content_parts"] == parts


async def test_its_metadata_change(ask: Call, recall: Call) -> None:
    """An update replaces them, and returns the completion. Nothing else can be changed."""
    path = f"{PATH}/{id_of(await ask())}"
    changed = await recall("POST", path, {"metadata": {"a": "b"}})
    assert json.loads(changed.body)["metadata"] == {"a": "b"}
    assert json.loads((await recall("GET", path)).body) == json.loads(changed.body)
    assert (await recall("POST", path, {"model": "other"})).status == 400


async def test_it_is_deleted(ask: Call, recall: Call, streams: Any) -> None:
    """It is gone at once, and its items go."""
    name = id_of(await ask())
    deleted = json.loads((await recall("DELETE", f"{PATH}/{name}")).body)
    assert deleted == {"id": name, "object": "chat.completion.deleted", "deleted": True}
    for method, rest in (("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/messages")):
        body: dict[str, Any] | None = {"metadata": {}} if method == "POST" else None
        reply = await recall(method, f"{PATH}/{name}{rest}", body)
        assert (reply.status, reply.error["code"]) == (404, "response_not_found")
    [head] = streams.scan()["Items"]
    assert head.keys() == {"pk", "sk", "v", "deleted", "expires"}


async def test_what_is_no_stored_completion(
    ask: Call, recall: Call, kept: Kept, streams: Any, sagemaker: StandIn
) -> None:
    """One that was only logged, runs, failed or is another key's does not exist."""
    logged = await kept.whole()
    running = await kept.begin(chat=True)
    sagemaker.script = [FIRST, None]
    failed = id_of(await ask(stream=True))
    sagemaker.script = []
    theirs = await kept.whole(chat=True)
    streams.update_item(
        Key=head_key(theirs.response_id),
        UpdateExpression="SET #owner = :other",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":other": new_key_id()},
    )
    names = [it.response_id for it in (logged, running, theirs)]
    for name in (*names, failed, new_request_id(), "x"):
        assert (await recall("GET", f"{PATH}/{name}")).status == 404


@pytest.mark.parametrize("store", [None, False])
async def test_a_completion_is_stored_only_if_asked(ask: Call, streams: Any, store: Any) -> None:
    """Without `store` nothing is written."""
    assert (await ask(store=store)).status == 200
    assert streams.scan()["Items"] == []


async def test_without_persistence(make_call: Callable[..., Call], account: dict[str, str]) -> None:
    """`store: true` is refused with the name of the setting, and the list does not exist."""
    call = make_call()
    reply = await call(path=PATH, body=ASKED)
    assert (reply.status, reply.error["param"]) == (400, "store")
    assert "persistence" in reply.error["message"]
    assert (await call("GET", PATH)).status == 405
