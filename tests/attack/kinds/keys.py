"""Keys that are invented, wrong, malformed or too many. They add no ledger items."""

import asyncio
from typing import Any

from boto3.dynamodb.conditions import Attr

from lambda_fn import ids
from tests.attack.target import Findings, Target, raw

KIND = "keys"
_MANY = 60


async def attack(target: Target, findings: Findings) -> None:
    """Guess keys, then check that the table has no new items."""
    before = await asyncio.to_thread(_count, target)
    own = ids.key_id_of(target.key)
    odd = {
        "nothing": "",
        "a space": " ",
        "200 kB": "sk-" + "a" * 200_000,
        "a key's id": f"sk-{own}-",
        "an id and a star": f"sk-{own}-*",
        "other letters": "sk-ÄÖÜ",
        "an expression": "sk-:hash OR :yes = :yes",
        "a partition": "KEY#" + (own or ""),
    }
    for name, text in odd.items():
        request = (
            f"GET /v1/models HTTP/1.1\r\nHost: localhost:{target.address[1]}\r\n"
            f"Authorization: Bearer {text}\r\nConnection: close\r\n\r\n"
        )
        found = await raw(target.address, request.encode("latin-1"), seconds=60)
        status = found.split(b" ", 2)[1:2]
        findings.check(
            name, status[:1] and status[0] in {b"400", b"401", b"413", b"431", b"494"}, status
        )
    async with target.client(None) as client:
        turns = asyncio.Semaphore(6)

        async def guess(key: str) -> None:
            async with turns:
                headers = {"authorization": f"Bearer {key}"}
                answer = await client.post(
                    "/v1/chat/completions", json=target.chat(), headers=headers
                )
            findings.refusal(
                "an invented key" if ids.key_id_of(key) != own else "a guessed secret", answer, 401
            )

        async with asyncio.TaskGroup() as group:
            for number in range(_MANY):
                group.create_task(guess(ids.new_key(own if number % 2 else None)))
    after = await asyncio.to_thread(_count, target)
    findings.check(
        "guesses write nothing", after <= before, f"{before} items before, {after} after"
    )


def _count(target: Target) -> int:
    """Return the number of ledger items that are not the other client's."""
    other = ids.key_id_of(target.other_key)
    count = 0
    start: dict[str, Any] = {}
    while True:
        page = target.table.scan(
            ConsistentRead=True,
            FilterExpression=Attr("pk").begins_with("LEDGER#") & Attr("key").ne(other),
            **start,
        )
        count += int(page["Count"])
        if "LastEvaluatedKey" not in page:
            return count
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
