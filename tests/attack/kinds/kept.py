"""What is kept: conversations, stored chats, background responses; several requests in one."""

import asyncio
import secrets
from typing import Any

import httpx

from tests.attack.target import MODEL, Findings, Target

KIND = "what is kept"

_BACKGROUND = 12
_NEW_CONVERSATIONS: dict[str, bytes] = {
    "half JSON": b"{",
    "no object": b"null",
    "deep JSON": b'{"items":[{"type":"message","role":"user","content":"x","z":' + b"[" * 20_000,
    "a reference": b'{"items":[{"type":"item_reference","id":"msg_x"}]}',
    "a nameless call": b'{"items":[{"type":"function_call","call_id":"c","name":""}]}',
    "a lone surrogate": rb'{"items":[{"type":"message","role":"user","content":"\ud800"}]}',
    "a number beyond all": b'{"items":[{"type":"message","role":"user","content":1e400}]}',
    "metadata of numbers": b'{"metadata":{"a":1}}',
}
_IDS = ("x", "%00", "..%2f", "conv_" + "9" * 500, "HEAD", "%F0%9F")
_QUERIES = (
    "metadata[k]=v&metadata[k]=w",
    "metadata[%00]=x",
    "metadata[]=x",
    "&".join(f"metadata[{number}]=x" for number in range(200)),
    "after=chatcmpl-x",
    "limit=1e3",
    "order=up",
    "model=%F0%9F",
)
_FILES = ("assets/..%2f..%2fetc/passwd", "assets/%00", "assets/x?acl", "assets/" + "a" * 2000)
_STATES = (("x" * 300, "y" * 300), ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "a=b;traceparent=0"))


async def attack(target: Target, findings: Findings) -> None:
    """Send malformed items, other keys' ids, and requests that race each other."""
    async with target.client() as client:
        await _conversations(target, findings, client)
        await _stored_chats(target, findings, client)
        await _several(target, findings, client)
        await _background(target, findings, client)
    async with target.client(None) as nobody:
        for path in _FILES:
            answer = await nobody.get(f"/{path}")
            findings.check("a file of the playground", answer.status_code == 403, answer.text)


async def _conversations(target: Target, findings: Findings, client: httpx.AsyncClient) -> None:
    for name, body in _NEW_CONVERSATIONS.items():
        findings.refusal(name, await client.post("/v1/conversations", content=body), 400)
    for name in _IDS:
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/items/x")):
            answer = await client.request(method, f"/v1/conversations/{name}{path}")
            findings.refusal(f"{method} {name[:9]}", answer, 400, 404)
    async with target.client(target.other_key) as other:
        item = {"type": "message", "role": "user", "content": f"Hello {target.marker}"}
        made = (await other.post("/v1/conversations", json={"items": [item]})).json()
        path = f"/v1/conversations/{made['id']}"
        for answer in (
            await client.get(path),
            await client.get(f"{path}/items"),
            await client.post(path, json={"metadata": {"a": "b"}}),
            await client.post(f"{path}/items", json={"items": [item]}),
            await client.delete(path),
            await client.post(
                "/v1/responses", json={"model": MODEL, "input": "x", "conversation": made["id"]}
            ),
        ):
            findings.refusal("another key's conversation", answer, 404)
        answer = await other.get(f"{path}/items")
        findings.check("it is as it was", len(answer.json().get("data", ())) == 1, answer.text)


async def _stored_chats(target: Target, findings: Findings, client: httpx.AsyncClient) -> None:
    contents: tuple[Any, ...] = (["a", target.marker], [{"type": "text", "text": "a"}, "b"])
    for content in contents:
        body = target.chat(store=True, messages=[{"role": "user", "content": content}])
        asked = await client.post("/v1/chat/completions", json=body)
        path = f"/v1/chat/completions/{asked.json().get('id')}"
        for more in ("", "/messages"):
            answer = await client.get(path + more)
            findings.check("a stored chat", answer.status_code == 200, answer.text)
            async with target.client(target.other_key) as other:
                findings.refusal("another key's chat", await other.get(path + more), 404)
    for query in _QUERIES:
        answer = await client.get(f"/v1/chat/completions?{query}")
        if answer.status_code == 200:
            findings.check(f"a list: {query[:20]}", not answer.json()["data"], answer.text)
        else:
            findings.refusal(f"a list: {query[:20]}", answer, 400)
    for parent, state in _STATES:
        headers = {"traceparent": parent, "tracestate": state}
        answer = await client.post("/v1/chat/completions", json=target.chat(), headers=headers)
        findings.check("a trace", answer.status_code == 200, answer.text)


async def _several(target: Target, findings: Findings, client: httpx.AsyncClient) -> None:
    """Send several requests in one, of which one has its response already."""
    members = [
        {"stream_id": name, "endpoint": "/v1/chat/completions", "body": target.chat()}
        for name in ("a", "b")
    ]
    path, more = "/v1/sluice/multiplex", {"idempotency-key": secrets.token_hex(8)}
    for asked in (members[:1], members):
        body = {"requests": asked, "all_or_none": True}
        answer = await client.post(path, json=body, headers=more)
        findings.check("a repeat with others", answer.text.endswith("[DONE]\n\n"), answer.text)
    for name, wrong in {
        "two of a name": members[:1] * 2,
        "too many": members * 9,
        "no object": [{**members[0], "body": []}],
        "a line feed": [{**members[0], "stream_id": "a\n"}],
    }.items():
        findings.refusal(name, await client.post(path, json={"requests": wrong}), 400)


async def _background(target: Target, findings: Findings, client: httpx.AsyncClient) -> None:
    """Ask for more background responses than a key may have, and race to end them."""
    body = {"model": MODEL, "input": f"Tell me {target.marker}", "background": True}
    asked = await asyncio.gather(
        *(client.post("/v1/responses", json=body | {"user": str(n)}) for n in range(_BACKGROUND))
    )
    ids = [answer.json()["id"] for answer in asked if answer.status_code == 200]
    for answer in asked:
        findings.check("in the background", answer.status_code in {200, 429}, answer.text)
    calls = [
        client.request(method, f"/v1/responses/{name}{more}")
        for name in ids
        for method, more in (("POST", "/cancel"), ("GET", ""), ("DELETE", ""), ("POST", "/cancel"))
    ]
    for answer in await asyncio.gather(*calls):
        findings.check("a race", answer.status_code in {200, 400, 404, 409, 429}, answer.text)
