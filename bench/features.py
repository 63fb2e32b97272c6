"""What each feature costs the stream function: CPU of a token, with it and without it.

    python -m bench.features [--rounds 5] [--requests 4]

Each row is an environment of the deployed package. It is compared with the row of plain chats, or
with the row that it is built on. Sockets need another server: the row `uvicorn` is plain chats from
the same application and server, to compare the sockets with. All rows of a load run in turn, so a
busy machine slows all of them. The first load is 8 streams flat out, the second one 32 streams at
50 tokens a second, which only logged responses need. Writes bench/results/features.json. It needs
Linux.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.adapter import processes, servers
from bench.adapter.__main__ import machine
from bench.adapter.frames import prompt
from bench.adapter.load import event_of
from bench.adapter.rows import Sample, Scenario, sample, summary

RESULTS = Path("bench/results/features.json")
_SECONDS = 120.0
_REDACTION = {"kinds": ["email", "card", "iban"], "words": {"project": ["bluebird", "nightjar"]}}


@dataclass(frozen=True)
class Feature:
    """One row.

    `beside` is the row that it is compared with, and `bound` the largest ratio of their CPU of a
    token, None for a row that is only compared with. `server` starts another server than an
    environment of the package.
    """

    path: str = "/v1/chat/completions"
    model: str = "lines"
    variables: dict[str, str] = field(default_factory=dict)
    beside: str = "chat"
    bound: float | None = 1.1
    server: Callable[[servers.Setting], Awaitable[servers.Server]] | None = None


FEATURES = {
    "chat": Feature(),
    "log": Feature(variables=servers.LOGGED),
    "redaction": Feature(variables={"SLUICE_REDACTION": json.dumps(_REDACTION)}),
    "metrics": Feature(variables={"SLUICE_METRICS": "true", "SLUICE_DEPLOYMENT": "bench"}),
    "responses": Feature(path="/v1/responses"),
    "messages": Feature(path="/v1/messages"),
    "reasoning": Feature(path="/v1/messages", model="thinking", beside="messages"),
    "uvicorn": Feature(server=servers.sluice_uvicorn, bound=None),
    "socket": Feature(server=servers.sluice_sockets, beside="uvicorn"),
}
_FLAT = Scenario(rate=0, streams=8, tokens=500, requests=4)
_PACED = Scenario(rate=50, streams=32, tokens=200)
LOADS = (
    (_FLAT, tuple(FEATURES)),
    (_PACED, ("chat", "log")),
)
"""The loads, and the features of each."""
_PACED_BOUNDS = {"log": 1.25}


@cache  # it is the function URL that makes the event
def _event(name: str, tokens: int, rate: int) -> bytes:
    feature = FEATURES[name]
    text = prompt(tokens, rate)
    body: dict[str, Any] = {"model": feature.model, "stream": True}
    if feature.path == "/v1/responses":
        body |= {"input": text, "max_output_tokens": tokens, "store": False}
    else:
        body |= {"messages": [{"role": "user", "content": text}], "max_tokens": tokens}
    if name == "reasoning":
        body |= {"thinking": {"type": "adaptive"}}
    return event_of("POST", feature.path, json.dumps(body).encode())


def main() -> int:
    """Measure, write and print. Return the exit status, which is 1 if a stream was incomplete."""
    parser = argparse.ArgumentParser(description="The cost of each feature.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=_FLAT.requests)
    args = parser.parse_args()
    flat = replace(_FLAT, requests=args.requests)
    loads = ((flat, LOADS[0][1]), LOADS[1])
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(measure(Path(folder), loads, args.rounds))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    RESULTS.with_suffix(".machine.json").write_text(json.dumps(machine(), indent=1) + "\n")
    console = Console(width=140)
    for row in rows:
        console.print(
            f"{row['row']}: {row['cpu_us_per_token']} us a token, {row['times']} x "
            f"{row['beside']}, bound {row['bound'] or 'none'}"
        )
    return 0 if all(row["complete"] for row in rows) else 1


async def measure(
    folder: Path, loads: tuple[tuple[Scenario, tuple[str, ...]], ...], rounds: int
) -> list[dict[str, Any]]:
    """Return the rows of all loads."""
    setting, stand_ins = servers.stand_ins(folder)
    running: dict[str, servers.Server] = {}
    try:
        for name, feature in FEATURES.items():
            if feature.server is not None:
                running[name] = await feature.server(setting)
            else:
                running[name] = await servers.sluice(setting, variables=feature.variables)
                running[name].event = partial(_event, name)
            await running[name].warm(8)
        rows: list[dict[str, Any]] = []
        for scenario, names in loads:
            rows += await _rows(running, scenario, names, rounds)
        return rows
    finally:
        for server in running.values():
            server.stop()
        processes.stop(stand_ins)


async def _rows(
    running: dict[str, servers.Server], scenario: Scenario, names: tuple[str, ...], rounds: int
) -> list[dict[str, Any]]:
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            print(f"round {number + 1}/{rounds}: {scenario.name}: {name}", file=sys.stderr)
            samples[name].append(await sample(running[name], scenario, seconds=_SECONDS))
    found = {name: summary(samples[name]) for name in names}
    return [
        {
            "row": f"{name}: {scenario.name}",
            "feature": name,
            "mode": scenario.mode,
            **found[name],
            "beside": FEATURES[name].beside,
            "times": round(
                found[name]["cpu_us_per_token"]
                / max(0.001, found[FEATURES[name].beside]["cpu_us_per_token"]),
                2,
            ),
            "bound": _PACED_BOUNDS.get(name, 1.1) if scenario.rate else FEATURES[name].bound,
        }
        for name in names
    ]


if __name__ == "__main__":
    sys.exit(main())
