"""Filters over all stages: what is hidden is in no response, no log and no log line."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest

from lambda_fn.auth import Caller
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode import Head, encoder_of
from lambda_fn.encode.base import Form
from lambda_fn.encode.numbered import NUMBERED
from lambda_fn.http.client import Client
from lambda_fn.metering import accounts
from lambda_fn.metering.accounts import NO_FILTERS, KeyFilters
from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import machine_of
from lambda_fn.schema.parts import Source
from lambda_fn.settings import Redaction
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.key_cache import KeyCache
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.transform import Buffer, chain
from lambda_fn.transform.citations import Cite
from lambda_fn.transform.moderation import Screen, rules_of
from lambda_fn.transform.redaction import Redact, label
from tests.support.asgi_sockets import CREATE, connector
from tests.support.function import (
    END,
    FINISH,
    KEY,
    KEY_ID,
    START,
    USAGE,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.replies import CHAT, STREAM, events, ledger_item, text
from tests.support.seam import ListSink, MemoryLog, Rebatched, ScriptedInvocation, pump

SECRET = "ada@example.com"
HIDDEN = Redaction(kinds=("email",))


def delta(fields: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    """Return a delta record of the container."""
    return {"type": "delta", "index": index, "delta": fields, "tokens": 1, **more}


def logprobs(token: str) -> dict[str, Any]:
    """Return log probabilities whose candidates have the secret."""
    top = [{"token": SECRET, "logprob": -1.0, "bytes": list(SECRET.encode())}]
    entry = {"token": token, "logprob": 0.0, "bytes": None, "top_logprobs": top}
    return {"logprobs": {"content": [entry], "refusal": None}}


def answer(cut: int, choices: int) -> bytes:
    """Return an answer that has the secret in every part, cut there."""
    records: list[dict[str, Any]] = [START]
    written = json.dumps({"to": SECRET})
    halves = (SECRET[:cut], SECRET[cut:])
    for index in range(choices):
        for name in ("reasoning_content", "content", "refusal"):
            records += [delta({name: f"{it}"}, index, **logprobs(it)) for it in ("To ", *halves)]
        for number, it in enumerate((written[: cut + 8], written[cut + 8 :])):
            call = {"index": 0, "function": {"arguments": it}}
            if not number:
                call |= {"id": "call_1", "type": "function"}
                call["function"]["name"] = "send"  # type: ignore[index]
            records.append(delta({"tool_calls": [call]}, index))
        records.append({**FINISH, "index": index})
    return lines(*records, USAGE, END)


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("cut", range(1, len(SECRET)))
async def test_a_secret_is_in_no_form_and_no_log(form: Form, cut: int) -> None:
    """Cut at every place, in all parts of all choices, it is neither sent nor kept.

    What is resumed from the log at any event has the bytes of the live response.
    """
    choices = 2 if form.startswith(("chat", "completion")) else 1
    thinking = True if form.startswith("messages") else msgspec.UNSET
    head = Head("01h00000000000000000000000", 1, "m", choices, form=form, thinking=thinking)
    invocation: Any = ScriptedInvocation(
        [line + b"\n" for line in answer(cut, choices).splitlines()], pause=False
    )
    log, sink = MemoryLog(), ListSink()
    redact = Redact(choices, machine_of(frozenset(KINDS)), label)
    async with Producer(
        invocation, LineDecoder(choices), UsageCounter(), log, seconds=60, transform=redact
    ) as producer:
        await pump(producer)
    for source in (log.read(-1), Rebatched(log.events)):
        sink = ListSink()
        await Delivery(encoder_of(head), sink).run(source)
        for hidden in (SECRET, "example", "ada"):
            assert hidden.encode() not in sink.body
        assert b"[EMAIL]" in sink.body.replace(b"\\", b"")
    assert SECRET.encode() not in msgspec.json.encode(log.events)


def frames(cut: int) -> list[bytes]:
    """Return the frames of an answer that has the secret in every part, cut there."""
    return [part(line + b"\n") for line in answer(cut, 1).splitlines()]


def is_shown(said: bytes) -> bool:
    """Return whether a part of the secret is in a response. Ids may have its letters by chance."""
    return re.search(rb"example|\bada\b|\bada@", said) is not None


@pytest.mark.usefixtures("account", "_patient")
async def test_a_secret_is_in_no_event_of_a_socket(
    moto_url: str, sagemaker: StandIn, http: Client
) -> None:
    """Cut at every place, in all parts, it is not sent over a socket."""
    connect = connector(moto_url, sagemaker, http, {"redaction": HIDDEN})
    for cut in range(1, len(SECRET)):
        sagemaker.script = frames(cut)
        async with connect() as socket:
            socket.put(CREATE)
            sent = await socket.events()
        assert sent[-1]["type"] == "response.completed"
        said = msgspec.json.encode(sent)
        assert b"[EMAIL]" in said
        assert not is_shown(said)


@pytest.mark.usefixtures("account")
async def test_a_secret_is_in_no_multiplexed_answer(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """Cut at every place, in all parts, it is in the answer of no member."""
    call = make_call(redaction=HIDDEN)
    chat = {"endpoint": "/v1/chat/completions", "body": {**CHAT, "logprobs": True}}
    response = {"endpoint": "/v1/responses", "body": {"model": "m", "input": "Hi"}}
    members = [{**it, "stream_id": name} for it, name in ((chat, "a"), (response, "b"))]
    for cut in range(1, len(SECRET)):
        sagemaker.script = frames(cut)
        reply = await call(path="/v1/sluice/multiplex", body={"requests": members})
        assert reply.status == 200
        assert reply.body.count(b'"done":true') == 2
        assert b"[EMAIL]" in reply.body
        assert not is_shown(reply.body)


FORBIDDEN = "forbidden"


@pytest.mark.parametrize("form", NUMBERED)
async def test_all_filters_at_every_wire_number(form: Form) -> None:
    """Redaction, rules, citations and buffering stand before the log. So a stream that is resumed
    at any number is the tail of the live one, and has nothing of what was hidden or cut.
    """
    pieces = [*f"To {SECRET}, see [doc]. It is ", "forb", f"idden. {SECRET}"]
    records = [START, *(delta({"content": piece}) for piece in pieces), FINISH, USAGE, END]
    invocation: Any = ScriptedInvocation([lines(record) for record in records], pause=False)
    thinking = True if form.startswith("messages") else msgspec.UNSET
    head = Head(
        "01h00000000000000000000000", 1, "m", 1, form=form, thinking=thinking, numbered=True
    )
    log, sink = MemoryLog(), ListSink()
    rules = rules_of({}, {"violence": (FORBIDDEN,)})
    cites = form in ("chat_stream", "messages_stream", "responses_stream")
    source = Source(id="doc", url="https://example.com/1")
    async with Producer(
        invocation,
        LineDecoder(),
        UsageCounter(),
        log,
        seconds=60,
        transform=chain(Redact(1, machine_of(frozenset(KINDS)), label), Screen(1, rules)),
        finishing=chain(Cite(1, [source]) if cites else None, Buffer("word", 1)),
    ) as producer:
        await pump(producer)
    await Delivery(encoder_of(head), sink).run(log.read(-1))
    live = sink.body
    assert b"[EMAIL]" in live
    assert (b"https://example.com/1" in live) == cites
    last = len(live) if form == "plain_text" else live.count(b"\n\n")
    tails = []
    for number in range(last):
        sink = ListSink()
        await Delivery(encoder_of(head, number), sink).run(log.read(-1))
        assert live.endswith(sink.body)
        tails.append(len(sink.body))
        for hidden in (SECRET, "ada", FORBIDDEN, "idden"):
            assert hidden.encode() not in sink.body
    assert tails == sorted(tails, reverse=True)
    assert tails[-1] < tails[0] < len(live) or form == "plain_text"
    assert FORBIDDEN.encode() not in msgspec.json.encode(log.events)


def said(*pieces: str) -> list[bytes]:
    """Return the frames of an answer whose content comes in these pieces."""
    deltas = [part(lines(delta({"content": piece}))) for piece in pieces]
    return [part(lines(START)), *deltas, part(lines(FINISH, USAGE, END))]


@pytest.mark.usefixtures("account")
async def test_a_deployment_hides_it_in_streams_and_bodies(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any, capfd: Any
) -> None:
    """An address over five tokens is replaced, streamed and whole, and is in no log line.

    What the model sampled is metered as ever.
    """
    call = make_call(redaction=HIDDEN)
    sagemaker.script = said("Write to ", "ada", "@", "example", ".com", ".")
    streamed = await call(body=STREAM)
    assert text(streamed) == "Write to [EMAIL]."
    sagemaker.script = said("Write to ", "ada", "@", "example", ".com", ".")
    whole = json.loads((await call(body=CHAT)).body)
    assert whole["choices"][0]["message"]["content"] == "Write to [EMAIL]."
    assert ledger_item(items, streamed)["completion_tokens"] == 2  # the container's count
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.usefixtures("account")
async def test_a_request_can_only_add(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """A request adds kinds to the deployment's, and takes none away."""
    call = make_call(redaction=HIDDEN)
    sent = (f"{SECRET} ", "4111 1111 1111 1111")
    for sluice, expected in (
        ({"redact": []}, "[EMAIL] 4111 1111 1111 1111"),
        ({"redact": ["card"]}, "[EMAIL] [CARD]"),
    ):
        sagemaker.script = said(*sent)
        assert text(await call(body={**STREAM, "sluice": sluice})) == expected
    sagemaker.script = said(*sent)
    plain = make_call()
    asked = {"redact": ["email", "card"]}
    assert text(await plain(body={**STREAM, "sluice": asked})) == "[EMAIL] [CARD]"
    refused = await plain(body={**STREAM, "sluice": {"redact": ["emails"]}})
    error = json.loads(refused.body)["error"]
    assert (refused.status, error["param"]) == (400, "sluice.redact[0]")


async def test_a_key_can_only_add(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """A key adds kinds, which `/v1/usage` shows, and they count for requests of all forms.

    They also count while the meter fails open.
    """
    items.put_item(Item=accounts.new_account(KEY, name="k", now=1, redact=["card"]))
    call = make_call(redaction=HIDDEN, meter_open=True)
    sent = (f"{SECRET} ", "4111 1111 1111 1111")
    for body in ({**STREAM, "sluice": {"redact": []}}, STREAM):
        sagemaker.script = said(*sent)
        assert text(await call(body=body)) == "[EMAIL] [CARD]"
    usage = await call("GET", "/v1/usage")
    assert json.loads(usage.body)["key"]["redact"] == ["card"]
    key = Caller(KEY_ID, "hash")
    keys = KeyCache()
    keys.admitted(key, KeyFilters(("card",), blocks=True))
    assert keys.filters(key) == (("card",), True)
    keys.admitted(key)
    assert keys.filters(key) == NO_FILTERS


@pytest.mark.usefixtures("account")
async def test_json_that_was_asked_for_stays_json(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """In an answer whose form is JSON, a number that is hidden becomes a string."""
    sagemaker.script = said('{"card": 41111111', '11111111, "to": "ada\\u0040', 'example.com"}')
    form = {"response_format": {"type": "json_object"}}
    reply = await make_call(redaction=Redaction(("card", "email")))(body={**STREAM, **form})
    assert json.loads(text(reply)) == {"card": "[CARD]", "to": "[EMAIL]"}


@pytest.mark.usefixtures("account")
async def test_pseudonyms_are_the_keys(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """A pseudonym is the same in every answer to a key."""
    call = make_call(redaction=Redaction(("email",), pseudonyms=True))
    answers = set()
    for _ in range(2):
        sagemaker.script = said("ada@exam", "ple.com")
        answers.add(text(await call(body=STREAM)))
    assert len(answers) == 1
    assert answers.pop().startswith("[EMAIL-")


@pytest.mark.usefixtures("account")
async def test_heartbeats_go_on_while_text_is_held(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """A client hears something while all that the model says is held."""
    more = asyncio.Event()
    frames = said("It", " is ", "ada@example")
    sagemaker.script = [*frames[:-1], more, frames[-1]]
    reply = Reply()
    call = make_call(redaction=HIDDEN, heartbeat=0.05)
    task = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: reply.body.count(b'"delta":{}') >= 3)
    assert b"ada" not in reply.body
    more.set()
    assert text(await task) == "It is ada@example"


@pytest.mark.usefixtures("account")
async def test_what_cannot_be_scanned_is_not_sent(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """A malformed delta ends the response with an error, before it is sent."""
    sagemaker.script = [part(lines(START, delta({"content": [SECRET]})))]
    reply = await make_call(redaction=HIDDEN)(body=STREAM)
    assert reply.status == 502
    assert SECRET.encode() not in reply.body


SOURCES = {"sources": [{"id": "doc", "title": "One", "url": "https://example.com/1"}]}


@pytest.mark.usefixtures("account")
async def test_an_answer_cites_the_sources_of_its_request(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """Offsets are those of the text without what is hidden, in a stream and in one body."""
    call = make_call(redaction=HIDDEN)
    for body in (CHAT, STREAM):
        sagemaker.script = said(f"{SECRET} says so [d", "oc] and [2].")
        reply = await call(body={**body, "sluice": SOURCES})
        if body is STREAM:
            content = text(reply)
            (found,) = (
                it["choices"][0]["delta"]["annotations"]
                for it in events(reply)[:-1]
                if "annotations" in it["choices"][0]["delta"]
            )
        else:
            message = json.loads(reply.body)["choices"][0]["message"]
            content, found = message["content"], message["annotations"]
        assert content == "[EMAIL] says so [doc] and [2]."
        assert found == [
            {
                "type": "url_citation",
                "url_citation": {
                    "start_index": 16,
                    "end_index": 21,
                    "url": "https://example.com/1",
                    "title": "One",
                },
            }
        ]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("path", "body", "more", "param"),
    [
        ("/v1/completions", {"model": "m", "prompt": "Hi"}, {}, "sluice.sources"),
        ("/v1/chat/completions", CHAT, {"accept": "text/plain"}, "sluice.sources"),
        (
            "/v1/chat/completions",
            {**CHAT, "response_format": {"type": "json_object"}},
            {},
            "sluice.sources",
        ),
    ],
)
async def test_forms_without_a_place_for_sources(
    call: Call, path: str, body: dict[str, Any], more: dict[str, str], param: str
) -> None:
    """A form that cannot say what is cited refuses sources."""
    reply = await call(path=path, body={**body, "sluice": SOURCES}, more=more)
    assert (reply.status, reply.error["param"]) == (400, param)


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"id": "a]", "url": "https://e.com"}, "sluice.sources[0].id"),
        ({"id": "", "url": "https://e.com"}, "sluice.sources[0].id"),
        ({"id": "a", "url": "javascript:alert(1)"}, "sluice.sources[0].url"),
        ({"id": "a", "url": "https://e.com/ x"}, "sluice.sources[0].url"),
        ({"id": "a"}, "sluice.sources[0].url"),
    ],
)
async def test_sources_are_checked(call: Call, source: dict[str, str], param: str) -> None:
    """An id has nothing that ends a marker, and an address leads to the web."""
    reply = await call(body={**CHAT, "sluice": {"sources": [source]}})
    assert (reply.status, reply.error["param"]) == (400, param)
    twice = [{"id": "a", "url": "https://e.com"}] * 2
    reply = await call(body={**CHAT, "sluice": {"sources": twice}})
    assert (reply.status, reply.error["param"]) == (400, "sluice.sources")
