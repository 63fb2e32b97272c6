"""Bodies that are large, deep, wide or not JSON, with a key and without one."""

import asyncio
import json

import httpx

from lambda_fn import ids, limits
from tests.attack.target import Findings, Target

KIND = "bodies"
PATH = "/v1/chat/completions"


def worst(size: int) -> dict[str, bytes]:
    """Return the worst bodies of at most `size` bytes, by name."""
    head = b'{"model":"sluice-demo","messages":[{"role":"user","content":"hi"}],"x":'
    room = size - len(head) - 1

    def other(value: bytes) -> bytes:
        return head + value[:room] + b"}"

    def repeated(part: bytes, *, wrap: tuple[bytes, bytes] = (b"[", b"]")) -> bytes:
        count = (room - 2) // (len(part) + 1)
        return other(wrap[0] + b",".join([part] * count) + wrap[1])

    deep = room // 2
    nul_keys = b",".join(b'"k%d\\u0000":0' % number for number in range(room // 24))
    return {
        "deep arrays": other(b"[" * deep + b"]" * deep),
        "deep objects": other(b'{"a":' * (room // 7) + b"1" + b"}" * (room // 7)),
        "a wide array": repeated(b"0"),
        "a wide array of NULs": repeated(b'"\\u0000"'),
        "keys with NULs": other(b"{" + nul_keys + b"}"),
        "one key many times": other(b"{" + b",".join([b'"a":0'] * (room // 7)) + b"}"),
        "one long key": other(b'{"' + b"k" * (room - 6) + b'":0}'),
        "one long string": other(b'"' + b"s" * (room - 2) + b'"'),
        "escapes": other(b'"' + b"\\u00e9" * ((room - 2) // 6) + b'"'),
        "half surrogates": other(b'"' + b"\\ud800" * ((room - 2) // 6) + b'"'),
        "a number of all digits": other(b"9" * room),
        "numbers of 5,000 digits": repeated(b"9" * 5000),
        "exponents": repeated(b"1e999999999"),
        "empty messages": b'{"model":"sluice-demo","messages":['
        + b",".join([b"{}"] * ((size - 60) // 3))
        + b"]}",
        "200,000 brackets": b"[" * min(size, 200_000),
        "no UTF-8": b"\xff" * size,
        "only spaces": b" " * size,
        "a byte-order mark and rubbish": b"\xef\xbb\xbf" + b"}" * (size - 3),
    }


async def attack(target: Target, findings: Findings) -> None:
    """Send each body with a valid key, no key, an invented key, and a wrong secret."""
    wrong_secret = ids.new_key(ids.key_id_of(target.key))
    callers = {
        "a key": (None, 400),
        "no key": (None, 401),
        "an invented key": (ids.new_key(), 401),
        "a wrong secret": (wrong_secret, 401),
    }
    turns = asyncio.Semaphore(4)
    for caller, (key, status) in callers.items():
        async with target.client("own" if caller == "a key" else key) as client:

            async def send(
                name: str, body: bytes, status: int = status, client: httpx.AsyncClient = client
            ) -> None:
                async with turns:
                    try:
                        answer = await client.post(
                            PATH, content=body, headers={"content-type": "application/json"}
                        )
                    except httpx.HTTPError as error:
                        findings.check(name, False, repr(error))
                        return
                # superfluous fields are ignored, as OpenAI's own API does
                findings.check(
                    name, True
                ) if status == 400 and answer.status_code == 200 else findings.refusal(
                    name, answer, status, 413
                )

            async with asyncio.TaskGroup() as group:
                for name, body in worst(limits.MAX_BODY - 1).items():
                    group.create_task(send(f"{name}, with {caller}", body))
    async with target.client() as client:
        answer = await client.post(
            PATH, content=json.dumps(target.chat(x="y" * limits.MAX_BODY)).encode()
        )
        findings.refusal("over the limit", answer, 413)
        many = [{"role": "user", "content": "."}] * 4096
        answer = await client.post(PATH, json=target.chat(messages=many))
        findings.refusal("4,096 messages", answer, 400)
