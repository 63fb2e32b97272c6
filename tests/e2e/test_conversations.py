"""Conversations and stored chats by openai-python, over the whole local cloud."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.test_streaming import script
from tests.support.deployments import SCRIPTED_MODEL, Deployment

pytestmark = pytest.mark.e2e


@pytest.fixture
def client(scripted: Deployment) -> Iterator[openai.OpenAI]:
    """Yield the SDK, which checks every answer against its types."""
    with openai.OpenAI(
        base_url=f"{scripted.origin}/v1",
        api_key=scripted.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as found:
        yield found


@pytest.fixture
def lenient(scripted: Deployment) -> Iterator[openai.OpenAI]:
    """Yield the SDK as an application uses it: its type of stored messages knows no users."""
    with openai.OpenAI(
        base_url=f"{scripted.origin}/v1", api_key=scripted.key, max_retries=0
    ) as found:
        yield found


def said(**what: Any) -> str:
    """Return the input that makes the scripted model say something."""
    return json.dumps(what)


def test_a_conversation(client: openai.OpenAI) -> None:
    """Responses go on with it, streamed and in the background, and its items can be changed."""
    made = client.conversations.create(
        items=[{"role": "user", "content": "Hello"}], metadata={"topic": "x"}
    )
    assert client.conversations.retrieve(made.id).metadata == {"topic": "x"}
    changed = client.conversations.update(made.id, metadata={"topic": "y"})
    assert changed.metadata == {"topic": "y"}
    with client.responses.stream(
        model=SCRIPTED_MODEL, input=said(say=["one"]), conversation=made.id
    ) as stream:
        first = stream.get_final_response()
    assert first.conversation is not None
    assert (first.conversation.id, first.output_text) == (made.id, "one")
    second = client.responses.create(
        model=SCRIPTED_MODEL, input=said(say=["two"]), conversation=made.id, background=True
    )
    ended = client.responses.retrieve(second.id, extra_query={"wait": 30})
    assert ended.status == "completed"
    items: list[Any] = list(client.conversations.items.list(made.id, order="asc", limit=2))
    assert [item.content[0].text for item in items] == [
        *("Hello", said(say=["one"]), "one", said(say=["two"]), "two")
    ]
    added = client.conversations.items.create(made.id, items=[{"role": "user", "content": "Bye"}])
    item_id = str(added.data[0].id)
    read: Any = client.conversations.items.retrieve(item_id, conversation_id=made.id)
    assert read.content[0].text == "Bye"
    assert client.conversations.items.delete(item_id, conversation_id=made.id).id == made.id
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_two_responses_at_once(client: openai.OpenAI) -> None:
    """While one runs, another one is told that the conversation is locked."""
    made = client.conversations.create()
    running = client.responses.create(
        model=SCRIPTED_MODEL,
        input=said(count=2000, rate=20),
        conversation=made.id,
        background=True,
    )
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=SCRIPTED_MODEL, input=said(say=["two"]), conversation=made.id)
    assert refused.value.code == "conversation_locked"
    client.responses.cancel(running.id)
    client.responses.create(model=SCRIPTED_MODEL, input=said(say=["two"]), conversation=made.id)
    items = list(client.conversations.items.list(made.id))
    assert len(items) == 2  # of the cancelled one there is nothing


def test_stored_chats(client: openai.OpenAI, lenient: openai.OpenAI) -> None:
    """They are listed by metadata, read, changed and deleted; their messages are kept."""
    run = secrets.token_hex(4)
    chats = client.chat.completions
    made = [
        chats.create(
            model=SCRIPTED_MODEL,
            messages=script(say=[text]),
            store=True,
            metadata={"run": run, "text": text},
        )
        for text in ("one", "two", "three")
    ]
    for _ in chats.create(
        model=SCRIPTED_MODEL,
        messages=script(say=["four"]),
        store=True,
        stream=True,
        metadata={"run": run},
    ):
        pass
    listed = list(chats.list(metadata={"run": run}, limit=2))
    assert [it.choices[0].message.content for it in listed] == ["one", "two", "three", "four"]
    assert [it.id for it in chats.list(metadata={"run": run, "text": "two"})] == [made[1].id]
    assert chats.retrieve(made[0].id).choices == made[0].choices
    assert chats.update(made[0].id, metadata={"a": "b"}).metadata == {"a": "b"}
    [message] = list(lenient.chat.completions.messages.list(made[0].id))
    assert json.loads(message.content or "") == {"say": ["one"]}
    assert chats.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        chats.retrieve(made[0].id)
