"""What a log costs the stream function, and how fast logged responses are read.

    python -m bench.streams [--rounds 5] [--streams 8] [--tokens 500] [--replays 100]

The first rows compare the stream function with its log off and on, in turn: CPU for a token, time
to the first token, and the time between the last token and the terminal event. The stand-ins for
DynamoDB and the model answer at once.

The next rows are only of the first token, of one request alone and of some at once, also with a
table that answers after 4 ms. The model's first token comes after 10 ms: on an NVIDIA L4
(ml.g6.xlarge), which reads 300 GB/s by its data sheet, a model of 1.5 billion parameters in 16 bits
takes as long to read its weights once. The rows have the quartiles over all rounds: the time with
the log is within the noise if its median is not above the third quartile of the time without. The
same rows with a model that answers at once show what is hidden behind the model's own time. No
model is so fast, so they are not compared with the noise.

The other rows are of the recall function, whose table is moto's. A tail
reads a response while it runs: its lag is the time from a token at the live client to the same
token at the tail. A replay reads a response of 20,000 tokens that has ended: as fast as it can, and
many at once whose readers take 100 kB/s. Writes bench/results/streams.json. Linux only.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.adapter import processes, servers
from bench.adapter.load import Call, read_slowly, request_body, run
from bench.adapter.rows import Sample, Scenario, sample, summary
from bench.adapter.streams import Recording, percentile, read

if TYPE_CHECKING:
    from local.lambda_.runtime_api import RuntimeApi

RESULTS = Path("bench/results/streams.json")
_RATE = 50
_SECONDS = 120.0
_REPLAYED = 20_000
"""Tokens of a response that is replayed."""
_PACE = 100_000
"""Bytes a second that a slow reader takes."""
_LONGEST = 400.0
"""Seconds that the slow readers may take."""
_BETWEEN = 0.05
"""Seconds between the beginnings of two replays, because moto answers one call at a time."""
_FIRST_ROUNDS = 3
"""Rounds of the first token for each round of the other rows, because they are short."""
_FIRST_REQUESTS = 4
_LATENCIES = (0, 4)
"""Milliseconds after which the table answers. DynamoDB promises "single-digit milliseconds"."""
_MODELS = (10, 0)
"""Milliseconds after which the first token of the model comes."""
SETTINGS: dict[str, dict[str, str]] = {"off": {}, "on": servers.LOGGED}


def main() -> int:
    """Measure, write and print. Return the exit status, which is 1 if a stream was incomplete."""
    parser = argparse.ArgumentParser(description="The cost of logging responses, and of reading.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--replays", type=int, default=100)
    args = parser.parse_args()
    scenario = Scenario(rate=_RATE, streams=args.streams, tokens=args.tokens)
    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(_all(Path(folder), scenario, args.rounds, args.replays))
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in result.items():
        print(f"{name:8} {row}")
    return 0 if all(row["complete"] for row in result.values()) else 1


async def _all(folder: Path, scenario: Scenario, rounds: int, replays: int) -> dict[str, Any]:
    rows = await measure(folder, scenario, rounds)
    for model in _MODELS:
        for table in _LATENCIES:
            rows |= await measure_first(folder, scenario.streams, rounds, table=table, model=model)
    return {**rows, **await measure_reading(folder, scenario, rounds, replays)}


async def measure(folder: Path, scenario: Scenario, rounds: int) -> dict[str, Any]:
    """Return the rows of both settings."""
    setting, stand_ins = servers.stand_ins(folder)
    running: dict[str, servers.Server] = {}
    samples: dict[str, list[Sample]] = {name: [] for name in SETTINGS}
    ends: dict[str, list[float]] = {name: [] for name in SETTINGS}
    try:
        for name, variables in SETTINGS.items():
            running[name] = await servers.sluice(setting, variables=variables)
            await running[name].warm(scenario.streams)
        for _ in range(rounds):
            for name, server in running.items():
                samples[name].append(await sample(server, scenario, seconds=_SECONDS))
                ends[name] += await _ends(server, scenario.streams)
    finally:
        for server in running.values():
            server.stop()
        processes.stop(stand_ins)
    return {name: {**summary(samples[name]), **ended(ends[name])} for name in SETTINGS}


async def measure_first(
    folder: Path, streams: int, rounds: int, *, table: int, model: int
) -> dict[str, Any]:
    """Return the rows of the first token.

    The table answers after `table` milliseconds, and the model's first token comes after `model`.
    """
    setting, stand_ins = servers.stand_ins(folder, table=table, model=model)
    running: dict[str, servers.Server] = {}
    rows: dict[str, Any] = {}
    try:
        for name, variables in SETTINGS.items():
            running[name] = await servers.sluice(setting, variables=variables)
            await running[name].warm(streams)
        for count in (1, streams):
            times: dict[str, list[float]] = {name: [] for name in SETTINGS}
            for number in range(_FIRST_ROUNDS * rounds):
                for name in list(SETTINGS)[:: -1 if number % 2 else 1]:
                    times[name].append(await _first(running[name], count))
            row = spread(times["off"], times["on"], judged=model > 0)
            rows[f"first token of {count}, table {table} ms, model {model} ms"] = row
    finally:
        for server in running.values():
            server.stop()
        processes.stop(stand_ins)
    return rows


async def _first(server: servers.Server, streams: int) -> float:
    """Return the median of the milliseconds to the first tokens of short responses."""
    clients = await server.clients(streams)
    recordings = await run(
        clients, requests=_FIRST_REQUESTS, tokens=10, rate=2 * _RATE, seconds=_SECONDS
    )
    return statistics.median(map(first_of, recordings))


def first_of(recording: Recording) -> float:
    """Return the milliseconds from the request to the first token of a whole response."""
    received = read(recording)
    return (received.times[0] - received.sent_at) * 1e3 if received.complete else float("inf")


def spread(off: list[float], on: list[float], *, judged: bool = True) -> dict[str, Any]:
    """Return a row of the first token: quartiles without a log and with one, in milliseconds.

    If it is `judged`, it says whether the time with a log is within the noise.
    """
    without, logged = (statistics.quantiles(times, n=4) for times in (off, on))
    return {
        "off_ms_quartiles": [round(time, 2) for time in without],
        "on_ms_quartiles": [round(time, 2) for time in logged],
        **({"within_noise": logged[1] <= without[2]} if judged else {}),
        "complete": float("inf") not in (*off, *on),
    }


async def _ends(server: servers.Server, streams: int) -> list[float]:
    """Return the milliseconds to the terminal events of short responses."""
    clients = await server.clients(streams)
    recordings = await run(clients, requests=1, tokens=20, rate=_RATE, seconds=_SECONDS)
    return [end_of(recording) for recording in recordings]


def end_of(recording: Recording) -> float:
    """Return the milliseconds from the last token to the terminal event of a whole response."""
    received = read(recording)
    if not received.complete:
        return float("inf")
    last = max(when for when, piece in recording.pieces if piece.strip())
    return (last - received.times[-1]) * 1e3


def ended(milliseconds: list[float]) -> dict[str, float]:
    """Return the row's figures of the terminal event."""
    return {
        "end_ms_p50": round(percentile(milliseconds, 50), 2),
        "end_ms_p95": round(percentile(milliseconds, 95), 2),
    }


async def measure_reading(
    folder: Path, scenario: Scenario, rounds: int, replays: int, tokens: int = _REPLAYED
) -> dict[str, Any]:
    """Return the rows of the recall function."""
    started = [
        processes.start(
            processes.python("-m", f"bench.adapter.{name}"),
            log=folder / f"{name}.log",
            prints_port=True,
        )
        for name in ("endpoint", "dynamodb")
    ]
    running: list[servers.Server] = []
    try:
        endpoint, table = (processes.port(process) for process in started)
        setting = servers.Setting(endpoint, table, folder)
        stream = await servers.sluice(setting, variables=servers.LOGGED)
        running.append(stream)
        recall = await servers.sluice(setting, variables=servers.LOGGED, program="recall")
        running.append(recall)
        lags: list[float] = []
        whole = True
        for _ in range(rounds):
            found = await asyncio.gather(
                *(_tail(stream, recall, scenario) for _ in range(scenario.streams))
            )
            whole = whole and all(is_whole for _, is_whole in found)
            lags += [lag for some, _ in found for lag in some]
        name, live = await _logged(stream, tokens)
        return {
            "tail": {
                "lag_ms_p50": round(percentile(lags, 50)),
                "lag_ms_p95": round(percentile(lags, 95)),
                "tails": scenario.streams,
                "complete": whole,
            },
            "replay": await _replay(recall, name, live, rounds),
            "replays": await _replays(recall, name, live, replays),
        }
    finally:
        for server in running:
            server.stop()
        processes.stop(started)


async def _tail(
    stream: servers.Server, recall: servers.Server, scenario: Scenario
) -> tuple[list[float], bool]:
    """Return the lags of a tail in milliseconds, and whether it got what the live client did."""
    live = Call(
        "POST",
        "/v1/chat/completions",
        request_body(scenario.tokens, scenario.rate, model=stream.model),
    )
    head = await live.begin(_idle(stream))
    tail = Call("GET", f"/v1/sluice/streams/{head.headers['x-sluice-stream']}")
    await tail.begin(_idle(recall))
    recordings = await live.end(), await tail.end()
    return lags_of(*recordings), _body(recordings[0]) == _body(recordings[1])


def lags_of(live: Recording, tail: Recording) -> list[float]:
    """Return the milliseconds from each token at the live client to the same token at the tail.

    Tokens that were logged before the tail came are left out.
    """
    times = read(live).times
    return [
        (late - early) * 1e3
        for early, late in zip(times, read(tail).times, strict=False)
        if early > tail.sent_at
    ]


def _body(recording: Recording) -> bytes:
    return b"".join(piece for _, piece in recording.pieces)


async def _logged(stream: servers.Server, tokens: int) -> tuple[str, bytes]:
    """Return the id of a logged response that has ended, and its bytes."""
    body = request_body(tokens, 0, model=stream.model)
    live = Call("POST", "/v1/chat/completions", body)
    head = await live.begin(_idle(stream))
    return head.headers["x-sluice-stream"], _body(await live.end())


async def _replay(
    recall: servers.Server, name: str, live: bytes, rounds: int
) -> dict[str, int | bool]:
    """Return the tokens a second of one replay at a time, by the clock and by the CPU's time."""
    by_clock, by_cpu, whole = list[float](), list[float](), True
    for _ in range(rounds):
        call = Call("GET", f"/v1/sluice/streams/{name}")
        cpu = processes.cpu(recall.pids)
        await call.begin(_idle(recall))
        recording = await call.end()
        seconds = recording.pieces[-1][0] - recording.pieces[0][0]
        tokens = len(read(recording).times)
        by_clock.append(tokens / seconds)
        by_cpu.append(tokens / (processes.cpu(recall.pids) - cpu))
        whole = whole and _body(recording) == live
    return {
        "tokens_per_s": round(statistics.median(by_clock)),
        "tokens_per_cpu_s": round(statistics.median(by_cpu)),
        "complete": whole,
    }


async def _replays(
    recall: servers.Server, name: str, live: bytes, count: int
) -> dict[str, float | bool]:
    """Return what many replays at once, to slow readers, add to the memory of their process."""
    before = most = processes.resident(recall.pids)
    began = time.perf_counter()
    path = f"/v1/sluice/streams/{name}"
    async with asyncio.timeout(_LONGEST):
        reading = asyncio.gather(*(_read_later(recall, path, place) for place in range(count)))
        while not reading.done():
            most = max(most, processes.resident(recall.pids))
            await asyncio.wait([reading], timeout=0.1)
    return {
        "replays": count,
        "kb": round(len(live) / 1000),
        "seconds": round(time.perf_counter() - began, 1),
        "kb_each": round((most - before) / count * 1000, 1),
        "complete": set(await reading) == {hashlib.sha256(live).digest()},
    }


async def _read_later(recall: servers.Server, path: str, place: int) -> bytes:
    """Begin a replay after those before it, and return its body's SHA-256."""
    await asyncio.sleep(place * _BETWEEN)
    return await read_slowly(_idle(recall), path, _PACE)


def _idle(server: servers.Server) -> "asyncio.Queue[RuntimeApi]":
    assert server.idle is not None  # noqa: S101 (a server on the Runtime API)
    return server.idle


if __name__ == "__main__":
    sys.exit(main())
