"""A stand-in for Bedrock's `ApplyGuardrail` that does what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

BAD = "forbidden"
PASSES: dict[str, Any] = {"action": "NONE", "outputs": [], "assessments": [], "usage": {}}
BLOCKS: dict[str, Any] = {
    "action": "GUARDRAIL_INTERVENED",
    "outputs": [{"text": "Sorry."}],
    "assessments": [
        {
            "contentPolicy": {"filters": [{"type": "VIOLENCE", "action": "BLOCKED"}]},
            "wordPolicy": {"customWords": [{"match": BAD, "action": "BLOCKED"}]},
        }
    ],
}


@dataclass
class GuardrailStandIn:
    """Blocks texts with `BAD`. The first answers are those of `first`: a status and a body."""

    url: str = ""
    first: list[tuple[int, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    """Source and text of each call."""
    paths: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one call, when the gate is open."""
        body = await request.json()
        self.paths.append(request.path)
        self.calls.append((body["source"], body["content"][0]["text"]["text"]))
        await self.gate.wait()
        if self.first:
            status, answer = self.first.pop(0)
            if isinstance(answer, str):
                headers = {"x-amzn-errortype": answer}
                return web.json_response({"message": "x"}, status=status, headers=headers)
            if isinstance(answer, bytes):
                return web.Response(body=answer, status=status)
            return web.json_response(answer, status=status)
        return web.json_response(BLOCKS if BAD in self.calls[-1][1] else PASSES)


@asynccontextmanager
async def guardrail_stand_in() -> AsyncIterator[GuardrailStandIn]:
    """Serve a stand-in with an open gate on loopback."""
    stand_in = GuardrailStandIn()
    stand_in.gate.set()
    application = web.Application()
    application.router.add_post("/guardrail/{id}/version/{version}/apply", stand_in.handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield stand_in
    finally:
        await runner.cleanup()
