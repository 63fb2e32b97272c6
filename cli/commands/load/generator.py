"""Sends a plan as an open loop: each request at its moment, whatever the others do."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec

from cli.commands.load.connection import Address, Exchange, Unreachable, connect, request_bytes
from cli.commands.load.distribution import Distribution
from cli.commands.load.stream import Record, Stream

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiohttp import ClientSession

    from cli.commands.load.forms import Form
    from cli.commands.load.plan import Planned

_PROBE_S = 0.02
_WATCH_S = 0.25
Progress = Callable[["Run"], None]


@dataclass(frozen=True)
class Options:
    """How requests are sent.

    `timeout` is the most seconds of one, `silence` the most seconds without a byte. `slow_pace` is
    the bytes a second that slow readers read. `sockets` is the address of the API's WebSockets, for
    a form that needs them.
    """

    address: Address
    form: Form
    model: str
    keys: Sequence[str]
    max_open: int = 500
    timeout: float = 600.0
    silence: float = 60.0
    slow_pace: int = 256
    sockets: str = ""


@dataclass
class Run:
    """A run: what has been counted so far, and a record of each request."""

    began: float = 0.0
    """On the clock of `time.monotonic`."""
    at: float = 0.0
    """Unix seconds."""
    seconds: float = 0.0
    records: list[Record] = field(default_factory=list)
    open: dict[int, Stream] = field(default_factory=dict)
    most_open: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Requests that are over, by ending."""
    ttft: Distribution = field(default_factory=Distribution)
    itl: Distribution = field(default_factory=Distribution)
    gaps: Distribution = field(default_factory=Distribution)
    durations: Distribution = field(default_factory=Distribution)
    connects: Distribution = field(default_factory=Distribution)
    lag: Distribution = field(default_factory=Distribution)
    """From the planned moment of each request to when this client began with it."""
    loop: Distribution = field(default_factory=Distribution)
    """How late this client's event loop was, measured 50 times a second."""
    cpu: float = 0.0
    """Seconds of CPU that this process took."""
    stopped: bool = False
    """Whether Ctrl-C ended it early."""


async def generate(
    plan: Iterable[Planned], options: Options, progress: Progress = lambda run: None
) -> Run:
    """Send the plan, wait until every stream is over, and return the run.

    Ctrl-C sends no more and breaks the open streams off; they then count as dropped.
    """
    run = Run(began=time.monotonic(), at=time.time())
    context = options.address.context()
    opener = None
    if options.form.is_socket:
        from cli.commands.load import sockets  # slow to import

        opener = sockets.session()
    tasks: set[asyncio.Task[None]] = set()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(ValueError, RuntimeError):  # only the main thread has signals
        loop.add_signal_handler(signal.SIGINT, stop.set)
    watchers: list[asyncio.Task[Any]] = [
        loop.create_task(_probe(run)),
        loop.create_task(_watch(run, options, progress)),
    ]
    cpu = time.process_time()
    gc.collect()
    gc.freeze()  # so that no collection looks at what the program itself is made of
    began = run.began = time.monotonic()
    try:
        turn = count()
        for planned in plan:
            moment = began + planned.at
            if (wait := moment - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
            else:
                await asyncio.sleep(0)
            if stop.is_set():
                break
            record = Record(planned.number, planned.reader, moment)
            run.records.append(record)
            if len(run.open) >= options.max_open:
                record.over = time.monotonic()
                run.ended[record.ending.name] += 1
                continue
            record.key = next(turn) % len(options.keys)
            stream = Stream(planned, record, options.form)
            run.open[planned.number] = stream
            run.most_open = max(run.most_open, len(run.open))
            task = loop.create_task(_one(run, planned, stream, options, context, opener))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        stopping = loop.create_task(stop.wait())
        watchers.append(stopping)
        while tasks and not stop.is_set():
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for stream in list(run.open.values()):
            stream.leave("left")
        if tasks:
            await asyncio.wait(tasks)
    finally:
        run.stopped = stop.is_set()
        run.seconds = time.monotonic() - began
        run.cpu = time.process_time() - cpu
        gc.unfreeze()
        for task in [*watchers, *tasks]:
            task.cancel()
        await asyncio.gather(*watchers, *tasks, return_exceptions=True)
        if opener is not None:
            await opener.close()
        with suppress(ValueError, RuntimeError):
            loop.remove_signal_handler(signal.SIGINT)
    progress(run)
    return run


async def _one(
    run: Run,
    planned: Planned,
    stream: Stream,
    options: Options,
    context: SSLContext | None,
    opener: ClientSession | None,
) -> None:
    """Send one request and wait until it is over."""
    record = stream.record
    asked = options.form.body(options.model, planned.ask)
    if planned.reader == "resumer":
        asked = {**asked, "sluice": {"durable": True}}
    body, pace = msgspec.json.encode(asked), options.slow_pace if planned.reader == "slow" else None
    record.sent = stream.heard = time.monotonic()
    run.lag.add(record.sent - record.planned)
    try:
        if opener is None:
            await _over_http(stream, body, pace, options, context)
        else:
            await _over_socket(stream, body, pace, options, context, opener)
    except Unreachable as error:
        stream.unreachable(str(error))
    finally:
        run.open.pop(planned.number, None)
    _count(run, stream)


async def _over_http(
    stream: Stream, body: bytes, pace: int | None, options: Options, context: SSLContext | None
) -> None:
    """Send a request over HTTP, and the one for the rest of its answer. Raises Unreachable."""
    key, accept = options.keys[stream.record.key], options.form.accept
    request = request_bytes(options.address, options.form.path, body, key=key, accept=accept)
    exchange = await connect(
        options.address,
        context,
        lambda: stream.attach(Exchange(request, stream, pace=pace)),
    )
    stream.connected()
    await exchange.done
    if (path_of_rest := stream.resumed_at) is not None:
        stream.resume()
        rest = request_bytes(options.address, path_of_rest, None, key=key, accept=accept)
        exchange = await connect(
            options.address, context, lambda: stream.attach(Exchange(rest, stream, pace=pace))
        )
        await exchange.done


async def _over_socket(
    stream: Stream,
    body: bytes,
    pace: int | None,
    options: Options,
    context: SSLContext | None,
    opener: ClientSession,
) -> None:
    """Do as `_over_http`, on sockets."""
    from cli.commands.load.sockets import Conversation

    how = (opener, options.sockets, options.keys[stream.record.key], context)
    conversation = stream.attach(Conversation(body, stream, pace=pace))
    await conversation.run(*how, stream.connected)
    if stream.resumed_at is not None:
        rest = msgspec.json.encode(stream.rest)
        stream.resume()
        conversation = stream.attach(Conversation(rest, stream, pace=pace))
        await conversation.run(*how, lambda: None)


def _count(run: Run, stream: Stream) -> None:
    """Count a stream that is over. Latencies are those of complete answers of normal readers.

    An answer that breaks off early would better them, and a slow reader makes its own.
    """
    record = stream.record
    run.ended[record.ending.name] += 1
    if record.connected is not None and record.sent is not None:
        run.connects.add(record.connected - record.sent)
    if record.ending.name != "complete" or not record.is_timed:
        return
    if record.ttft is not None:
        run.ttft.add(record.ttft)
    if record.over is not None:
        run.durations.add(record.over - record.planned)
    stream.count_gaps(run.itl, run.gaps)


async def _probe(run: Run) -> None:
    """Measure how late the event loop is."""
    while True:
        due = time.monotonic() + _PROBE_S
        await asyncio.sleep(_PROBE_S)
        run.loop.add(time.monotonic() - due)


async def _watch(run: Run, options: Options, progress: Progress) -> None:
    """End what takes too long, and show the progress."""
    while True:
        await asyncio.sleep(_WATCH_S)
        now = time.monotonic()
        for stream in list(run.open.values()):
            if now - stream.record.planned > options.timeout:
                stream.leave("late")
            elif now - stream.heard > options.silence:
                stream.leave("silence")
        progress(run)
