"""Clients that do not read, that leave early, or that request far too much."""

import asyncio
import contextlib
import json
from typing import Any

import httpx

from tests.attack.target import Findings, Target

KIND = "readers"


async def attack(target: Target, findings: Findings) -> None:
    """Leave streams unread, and request the largest answers."""
    held = []
    body = json.dumps(target.chat(stream=True, max_tokens=300)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{target.address[1]}\r\n"
        f"Authorization: Bearer {target.key}\r\nContent-Type: "
        f"application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for number in range(12):
        _, writer = await asyncio.open_connection(*target.address)
        writer.write(head + body)
        await writer.drain()
        if number % 2:
            writer.close()  # before it has read a byte
        else:
            held.append(writer)
    async with target.client() as client:
        changes: dict[str, dict[str, Any]] = {
            "eight choices with all logprobs": {
                "n": 8,
                "logprobs": True,
                "top_logprobs": 20,
                "max_tokens": 100,
            },
            "1,024 biases": {"logit_bias": {str(number): -100 for number in range(1024)}},
            "four long stops": {"stop": ["x" * 1000 + str(number) for number in range(4)]},
            "128 tools": {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": f"f{number}", "description": "d" * 2000},
                    }
                    for number in range(128)
                ]
            },
        }
        for name, change in changes.items():
            try:
                answer = await client.post("/v1/chat/completions", json=target.chat(**change))
            except httpx.HTTPError as error:
                findings.check(name, False, repr(error))
                continue
            if answer.status_code == 200:
                findings.check(name, True)
            else:
                findings.refusal(name, answer, 400, 413, 429)
        answer = await client.get("/v1/models")
        findings.check("others are served meanwhile", answer.status_code == 200, answer.status_code)
    for writer in held:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
