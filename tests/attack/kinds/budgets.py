"""Races for the rest of a budget, by answers whose reservations grow, and by clients that leave."""

import asyncio
import json
from typing import Any

import httpx

from cli.lib import local_keys
from lambda_fn import ids
from lambda_fn.metering.accounts import Limits
from lambda_fn.metering.keys import account_key
from tests.attack.target import Findings, Target, events

KIND = "budgets"

_BUDGET = 6000
_ANSWERS = 12
_PIECES = 3000
_SETTLED_WITHIN_S = 30.0


async def attack(target: Target, findings: Findings) -> None:
    """Ask for long answers at once with one small budget. Some clients leave in the middle.

    Each client that stays gets all that its answer was booked for, and the account has no more
    than its budget.
    """
    eyes = target.eyes
    key = await asyncio.to_thread(
        local_keys.create, eyes.table, name="racer", limits=Limits(tokens_month=_BUDGET)
    )
    said = json.dumps({"say": [" word"] * _PIECES, "prompt_tokens": 5})
    body: dict[str, Any] = {
        "model": eyes.model,
        "stream": True,
        "messages": [{"role": "user", "content": said}],
    }
    async with eyes.client(key) as client:

        async def ask(number: int) -> str:
            if number % 4 == 3:
                return await _leave(client, body)
            try:
                answer = await client.post("/v1/chat/completions", json=body)
            except httpx.HTTPError as error:
                return repr(error)
            if answer.status_code == 429:
                return "refused"
            if answer.status_code != 200:
                return answer.text
            found = [event.get("choices") or [{}] for event in events(answer.text)]
            reasons = {choices[0].get("finish_reason") for choices in found} - {None}
            return "ended" if reasons <= {"length", "stop"} and reasons else answer.text[-200:]

        ends = await asyncio.gather(*map(ask, range(_ANSWERS)))
        for end in ends:
            findings.check("an answer", end in {"ended", "refused", "left"}, end)
        findings.check("some answer is served", "ended" in ends or "left" in ends, ends)
    account = await _settled(target, key)
    used = int(account.get("prompt_tokens", 0)) + int(account.get("completion_tokens", 0))
    findings.check("all is settled", not account["in_flight"], account["in_flight"])
    findings.check("the budget is kept", 0 < used <= _BUDGET, used)


async def _leave(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    """Begin to read an answer, and close the connection."""
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if answer.status_code == 429:
            return "refused"
        async for _ in answer.aiter_lines():
            return "left"
    return "nothing"


async def _settled(target: Target, key: str) -> dict[str, Any]:
    """Return the account once nothing runs, or after `_SETTLED_WITHIN_S`."""
    place = account_key(ids.key_id_of(key) or "")
    deadline = asyncio.get_running_loop().time() + _SETTLED_WITHIN_S
    while True:
        item: dict[str, Any] = (
            await asyncio.to_thread(target.eyes.table.get_item, Key=place, ConsistentRead=True)
        )["Item"]
        if not item["in_flight"] or asyncio.get_running_loop().time() > deadline:
            return item
        await asyncio.sleep(0.5)
