"""Streams of the stock OpenAI client, and how each one ended."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import openai

from tests.chaos.deployment import ChaosDeployment

# A stream that has not ended after this many seconds hangs.
_HANGS_S = 120.0


@dataclass(frozen=True)
class Seen:
    """How a stream ended, and its request's id if the client received one."""

    request_id: str
    end: str


async def streams(
    deployment: ChaosDeployment,
    count: int,
    script: Mapping[str, Any],
    *,
    at_once: int,
    apart: float = 0.0,
) -> list[Seen]:
    """Run `count` streams with the script `script`, with the keys in turn. Return how they ended.

    At most `at_once` streams run at a time. `apart` seconds pass between two starts.
    """
    room = asyncio.Semaphore(at_once)
    clients = [
        openai.AsyncOpenAI(base_url=deployment.origin, api_key=key, max_retries=0, timeout=_HANGS_S)
        for key in deployment.keys
    ]

    async def one(number: int) -> Seen:
        await asyncio.sleep(number * apart)
        async with room:
            return await _stream(clients[number % len(clients)], deployment.model, script)

    try:
        return await asyncio.gather(*(one(number) for number in range(count)))
    finally:
        deployment.quiet = time.time()
        await asyncio.gather(*(client.close() for client in clients))


async def _stream(client: openai.AsyncOpenAI, model: str, script: Mapping[str, Any]) -> Seen:
    request_id = ""
    try:
        async with (
            asyncio.timeout(_HANGS_S),
            client.chat.completions.with_streaming_response.create(
                model=model, messages=[{"role": "user", "content": json.dumps(script)}], stream=True
            ) as raw,
        ):
            request_id = raw.headers.get("x-request-id", "").removeprefix("req_")
            async for _ in await raw.parse():
                pass
    except TimeoutError:
        return Seen(request_id, "hangs")
    except openai.APIStatusError as error:
        request_id = error.response.headers.get("x-request-id", "").removeprefix("req_")
        return Seen(request_id, f"{error.status_code}")
    except (openai.APIConnectionError, httpx2.TransportError):  # TransportError: in a body
        return Seen(request_id, "connection lost")
    except openai.APIError as error:
        return Seen(request_id, f"error event {error.code}")
    return Seen(request_id, "whole")


def counts(seen: list[Seen]) -> str:
    """Return the number of streams for each way to end, as text."""
    return ", ".join(
        f"{count} {end}" for end, count in Counter(one.end for one in seen).most_common()
    )
