"""The seam between producer and delivery, over all logs, sinks and forms of response."""

import asyncio
import contextlib
import gc
import json
import math
import subprocess
import sys
import time
import weakref
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode import Head, encoder_of
from lambda_fn.encode.base import VERSION, Form
from lambda_fn.errors import APIError, Cancelled, UpstreamFailed
from lambda_fn.event_log import (
    Batch,
    EventLog,
    LogEnded,
    NoLog,
    Take,
    Unended,
    error_of,
    failed_by,
)
from lambda_fn.events import Delta, End, Event, Failed, Finish, Start, Usage
from lambda_fn.stream.delivery import Delivery
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.sinks import ResponseBroken, Sink
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.transform import Buffer, Transform
from tests.support.seam import (
    HANG,
    FullLog,
    ListSink,
    MemoryLog,
    PutSink,
    Rebatched,
    RecordingAsgiSink,
    ScriptedInvocation,
    SlowFullLog,
    SlowLog,
    TailSink,
    pump,
)

FORM_OPTIONS: list[tuple[Form, int, dict[str, Any]]] = [
    ("chat_stream", 2, {"include_usage": True, "service_tier": "default"}),
    ("chat_body", 2, {}),
    ("completion_stream", 2, {"include_usage": True, "echo": "Once"}),
    ("completion_body", 2, {"echo": "Once"}),
    ("plain_text", 1, {}),
    ("messages_stream", 1, {"stops": ("!",), "thinking": True}),
    ("messages_body", 1, {"stops": (), "thinking": False}),
    ("responses_stream", 1, {"echoes": msgspec.Raw(b'{"store":false}'), "summary": False}),
    ("responses_body", 1, {"echoes": msgspec.Raw(b'{"store":false}'), "summary": True}),
    ("compaction_body", 1, {"echoes": msgspec.Raw(b'[{"type":"message","role":"user"}]')}),
]
HEADS = {
    form: Head(
        "01h00000000000000000000000", 1_700_000_000, "m", choices, "fp", form=form, **options
    )
    for form, choices, options in FORM_OPTIONS
}
FORMS = list(HEADS)
ENTRY = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": []}

STORED = Start | Delta | Finish | Usage | End | Failed
GOLDEN = json.loads(Path(__file__).with_name(f"stored_v{VERSION}.json").read_text(encoding="utf-8"))
"""Of each form the stored head and events, their bytes and those of a failure; a stored
`Failed`, and its kinds with the status and type that a client gets.
"""


def delta(content: str, index: int = 0, **more: Any) -> dict[str, Any]:
    """Return a delta record of the container."""
    return {"type": "delta", "index": index, "delta": {"content": content}, "tokens": 1, **more}


def records(choices: int) -> list[dict[str, Any]]:
    """Return the records of a whole response."""
    others = (
        [delta("Zwei ", 1), {"type": "finish", "index": 1, "finish_reason": "length"}]
        if choices > 1
        else []
    )
    return [
        {"type": "start", "prompt_tokens": 4},
        delta("H"),
        delta("é", logprobs={"content": [ENTRY], "refusal": None}),
        *others,
        delta("llo\n🚰 wörld "),
        delta(""),
        delta("x" * 40),
        {"type": "finish", "index": 0, "finish_reason": "stop"},
        {"type": "usage", "prompt_tokens": 4, "completion_tokens": 6},
        {"type": "end"},
    ]


def script(form: Form) -> list[bytes]:
    """Return the lines of a whole response, one for each step."""
    return [json.dumps(record).encode() + b"\n" for record in records(HEADS[form].choices)]


def producer_of(
    steps: Iterable[Any],
    log: EventLog,
    *,
    choices: int = 1,
    transform: Transform | None = None,
    seconds: float = 60,
    **options: Any,
) -> Producer:
    """Return a producer of a scripted invocation."""
    invocation: Any = ScriptedInvocation(steps)
    decoder, counter = LineDecoder(choices), UsageCounter()
    return Producer(
        invocation, decoder, counter, log, seconds=seconds, transform=transform, **options
    )


def events_of(form: Form, *, word: bool = False) -> list[Event]:
    """Return the events of a whole response, as the encoder gets them."""
    choices = HEADS[form].choices
    events = LineDecoder(choices).feed(b"".join(script(form)))
    return Buffer("word", choices).feed(events) if word else events


def whole(form: Form, *, word: bool = False) -> bytes:
    """Return the bytes of a whole response."""
    encoder = encoder_of(HEADS[form])
    return encoder.begin() + encoder.encode(events_of(form, word=word))


def wire_places(form: Form, body: bytes) -> list[int]:
    """Return the length of the body up to each wire number.

    A wire number counts chunks of a stream, bytes of a text, or the whole of one body.
    """
    if form == "plain_text":
        return list(range(len(body) + 1))
    if form.endswith("body"):
        return [0, len(body)]
    chunks = body.split(b"\n\n")[:-1]
    return [sum(len(chunk) + 2 for chunk in chunks[:count]) for count in range(len(chunks) + 1)]


def test_every_form_is_here() -> None:
    """The tests cover every form of response that has an encoder."""
    assert set(FORMS) == set(get_args(Form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("log", [NoLog, MemoryLog, SlowLog])
@pytest.mark.parametrize("sink", [ListSink, RecordingAsgiSink, PutSink])
@pytest.mark.parametrize("word", [False, True], ids=["as it comes", "by word"])
async def test_a_response_is_the_same_over_every_log_and_sink(
    form: Form, log: type[Any], sink: type[Any], word: bool
) -> None:
    """A client gets the same response while it is produced and from a log."""
    head, kept, out = HEADS[form], log(), sink()
    transform = Buffer("word", head.choices) if word else None
    await kept.open(head)
    delivery = Delivery(encoder_of(head), out)
    async with producer_of(
        script(form), kept, choices=head.choices, transform=transform
    ) as producer:
        if log is NoLog:
            await delivery.run(producer)
        else:
            await asyncio.gather(pump(producer), delivery.run(kept.read(-1)))
            assert kept.events == events_of(form, word=word)
            assert kept.ended
    assert (out.body, out.ends) == (whole(form, word=word), 1)


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_that_is_resumed_goes_on_where_it_broke_off(form: Form) -> None:
    """A stream that is resumed at any wire number continues with the tail of the whole.

    The head may have been stored as JSON.
    """
    log, body = MemoryLog(), whole(form)
    await log.open(HEADS[form])
    async with producer_of(script(form), log, choices=HEADS[form].choices) as producer:
        await pump(producer)
    stored = msgspec.json.decode(msgspec.json.encode(log.head), type=Head)
    for place in wire_places(form, body):
        for source in (log.read(-1), Rebatched(log.events)):
            sink = TailSink(place)
            await Delivery(encoder_of(stored), sink).run(source)
            assert (sink.body, sink.ends) == (body[place:], 1)


@pytest.mark.parametrize("form", FORMS)
async def test_a_stream_is_resumed_while_it_runs(form: Form) -> None:
    """A reader that comes while a stream runs gets all events, and the end once."""
    steps, body = script(form), whole(form)
    for count in range(len(steps) + 1):
        log = MemoryLog()
        async with producer_of(steps, log, choices=HEADS[form].choices) as producer:
            while len(log.events) < count:
                await producer.read(math.inf)
            sink = ListSink()
            await asyncio.gather(
                Delivery(encoder_of(HEADS[form]), sink).run(log.read(-1)), pump(producer)
            )
        assert (sink.body, sink.ends) == (body, 1)


@pytest.mark.parametrize("form", FORMS)
@given(
    cuts=st.lists(st.integers(0, 10_000), max_size=12),
    again=st.lists(st.integers(0, 100), max_size=12),
)
def test_cuts_change_nothing(form: Form, cuts: list[int], again: list[int]) -> None:
    """However the model's bytes and the log's events are cut, the response is the same.

    Its events are numbered without gaps.
    """

    async def deliver() -> None:
        data = b"".join(script(form))
        places = sorted({0, *(cut % len(data) for cut in cuts), len(data)})
        log, sink = MemoryLog(), ListSink()
        steps = [data[start:end] for start, end in pairwise(places)]
        async with producer_of(steps, log, choices=HEADS[form].choices) as producer:
            batches = await pump(producer)
        assert [first for first, _ in batches] == [
            sum(len(events) for _, events in batches[:number]) for number in range(len(batches))
        ]
        await Delivery(encoder_of(HEADS[form]), sink).run(Rebatched(log.events, again))
        assert sink.body == whole(form)
        log, sink = MemoryLog(), PutSink()
        async with producer_of(steps, log, choices=HEADS[form].choices) as producer:
            await Delivery(encoder_of(HEADS[form]), sink).run(producer)
        assert (sink.body, sink.ends, log.events) == (whole(form), 1, events_of(form))

    asyncio.run(deliver())


def test_another_process_makes_the_same_bytes() -> None:
    """Head and events that were stored as JSON have the same bytes in another process.

    That includes the padding.
    """
    code = (
        "import sys, msgspec; from lambda_fn import encode, events as e\n"
        "for line in sys.stdin:\n"
        "    events = e.Start | e.Delta | e.Finish | e.Usage | e.End\n"
        "    head, found = msgspec.json.decode(line, type=tuple[encode.Head, list[events]])\n"
        "    encoder = encode.encoder_of(head)\n"
        "    sys.stdout.buffer.write(encoder.begin() + encoder.encode(found))\n"
    )
    stored = b"\n".join(msgspec.json.encode((HEADS[form], events_of(form))) for form in FORMS)
    done = subprocess.run(
        [sys.executable, "-c", code], input=stored, capture_output=True, check=True
    )
    assert done.stdout == b"".join(map(whole, FORMS))


@pytest.mark.parametrize("form", FORMS)
def test_stored_responses_have_the_bytes_that_they_had(form: Form) -> None:
    """Head and events are stored as they were, and what was stored then has the bytes of then.

    A change here needs a new `VERSION` and a new file beside the old one, which logs may still
    need.
    """
    stored, body, failed = GOLDEN[form]
    assert msgspec.json.encode((HEADS[form], events_of(form))).decode() == stored
    head, events = msgspec.json.decode(stored, type=tuple[Head, list[STORED]])
    encoder = encoder_of(head)
    assert (encoder.begin() + encoder.encode(events)).decode() == body
    ending = encoder_of(head).fail(Cancelled("m", code="c"))
    assert (ending and ending.decode()) == failed


def test_an_unknown_version_is_not_encoded() -> None:
    """A head of another version has no encoder here."""
    with pytest.raises(LookupError):
        encoder_of(msgspec.structs.replace(HEADS["chat_stream"], version=VERSION + 1))


async def test_a_log_is_read_from_any_event() -> None:
    """A reader gets the events after the number that it names, and waits for later ones."""
    log = MemoryLog()
    events = events_of("chat_stream")
    log.append((0, events[:-1]))
    for after in range(-1, len(events) - 2):
        assert await log.read(after).read(0) == (after + 1, events[after + 1 : -1])
    reader = log.read(len(events) - 2)
    assert await reader.read(time.monotonic()) is None
    waiting = asyncio.ensure_future(reader.read(math.inf))
    await asyncio.sleep(0)
    log.append((len(events) - 1, events[-1:]))
    assert await waiting == (len(events) - 1, [End()])
    with pytest.raises(ValueError, match="does not follow"):
        log.append((0, events))
    assert await log.end((len(events), [End()])) == (len(events), [End()])
    with pytest.raises(LogEnded):
        log.append((len(events) + 1, events))
    with pytest.raises(LookupError):
        NoLog().read(-1)


# Parts that fail


class Raises:
    """A stage that raises at its second call."""

    def __init__(self) -> None:
        """Begin before the first call."""
        self._calls = 0

    def feed(self, events: Any) -> Any:
        """Pass the first events on, then raise."""
        self._calls += 1
        if self._calls > 1:
            raise RuntimeError("a fault of ours")
        return list(events)


class DropsEnd:
    """A transform that breaks its protocol: it keeps the terminal event for itself."""

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Pass all other events on."""
        return [event for event in events if type(event) is not End]


START = b'{"type":"start","prompt_tokens":4}\n'
HELLO = json.dumps(delta("Hello")).encode() + b"\n"
ERROR = b'{"type":"error","code":"engine_error","message":"secret detail"}\n'
FAILURES: dict[str, tuple[list[Any], dict[str, Any], str | None]] = {
    "died before a token": (
        [START, lambda: UpstreamFailed("The model did not answer.")],
        {},
        "upstream_error",
    ),
    "died after a token": (
        [START, HELLO, lambda: UpstreamFailed("cut", code="upstream_cut")],
        {},
        "upstream_cut",
    ),
    "said that it failed": ([START, HELLO + ERROR], {}, "upstream_error"),
    "cut": ([START, HELLO], {}, "upstream_cut"),
    "cut within a record": ([START, HELLO[:9]], {}, "upstream_cut"),
    "malformed": ([START + HELLO + b"no record\n", HELLO], {}, "upstream_error"),
    "silent until its time is over": ([START, HANG], {"seconds": 0.02}, "upstream_timeout"),
    "a transform's fault": ([START, HELLO, HELLO], {"transform": Raises()}, "internal_error"),
    "a transform without an end": (
        [START, HELLO, *script("plain_text")[-3:]],
        {"transform": DropsEnd()},
        "internal_error",
    ),
    "a fault below": (
        [START, HELLO, lambda: RuntimeError("a fault of ours")],
        {},
        "internal_error",
    ),
}


async def test_an_answer_whose_time_is_over_has_its_text() -> None:
    """A response that says something ends at its time limit like one that reached its limit.

    Its client is hurried only after the grace.
    """
    log, hurried = MemoryLog(), list[APIError]()
    async with producer_of(
        [START, HELLO, HANG], log, seconds=0.02, grace=3600, on_stop=hurried.append
    ) as producer:
        await pump(producer)
    finishes = [event for event in log.events if isinstance(event, Finish)]
    assert {(event.finish_reason, event.ended) for event in finishes} == {("length", "deadline")}
    assert log.events[-2:] == [Usage(4, 1), End()]
    assert (hurried, producer._invocation.over) == ([], False)


@pytest.mark.parametrize("name", FAILURES)
async def test_a_producer_ends_in_one_event(name: str) -> None:
    """A producer never raises. Its log ends in exactly one event.

    That event has what the client is told, and no internals.
    """
    steps, options, code = FAILURES[name]
    log = MemoryLog()
    if "transform" in options:
        options = {"transform": type(options["transform"])()}
    async with producer_of(steps, log, **options) as producer:
        await pump(producer)
    ends = [event for event in log.events if isinstance(event, End | Failed)]
    assert ends == log.events[-1:]
    assert isinstance(ends[0], Failed)
    assert ends[0].code == code
    assert log.ended
    assert "secret" not in ends[0].message
    assert "ours" not in ends[0].message


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("log", "sink_type"),
    [(NoLog, ListSink), (NoLog, PutSink), (MemoryLog, ListSink), (SlowLog, ListSink)],
)
async def test_a_failure_is_told_once(
    name: str, form: Form, log: type[Any], sink_type: type[ListSink]
) -> None:
    """A client learns of a failure once.

    If its response has begun, that is an event of its form, or an unfinished JSON value and a
    broken connection. Else it is a status.
    """
    steps, options, code = FAILURES[name]
    kept, sink = log(), sink_type()
    delivery = Delivery(encoder_of(HEADS[form]), sink)
    if "transform" in options:
        options = {"transform": type(options["transform"])()}
    async with producer_of(steps, kept, on_stop=delivery.hasten, **options) as producer:
        source = producer if log is NoLog else kept.read(-1)
        if log is not NoLog:
            await pump(producer)
        refused: str | None = None
        try:
            await delivery.run(source)
        except APIError as error:
            refused = error.code
    if sink.status == 0:
        assert refused == code
        return
    assert (refused, sink.status, sink.ends) == (None, 200, 1)
    assert sink.body.count(b'"error":{') == 1
    assert sink.aborted == (None if "body" not in form else code)
    if "body" in form:  # not even a clean end of the connection makes it a value
        with pytest.raises(json.JSONDecodeError):
            json.loads(sink.body)
    # `response.failed` says that the response failed, and every stream of responses ends so.
    assert (b"[DONE]" in sink.body) is (form == "responses_stream")


@pytest.mark.parametrize("form", FORMS)
async def test_a_source_without_an_end_breaks_off(form: Form) -> None:
    """A client of a source that ends without a terminal event gets its events and a broken
    connection, or a status if nothing was sent.
    """

    class Breaks(Rebatched):
        async def read(self, until: float, take: Take | None = None) -> Batch:
            batch = await super().read(until)
            if isinstance(batch[1][-1], End):
                raise Unended
            return batch

    sink = ListSink()
    refused: APIError | None = None
    try:
        await Delivery(encoder_of(HEADS[form]), sink).run(Breaks(events_of(form)))
    except APIError as error:
        refused = error
    encoder = encoder_of(HEADS[form])
    if form.endswith("body"):
        assert refused is not None
        assert (refused.code, sink.status) == ("log_unavailable", 0)
    else:
        assert (refused, sink.aborted, sink.ends) == (None, "unended", 1)
        assert sink.body == encoder.begin() + encoder.encode(events_of(form)[:-1])


@pytest.mark.parametrize("name", ["whole", *FAILURES])
@pytest.mark.parametrize("sink", [ListSink, PutSink])
async def test_a_response_leaves_no_cycle(name: str, sink: type[ListSink]) -> None:
    """A response is freed when it ends, however it ended, without the garbage collector."""
    steps, options, _ = FAILURES.get(name, (script("plain_text"), {}, None))
    if "transform" in options:
        options = {"transform": type(options["transform"])()}
    delivery = Delivery(encoder_of(HEADS["plain_text"]), sink())
    producer = producer_of(steps, NoLog(), on_stop=delivery.hasten, **options)
    freed = weakref.ref(delivery), weakref.ref(producer)
    gc.disable()
    try:
        with contextlib.suppress(APIError):
            async with producer:
                await delivery.run(producer)
        del delivery, producer
        assert [ref() for ref in freed] == [None, None]
    finally:
        gc.enable()


async def test_a_producer_is_cancelled_once() -> None:
    """A cancelled producer ends in one event, at once.

    It is not cancelled twice, or after its end.
    """
    log = MemoryLog()
    async with producer_of([START, HELLO, HANG], log) as producer:
        asyncio.get_running_loop().call_later(0.01, producer.cancel)
        await pump(producer)
        producer.cancel()
    assert log.events[-1] == failed_by(
        Cancelled(
            "This response was cancelled.",
            headers={"x-should-retry": "false"},
        )
    )
    assert sum(isinstance(event, Failed) for event in log.events) == 1
    complete = MemoryLog()
    async with producer_of(script("plain_text"), complete) as producer:
        await pump(producer)
        producer.cancel()
    assert complete.events[-1] == End()


async def test_a_client_that_leaves_cancels_nothing() -> None:
    """If its sink breaks, a delivery raises and leaves the source alone.

    Another delivery gets the whole response.
    """
    log = MemoryLog()
    async with producer_of(script("plain_text"), log) as producer:
        pumping = asyncio.ensure_future(pump(producer))
        with pytest.raises(ConnectionError):
            await Delivery(encoder_of(HEADS["plain_text"]), ListSink(room=1)).run(log.read(-1))
        await pumping
    sink = ListSink()
    await Delivery(encoder_of(HEADS["plain_text"]), sink).run(log.read(-1))
    assert (sink.body, log.events[-1]) == (whole("plain_text"), End())


@pytest.mark.parametrize("broken", ["sink", "put", "task"])
async def test_a_producer_that_is_left_ends_too(broken: str) -> None:
    """A producer that is left before its end ends its log and its call.

    It is left by an error, or because its task is cancelled.
    """
    log = MemoryLog()
    invocation: Any = ScriptedInvocation([START, HELLO, HELLO, HANG])
    sink = (PutSink if broken == "put" else ListSink)(room=9 if broken == "task" else 1)

    async def run() -> None:
        producer = Producer(invocation, LineDecoder(1), UsageCounter(), log, seconds=60)
        async with producer:
            await Delivery(encoder_of(HEADS["plain_text"]), sink).run(producer)

    running = asyncio.ensure_future(run())
    if broken == "task":
        await sink.started.wait()
        running.cancel()
    with pytest.raises(asyncio.CancelledError if broken == "task" else ConnectionError):
        await running
    assert [type(event) for event in log.events].count(Failed) == 1
    assert isinstance(log.events[-1], Failed)
    assert (log.events[-1].kind, log.events[-1].code) == ("cancelled", "abandoned")
    assert invocation.closed


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("log", [FullLog, SlowFullLog])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("sink_type", [ListSink, PutSink])
async def test_a_live_client_is_served_to_its_end_without_its_log(
    form: Form,
    log: type[MemoryLog],
    at_once: bool,
    sink_type: type[ListSink],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A log that is lost ends as failed. The live client gets the whole response all the same, and
    a reader is told what happened.
    """
    data = script(form)
    steps = [data[0], data[1], b"".join(data[2:])] if at_once else data
    kept, sink = log(), sink_type()
    async with producer_of(steps, kept, choices=HEADS[form].choices) as producer:
        await Delivery(encoder_of(HEADS[form]), sink).run(producer)
        assert not producer.logged
    assert (sink.body, sink.ends) == (whole(form), 1)
    assert kept.ended
    *others, last = kept.events
    assert others == events_of(form)[:2]
    assert isinstance(last, Failed)
    assert last.code == "log_unavailable"
    assert capsys.readouterr().out.count("log_lost") == 1


async def test_a_lost_log_that_cannot_be_ended_keeps_nobody_from_the_end() -> None:
    """A live client gets its end even if the log takes nothing at all."""

    class Dead(MemoryLog):
        def append(self, batch: Batch) -> Any:
            raise OSError("no answer")

        def end(self, batch: Batch) -> Any:
            raise OSError("no answer")

    sink = ListSink()
    async with producer_of(script("plain_text"), Dead()) as producer:
        await Delivery(encoder_of(HEADS["plain_text"]), sink).run(producer)
    assert (sink.body, sink.ends) == (whole("plain_text"), 1)


async def test_a_log_that_is_lost_while_its_task_is_cancelled_ends_too() -> None:
    """An append that fails after its task was cancelled is noticed: the log's end says so."""
    log = SlowFullLog()

    async def run() -> None:
        async with producer_of([START + HELLO, HELLO, HANG], log) as producer:
            await producer.read(math.inf)
            log.gate.clear()
            await producer.read(math.inf)

    running = asyncio.ensure_future(run())
    await log.held.wait()
    running.cancel()
    await asyncio.sleep(0)
    log.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [type(event) for event in log.events] == [Start, Delta, Failed]
    assert isinstance(log.events[-1], Failed)
    assert log.events[-1].code == "log_unavailable"


@pytest.mark.parametrize("at", ["a token", "the end"])
async def test_a_producer_whose_task_is_cancelled_while_its_log_waits_ends_too(at: str) -> None:
    """What the log was given is kept, and exactly one terminal event follows it: the one under way,
    or else that of the cancelled task.
    """
    log, kept = SlowLog(), events_of("plain_text")

    async def run() -> None:
        async with producer_of(script("plain_text"), log) as producer:
            while True:
                batch = await producer.read(math.inf)
                if batch is not None and batch[0] == (1 if at == "a token" else len(kept) - 2):
                    log.gate.clear()

    running = asyncio.ensure_future(run())
    await log.held.wait()
    running.cancel()
    await asyncio.sleep(0)
    log.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert log.ended
    if at == "a token":
        assert log.events[:-1] == kept[:3]
        assert isinstance(log.events[-1], Failed)
    else:
        assert log.events == kept


@pytest.mark.parametrize("at", ["a token", "the end"])
@pytest.mark.parametrize("sink_type", [ListSink, PutSink])
async def test_a_client_gets_the_end_that_stands_in_the_log(
    at: str, sink_type: type[ListSink]
) -> None:
    """A producer whose response somebody else has ended delivers that end, and not its own."""
    theirs = failed_by(Cancelled("Somebody else was first.", code="theirs"))

    class Taken(MemoryLog):
        def append(self, batch: Batch) -> Any:
            if at == "a token" and batch[0] >= 2:
                super().end((len(self.events), [theirs]))
            return super().append(batch)

        def end(self, batch: Batch) -> Any:
            super().end((len(self.events), [theirs]))
            return super().end(batch)

    log, sink = Taken(), sink_type()
    async with producer_of(script("plain_text"), log) as producer:
        await Delivery(encoder_of(HEADS["plain_text"]), sink).run(producer)
        assert producer.ended
    assert log.events == [*events_of("plain_text")[: 2 if at == "a token" else -1], theirs]
    assert (sink.body.count(b'"theirs"'), sink.ends) == (1, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("sink_type", [ListSink, PutSink])
async def test_an_end_that_is_not_logged_is_not_told(
    form: Form, at_once: bool, sink_type: type[ListSink], capsys: pytest.CaptureFixture[str]
) -> None:
    """If the log does not tell how a response ends, its client gets all events and no end."""

    class Mute(MemoryLog):
        def end(self, batch: Batch) -> Any:
            raise OSError("no answer")

    log, sink, refused = Mute(), sink_type(), None
    steps = [b"".join(script(form))] if at_once else script(form)
    try:
        async with producer_of(steps, log, choices=HEADS[form].choices) as producer:
            await Delivery(encoder_of(HEADS[form]), sink).run(producer)
    except APIError as error:
        refused = error.code
    encoder = encoder_of(HEADS[form])
    if form.endswith("body"):
        assert (refused, sink.status) == ("log_unavailable", 0)
    else:
        assert (refused, sink.aborted, sink.ends) == (None, "unended", 1)
        assert sink.body == encoder.begin() + encoder.encode(events_of(form)[:-1])
    assert log.events == events_of(form)[:-1]
    assert capsys.readouterr().out.count("OSError") == 1


async def test_a_log_that_does_not_answer_is_waited_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client whose log does not say how the response ends is let go without a terminal event."""
    monkeypatch.setattr(limits, "LOG_END_TIMEOUT", 0.02)
    log, sink = SlowLog(), ListSink()
    async with producer_of(script("plain_text"), log) as producer:
        for _ in events_of("plain_text")[:-1]:
            await producer.read(math.inf)
        log.gate.clear()
        with pytest.raises(Unended):
            await producer.read(math.inf)
        log.gate.set()
        await Delivery(encoder_of(HEADS["plain_text"]), sink).run(log.read(-1))
    assert (sink.body, log.events[-1]) == (whole("plain_text"), End())


async def test_an_encoders_error_is_its_clients_alone() -> None:
    """A response that one form cannot express fails only there.

    Its log and other readers have it whole.
    """
    log, sink, head = (
        MemoryLog(),
        ListSink(),
        msgspec.structs.replace(HEADS["chat_body"], choices=1, max_bytes=3),
    )
    async with producer_of(script("plain_text"), log) as producer:
        await pump(producer)
    with pytest.raises(APIError) as raised:
        await Delivery(encoder_of(head), sink).run(log.read(-1))
    assert (raised.value.code, sink.status) == ("answer_too_large", 0)
    sink = ListSink()
    await Delivery(encoder_of(HEADS["plain_text"]), sink).run(log.read(-1))
    assert sink.body == whole("plain_text")


async def test_a_client_that_reads_no_further_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a log, a producer waits only a moment after its deadline for a stuck client."""
    monkeypatch.setattr(limits, "LAST_WRITE_TIMEOUT", 0.02)

    class Stuck(RecordingAsgiSink):
        async def _receive(self, message: Any) -> None:
            await super()._receive(message)
            if self.kept.pieces:
                await asyncio.Event().wait()

    log, sink = MemoryLog(), Stuck()
    delivery = Delivery(encoder_of(HEADS["plain_text"]), sink)
    with pytest.raises(ResponseBroken, match="upstream_timeout"):
        async with producer_of(
            [START, HELLO, HELLO], log, seconds=0.02, on_stop=delivery.hasten
        ) as producer:
            await delivery.run(producer)
    assert [type(event) for event in log.events] == [Start, Delta, Failed]


async def test_what_is_hidden_is_in_no_log() -> None:
    """Transforms run before the log, and tokens are counted before the transforms."""

    class Hide:
        def feed(self, events: Iterable[Event]) -> list[Event]:
            hidden = msgspec.Raw(b'{"content":"***"}')
            return [
                msgspec.structs.replace(it, delta=hidden, tokens=0) if type(it) is Delta else it
                for it in events
            ]

    log, counter = MemoryLog(), UsageCounter()
    invocation: Any = ScriptedInvocation(script("plain_text")[:-2])
    async with Producer(
        invocation, LineDecoder(1), counter, log, seconds=60, transform=Hide()
    ) as producer:
        await pump(producer)
    assert b"rld" not in msgspec.json.encode(log.events)
    assert counter.completion_tokens == 5
    assert sum(event.tokens for event in log.events if type(event) is Delta) == 0


def test_an_error_comes_back_from_its_event() -> None:
    """Every error has an event with all that a client is told. An unknown one is a server error."""

    def kinds(kind: type[APIError]) -> Iterable[type[APIError]]:
        yield kind
        for one in kind.__subclasses__():
            yield from kinds(one)

    stored = {}
    public = (it for it in kinds(APIError) if it.__module__ == APIError.__module__)
    for kind in public:  # other modules may have errors of their own, which no client is told
        error = kind("m", param="p", code="c", retry_after=3, headers={"a": "b"})
        again = error_of(msgspec.json.decode(msgspec.json.encode(failed_by(error)), type=Failed))
        assert (type(again), vars(again)) == (kind, vars(error))
        stored[failed_by(error).kind] = [kind.status, kind.type]
    assert stored == GOLDEN["kinds"]
    full = Cancelled("m", param="p", code="c", retry_after=3, headers={"a": "b"})
    assert msgspec.json.encode(failed_by(full)).decode() == GOLDEN["failed"]
    assert error_of(Failed("Newer", "m")).status == 500


def test_the_relay_knows_no_database() -> None:
    """Neither the producer nor the delivery imports DynamoDB or the meter."""
    names = ("producer", "delivery", "sinks", "usage_counter")
    imports = ", ".join(("lambda_fn.event_log", *(f"lambda_fn.stream.{it}" for it in names)))
    code = (
        f"import sys, {imports}; print([it for it in sys.modules if 'dynamodb' in it or "
        "'metering' in it])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        == b"[]\n"
    )


def _is_a_sink(sink: Sink) -> Sink:
    """Return the sink. mypy checks it against the protocol."""
    return sink


_is_a_sink(ListSink())
