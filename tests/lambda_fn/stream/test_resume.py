"""A logged response is sent once more, from where its client has it."""

import asyncio
import re
import time
from typing import Any

import pytest

from lambda_fn import ids, limits
from lambda_fn.encode import encoder_of
from lambda_fn.encode.numbered import NUMBERED
from lambda_fn.errors import APIError, Cancelled, InvalidRequest, RateLimited, UpstreamFailed
from lambda_fn.event_log import Unended, failed_by
from lambda_fn.events import End
from lambda_fn.ids import new_key
from lambda_fn.metering import accounts
from lambda_fn.stream import resume
from lambda_fn.stream.sinks import ResponseBroken
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.keys import SLOTS
from tests.support.function import Call, Reply
from tests.support.kept import Kept, delta, events, head_of, rest

WORDS = ("Hello", " wide", " world", " für 🌍")
BODIES = ["chat_body", "completion_body", "messages_body", "responses_body"]
FAILURE = UpstreamFailed("The model's response was truncated.", code="upstream_cut")
FAILED = failed_by(FAILURE)


def path(stored: StoredHead, after: int | None = None) -> str:
    """Return the path that resumes a response."""
    query = "" if after is None else f"?starting_after={after}"
    return f"/v1/sluice/streams/{stored.response_id}{query}"


def live(stored: StoredHead, *, ended: bool = True) -> bytes:
    """Return the body that the live client got."""
    encoder = encoder_of(stored.head)
    every = [*events(*WORDS), *rest(len(WORDS)), End()]
    return encoder.begin() + encoder.encode(every if ended else every[:3])


def tail(form: str, whole: bytes, after: int) -> bytes:
    """Return what follows a wire number in a body."""
    if form == "plain_text":
        return whole[after:] or b"\x16"  # Lambda delivers no empty body
    kept = []
    for chunk in whole.split(b"\n\n")[:-1]:
        number = re.search(rb'"(?:n|sequence_number)":(\d+)', chunk)
        if number is None or int(number[1]) > after:
            kept.append(chunk + b"\n\n")
    return b"".join(kept)


@pytest.mark.parametrize("form", NUMBERED)
async def test_a_resumed_stream_is_the_tail_of_the_whole(
    recall: Call, kept: Kept, form: str
) -> None:
    """From whatever number a client goes on, it gets the bytes that it lacks, and no others."""
    stored = await kept.whole(head_of(form, numbered=True), words=WORDS)
    whole = live(stored)
    first = await recall("GET", path(stored))
    assert (first.status, first.body, first.whole) == (200, whole, True)
    assert first.headers["cache-control"].startswith("no-")
    last = (
        len(whole) if form == "plain_text" else len(re.findall(rb'"(?:n|sequence_number)":', whole))
    )
    for after in (*range(min(last, 40)), last, last + 1, 10**15):
        reply = await recall("GET", path(stored, after))
        assert (reply.status, reply.whole) == (200, True)
        assert reply.body == tail(form, whole, after)
        by_header = await recall("GET", path(stored), more={"last-event-id": str(after)})
        assert by_header.body == reply.body


@pytest.mark.parametrize("form", BODIES)
async def test_a_response_of_one_json_value_is_sent_whole(
    recall: Call, kept: Kept, form: str
) -> None:
    """It has no numbers, so its client gets all of it."""
    stored = await kept.whole(head_of(form), words=WORDS)
    assert (await recall("GET", path(stored, 3))).body == live(stored)


async def test_the_larger_of_both_numbers_counts(recall: Call, kept: Kept) -> None:
    """A client that reconnects by itself repeats its first address, and adds where it is."""
    stored = await kept.whole(head_of(numbered=True), words=WORDS)
    expected = (await recall("GET", path(stored, 3))).body
    reply = await recall("GET", path(stored, 1), more={"last-event-id": "3"})
    assert reply.body == expected


async def test_a_running_response_is_followed_to_its_end(
    recall: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader gets what is there, waits, and ends with the terminal event."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.01)
    stored = await kept.begin(head_of(numbered=True))
    number = await kept.flush(stored, 0, events(WORDS[0]))
    reply = Reply()
    reading = asyncio.ensure_future(recall("GET", path(stored), reply=reply))
    await reply.until(lambda: b"Hello" in reply.body)
    for word in WORDS[1:]:
        number = await kept.flush(stored, number, [delta(word)])
    number = await kept.flush(stored, number, rest(len(WORDS)))
    await kept.end(stored, number)
    assert (await reading).body == live(stored)


async def test_fifty_tails_keep_no_other_key_from_reading(
    recall: Call, kept: Kept, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of fifty readers of a running response, four stay; another key reads its own meanwhile."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.05)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.05)
    other = new_key()
    items.put_item(Item=accounts.new_account(other, name="other", now=1))
    theirs = await kept.whole(head_of(numbered=True), words=WORDS, owner=ids.key_id_of(other) or "")
    stored = await kept.begin(head_of(numbered=True))
    number = await kept.flush(stored, 0, events(*WORDS))
    replies = [Reply() for _ in range(50)]
    tails = [asyncio.ensure_future(recall("GET", path(stored), reply=it)) for it in replies]
    await asyncio.gather(*(reply.until_chunks(1) for reply in replies))
    reply = await recall("GET", path(theirs), key=other)
    assert (reply.status, reply.body) == (200, live(theirs))
    staying = set(tails)
    while len(staying) > SLOTS:
        _, staying = await asyncio.wait(staying, return_when=asyncio.FIRST_COMPLETED)
    number = await kept.flush(stored, number, rest(len(WORDS)))
    await kept.end(stored, number)
    await asyncio.gather(*tails)
    whole = [it for it in replies if it.body == live(stored)]
    assert 0 < len(whole) <= SLOTS
    assert all(live(stored).startswith(it.body) for it in replies)


async def test_a_client_ahead_of_a_running_response_waits(
    recall: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has seen what a killed producer never logged. It gets only what is behind that."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.01)
    stored = await kept.begin(head_of(numbered=True))
    number = await kept.flush(stored, 0, events(*WORDS))
    reading = asyncio.ensure_future(recall("GET", path(stored, 6)))
    number = await kept.flush(stored, number, rest(len(WORDS)))
    await kept.end(stored, number)
    assert (await reading).body == tail("chat_stream", live(stored), 6)


async def test_a_stream_without_news_has_heartbeats(
    recall: Call, kept: Kept, make_recall: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are data that every client ignores, and have no number."""
    monkeypatch.setattr(limits, "LOG_POLL", 0.01)
    stored = await kept.begin(head_of(numbered=True))
    reply = Reply()
    reading = asyncio.ensure_future(make_recall(heartbeat=0.01)("GET", path(stored), reply=reply))
    await reply.until_chunks(3)
    assert (reply.status, b'"n"' in reply.chunks[2]) == (200, False)
    await kept.end(stored, await kept.flush(stored, 0, [*events("a"), *rest(1)]))
    assert (await reading).body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("form", ["chat_stream", "plain_text"])
async def test_a_stream_ends_before_its_functions_deadline(
    recall: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """There is no terminal event, so the client comes back.

    An event stream ends well. A text tells its end by nothing else, so its connection is broken.
    """
    monkeypatch.setattr(limits, "LOG_POLL", 0.01)
    now = time.monotonic()
    monkeypatch.setattr(resume, "_deadline", lambda seconds: now)
    stored = await kept.begin(head_of(form, numbered=True))
    await kept.flush(stored, 0, events("Hello"))
    monkeypatch.setattr(resume._Until, "read", _once_then_unended)
    reply = Reply()
    if form == "plain_text":
        with pytest.raises(ResponseBroken):
            await recall("GET", path(stored), reply=reply)
        assert reply.body == b"Hello"
        assert not reply.whole
    else:
        await recall("GET", path(stored), reply=reply)
        assert b"Hello" in reply.body
        assert b"[DONE]" not in reply.body
        assert reply.whole


async def _once_then_unended(self: Any, until: float, take: object = None) -> Any:
    """Read what is there, and end at the deadline."""
    if getattr(self, "was", False):
        raise Unended
    self.was = True
    return await self._source.read(until)


def test_the_deadline_is_that_of_the_invocation() -> None:
    """It leaves the time in which the last calls end."""
    left = resume._deadline(100.0) - time.monotonic()
    assert left == pytest.approx(100.0 - limits.RESUME_RESERVE, abs=1)


async def test_a_response_whose_producer_died_ends_for_its_readers(
    recall: Call, kept: Kept
) -> None:
    """Its reader ends it. The terminal event is above every number that a client may have."""
    stored = await kept.begin(head_of(numbered=True), lease=time.time() - limits.LEASE - 1)
    await kept.flush(stored, 0, events("Hello"))
    reply = await recall("GET", path(stored, 1))
    assert reply.status == 200
    [error] = [it for it in reply.body.split(b"\n\n") if b"interrupted" in it]
    assert int(re.findall(rb'"n":(\d+)', error)[0]) > 100_000
    assert (await recall("GET", path(stored, 50_000))).body == reply.body


@pytest.mark.parametrize("form", NUMBERED)
async def test_a_response_that_failed_is_read_without_a_failure(
    recall: Call, kept: Kept, form: str
) -> None:
    """It ends in its own form, as if its client had waited, and no alarm counts its reader.

    A client that has the event gets nothing more.
    """
    head = head_of(form, numbered=True)
    stored = await kept.begin(head)
    await kept.end(stored, await kept.flush(stored, 0, events()[:1]), FAILED, "failed")
    reply = await recall("GET", path(stored))
    encoder = encoder_of(head)
    assert reply.status == 200
    assert reply.body == encoder.begin() + (encoder.fail(FAILURE) or b"")
    for after in (0, 1, 500):
        assert (await recall("GET", path(stored, after))).body == tail(form, reply.body, after)


@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (FAILURE, 424),
        (RateLimited("The model is busy.", retry_after=1), 424),
        (InvalidRequest("Too long.", code="context_length_exceeded"), 400),
        (Cancelled("It was cancelled."), 499),
    ],
)
async def test_a_whole_response_that_failed_is_no_failure_of_its_reader(
    recall: Call, kept: Kept, form: str, failure: APIError, status: int
) -> None:
    """One JSON value cannot tell it, so it is a status that no alarm counts and no SDK retries."""
    stored = await kept.begin(head_of(form))
    number = await kept.flush(stored, 0, events()[:1])
    await kept.end(stored, number, failed_by(failure), "failed")
    reply = await recall("GET", path(stored))
    assert (reply.status, reply.error["code"]) == (status, failure.code)
    assert reply.error["message"] == failure.message
    if status == 424:
        assert reply.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("after", [None, 0])
@pytest.mark.parametrize("form", ["chat_stream", "responses_stream", "chat_body", "plain_text"])
async def test_a_log_that_cannot_be_read_now(
    recall: Call, kept: Kept, monkeypatch: pytest.MonkeyPatch, form: str, after: int | None
) -> None:
    """Its reader gets no end that the log does not tell: it comes back."""
    monkeypatch.setattr(resume._Until, "read", _unended)
    stored = await kept.begin(head_of(form, numbered=form in NUMBERED))
    reply = await recall("GET", path(stored, after))
    if form in ("chat_body", "plain_text"):
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    else:
        ends = b"[DONE]" in reply.body or b"failed" in reply.body or b'{"error"' in reply.body
        assert (reply.status, ends, reply.whole) == (200, False, True)


async def _unended(self: Any, until: float, take: object = None) -> Any:
    self.unended = True
    raise Unended


async def test_a_response_that_failed_late_is_sent_with_its_error(recall: Call, kept: Kept) -> None:
    """Its text comes first, and then the event that the live client got."""
    stored = await kept.begin(head_of(numbered=True))
    number = await kept.flush(stored, 0, events("Hello"))
    await kept.end(stored, number, FAILED, "failed")
    body = (await recall("GET", path(stored))).body
    assert body.index(b"Hello") < body.index(b"upstream_cut")


@pytest.mark.parametrize(("ended", "status"), [(True, 400), (False, 503)])
async def test_a_version_that_is_unknown_here(
    recall: Call, kept: Kept, ended: bool, status: int
) -> None:
    """A newer deployment made the response. While it runs, the client may meet that one."""
    head = head_of(version=10_000)
    stored = await (kept.whole(head) if ended else kept.begin(head))
    reply = await recall("GET", path(stored))
    assert reply.status == status
    assert (await recall("GET", f"{path(stored)}?wait=0")).status == 200


async def test_a_response_without_events_cannot_be_streamed(recall: Call, kept: Kept) -> None:
    """What was only stored says so."""
    stored = await kept.begin(kept="result")
    reply = await recall("GET", path(stored))
    assert (reply.status, reply.error["code"]) == (400, "not_streamable")
