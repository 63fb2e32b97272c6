"""The generator, over an API whose streams lie."""

import asyncio
import gc
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cli.commands.load.connection import Address
from cli.commands.load.endings import Ending
from cli.commands.load.forms import FORMS
from cli.commands.load.generator import Options, Progress, Run, generate
from cli.commands.load.plan import Ask, Plan, Planned, Rate
from cli.commands.load.stream import Stream
from tests.support.lying_api import ANSWERS, WORDS, Answer, LyingAPI, lying_api


def planned(names: list[str], **fields: Any) -> list[Planned]:
    """Return a plan of one request for each answer, all at once."""
    return [Planned(at, 0.0, Ask(name, 16), **fields) for at, name in enumerate(names)]


def options(api: LyingAPI, **fields: Any) -> Options:
    """Return options for an API."""
    return Options(Address.of(api.url), FORMS["chat"], "m", ["k"], **fields)


HOURS = 10_000.0


def silent(ready: Callable[[Stream], bool]) -> Progress:
    """Return a progress that lets hours of silence pass for streams that are ready for it."""

    def pass_time(run: Run) -> None:
        for stream in run.open.values():
            stream.heard -= HOURS if ready(stream) else 0

    return pass_time


def late(ready: Callable[[Run, Stream], bool]) -> Progress:
    """Return a progress that lets hours pass since the start of streams that are ready for it."""

    def pass_time(run: Run) -> None:
        for stream in [it for it in run.open.values() if ready(run, it)]:
            stream.record.planned -= HOURS

    return pass_time


async def test_every_lie_has_its_ending() -> None:
    """Each way in which a stream can lie, stall or break off is told apart from all others."""
    names = list(ANSWERS)
    async with lying_api() as api:

        def stalled(stream: Stream) -> bool:
            name = names[stream.record.number]
            if name == "stall":
                return stream.record.chunks == 2
            return name == "stall before the status" and len(api.bodies) == len(names)

        run = await generate(planned(names), options(api), silent(stalled))
    seen = {name: it.ending for name, it in zip(names, run.records, strict=True)}
    assert seen == {name: it.ending for name, it in ANSWERS.items()}
    assert run.open == {}
    assert run.ended == Counter(it.ending.name for it in run.records)


async def test_only_complete_answers_have_latencies() -> None:
    """An answer that breaks off early does not better the figures."""
    names = ["whole", "truncated", "reset", "error event", "refused"]
    async with lying_api() as api:
        run = await generate(planned(names), options(api))
    assert (run.ttft.count, run.durations.count) == (1, 1)
    assert run.itl.count == 3  # four tokens
    assert run.connects.count == len(names)


async def test_requests_are_as_the_form_has_them() -> None:
    """A request has the key, the model and the prompt, and asks for usage."""
    async with lying_api() as api:
        await generate(planned(["whole"]), options(api))
    [head], [body] = api.heads, api.bodies
    assert head.startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert "\r\nauthorization: Bearer k\r\n" in head
    assert (body["model"], body["stream_options"]) == ("m", {"include_usage": True})


async def test_a_request_id_leads_to_the_ledger() -> None:
    """The record has the response's `x-request-id`."""
    async with lying_api() as api:
        run = await generate(planned(["whole"]), options(api))
    assert run.records[0].request_id == "req_1"


async def test_an_open_loop_does_not_wait() -> None:
    """Requests are sent at their moments although no answer comes."""
    plan = Plan(Rate(50, 50), 0.2, [Ask("stall", 1)], arrivals="constant")
    async with lying_api() as api:
        all_sent = late(lambda run, it: len(run.open) == 10 and len(api.bodies) == 10)
        run = await generate(plan, options(api), all_sent)
    assert len(run.records) == 10
    assert run.most_open == 10
    assert {it.ending.name for it in run.records} == {"slow"}


async def test_time_is_measured_from_the_planned_moment() -> None:
    """A request that is sent late because this client was busy has the delay in its latency."""
    async with lying_api() as api:
        plan = iter(planned(["whole"]))

        def busy() -> Any:
            found = next(plan)
            yield Planned(found.number, -5.0, found.ask)  # its moment passed 5 s ago

        run = await generate(busy(), options(api))
    ttft = run.records[0].ttft
    assert ttft is not None
    assert ttft > 5
    assert run.lag.minimum > 5


async def test_more_than_may_be_open_is_not_sent() -> None:
    """Requests beyond the limit of open streams are counted as unsent, not queued."""
    async with lying_api() as api:
        stalled = silent(lambda stream: stream.record.chunks == 2)
        run = await generate(planned(["stall"] * 5), options(api, max_open=2), stalled)
    assert run.ended == {"slow": 2, "unsent": 3}
    assert run.most_open == 2
    assert [it.sent is None for it in run.records] == [False, False, True, True, True]


async def test_a_dropper_leaves() -> None:
    """A dropper breaks its connection off after its number of chunks."""
    endless = {"long": Answer(WORDS, Ending("dropped"), "stall")}
    async with lying_api(endless) as api:
        run = await generate(planned(["long"], reader="dropper", leave_after=3), options(api))
    assert run.records[0].ending == Ending("dropped")
    assert run.records[0].chunks == 3


async def test_a_slow_reader_stops_the_server() -> None:
    """What a slow reader does not read fills the buffers until the server has to wait."""
    pieces = [b": " + b"x" * 1_000_000 + b"\n\n"] * 48  # more than all socket buffers take
    big = {"big": Answer(pieces, Ending("slow", "late"))}
    sent: list[str] = []
    async with lying_api(big) as api:
        api.sent = sent.append
        begun = late(lambda run, it: it.record.status == 200)
        slow = await generate(planned(["big"], reader="slow"), options(api, slow_pace=1000), begun)
        assert sent == []
    assert slow.records[0].ending == Ending("slow", "late")


async def test_a_slow_reader_reads_all() -> None:
    """A slow reader gets the whole answer, and its latency is not in the figures."""
    async with lying_api() as api:
        run = await generate(planned(["whole"], reader="slow"), options(api, slow_pace=20_000))
    assert run.records[0].ending == Ending("complete")
    assert run.ttft.count == 0


async def test_no_connection() -> None:
    """An address without a server is unreachable, with the reason."""
    async with lying_api() as api:
        address = options(api)
    run = await generate(planned(["whole"]), address)
    assert run.records[0].ending == Ending("unreachable", "connection refused")


async def test_keys_take_turns() -> None:
    """Requests are divided among the keys."""
    async with lying_api() as api:
        several = Options(Address.of(api.url), FORMS["chat"], "m", ["a", "b"])
        await generate(planned(["whole"] * 4), several)
    keys = Counter(head.partition("Bearer ")[2].partition("\r\n")[0] for head in api.heads)
    assert keys == {"a": 2, "b": 2}


async def test_ctrl_c_stops_the_run() -> None:
    """Ctrl-C sends no more requests and breaks off those that run; they count as dropped."""
    plan = [*planned(["stall", "stall"]), Planned(2, HOURS, Ask("whole", 1))]

    def interrupt(run: Run) -> None:
        if len(run.open) == 2 and all(it.record.chunks for it in run.open.values()):
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    async with lying_api() as api:
        run = await generate(plan, options(api), interrupt)
    assert run.stopped
    assert run.ended == {"dropped": 2}
    assert signal.getsignal(signal.SIGINT) in {before, signal.default_int_handler}


async def test_the_progress_is_shown_at_the_end() -> None:
    """The last call of the progress has all requests."""
    seen: list[int] = []

    def note(run: Run) -> None:
        seen.append(sum(run.ended.values()))

    async with lying_api() as api:
        await generate(planned(["whole"] * 3), options(api), note)
    assert seen[-1] == 3


async def test_nothing_is_left() -> None:
    """After a run no task is left, and the collector works as before."""
    before = gc.get_freeze_count()
    async with lying_api() as api:
        tasks = asyncio.all_tasks()
        stalled = silent(lambda stream: stream.record.chunks == 2)
        await generate(planned(["stall", "whole"]), options(api), stalled)
        left = {it for it in asyncio.all_tasks() - tasks if "LyingAPI" not in repr(it)}
    assert left == set()
    assert gc.get_freeze_count() <= before


@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if not form.is_socket])
async def test_each_form_sends_its_own_path(form: str) -> None:
    """A form has its path and its accept header."""
    async with lying_api() as api:
        each = Options(Address.of(api.url), FORMS[form], "m", [""])
        await generate(planned(["whole"]), each)
    [head] = api.heads
    assert head.startswith(f"POST /v1{FORMS[form].path} HTTP/1.1\r\n")
    assert f"\r\naccept: {FORMS[form].accept}\r\n" in head
    assert "authorization" not in head
