"""Measure the engine without a server: `python -m bench.model.alone STREAMS SECONDS`.

It writes JSON to stdout.
"""

import asyncio
import contextlib
import json
import os
import resource
import sys
import time

from bench.model.load import BODY, Tally
from model.engines import create
from model.events import Delta, Usage
from model.schema import parse_chat
from model.settings import Settings


async def _measure(streams: int, seconds: float) -> Tally:
    engine = create(Settings.from_environment(os.environ))
    await engine.start()
    request = parse_chat(json.dumps(BODY).encode())
    tally = Tally()
    end = time.perf_counter() + seconds

    async def stream() -> None:
        while (began := time.perf_counter()) < end:
            first = True
            async with contextlib.aclosing(engine.generate(request)) as batches:
                async for batch in batches:
                    for event in batch:
                        if isinstance(event, Delta) and first:
                            first = False
                            tally.ttft.append(time.perf_counter() - began)
                        elif isinstance(event, Usage):
                            tally.tokens += event.completion_tokens

    used = _cpu()
    await asyncio.gather(*(stream() for _ in range(streams)))
    tally.seconds = time.perf_counter() - end + seconds
    tally.cpu = _cpu() - used
    await engine.close()
    return tally


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measure(int(sys.argv[1]), float(sys.argv[2]))).row()))
