"""Sockets on API Gateway: handshakes, tickets, messages, other keys' responses, and cancels."""

import asyncio
import contextlib
import json
from typing import Any

import aiohttp

from tests.attack.target import ANSWER_WITHIN_S, MODEL, Findings, Target

KIND = "sockets"

_RACERS = 4
_CANCELS = 20
_MESSAGES: dict[str, str] = {
    "nothing": "",
    "half JSON": "{",
    "no object": "[]",
    "deep JSON": '{"type":"response.create","x":' + "[" * 20_000,
    "a lone surrogate": '{"type":"response.create","input":"\\ud800"}',
    "an unknown type": '{"type":"$connect"}',
    "no request": '{"type":"response.create"}',
    "a lane with a line feed": '{"type":"response.create","stream_id":"a\\n"}',
    "a long lane": json.dumps({"type": "response.create", "stream_id": "a" * 257}),
    "a number beyond all": '{"type":"response.resume","response_id":"x","starting_after":1e400}',
    "an id of another form": '{"type":"response.resume","response_id":"resp_\\u0000"}',
    "a background request": f'{{"type":"response.create","model":"{MODEL}","background":true}}',
}


async def attack(target: Target, findings: Findings) -> None:
    """Open sockets without a key and with tickets that are spent, and send hostile messages."""
    async with target.client() as client:
        tickets = [(await client.post("/v1/websocket/tickets")).json() for _ in range(2)]
    url, key = tickets[0]["url"], {"Authorization": f"Bearer {target.key}"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_WITHIN_S)) as session:
        sockets = _Sockets(session, url)
        for name, headers, query in (
            ("no key", {}, ""),
            ("a wrong key", {"Authorization": f"Bearer {target.key[:-1]}"}, ""),
            ("a long key", {"Authorization": "Bearer " + "s" * 7000}, ""),
            ("a ticket of no form", {}, "?ticket=%00"),
            ("an unknown ticket", {}, "?ticket=wst_" + "a" * 43),
        ):
            status = await sockets.status(headers, query)
            findings.check(name, status == 401, status)
        used = f"?ticket={tickets[0]['ticket']}"
        statuses = await asyncio.gather(*(sockets.status({}, used) for _ in range(_RACERS)))
        statuses.append(await sockets.status({}, used))
        findings.check("one ticket", sorted(statuses) == [101, *[401] * _RACERS], statuses)
        page = {"Origin": "https://evil.example", "Sec-WebSocket-Protocol": "ticket.wst_x"}
        status = await sockets.status(page, "")
        findings.check("a page without a ticket", status == 401, status)
        await _messages(target, findings, sockets, key)
        await _of_another_key(target, findings, sockets, key)
        await _cancels(findings, sockets, key)


class _Sockets:
    """Opens sockets."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    def open(
        self, headers: dict[str, str], query: str = ""
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        """Return a socket. Entering it raises WSServerHandshakeError if it is refused."""
        timeout = aiohttp.ClientWSTimeout(ws_close=2.0)
        return self._session.ws_connect(self._url + query, headers=headers, timeout=timeout)

    async def status(self, headers: dict[str, str], query: str) -> int:
        """Return the status of a handshake."""
        try:
            async with self.open(headers, query):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


async def _error(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next message, an error event if all is well."""
    text = await asyncio.wait_for(socket.receive_str(), ANSWER_WITHIN_S)
    found: dict[str, Any] = json.loads(text)
    return found


def _is_refusal(event: dict[str, Any], *statuses: int) -> bool:
    return (
        event.get("type") == "error"
        and event["status"] in statuses
        and event["error"].keys() >= {"type", "code", "message", "param"}
    )


async def _messages(
    target: Target, findings: Findings, sockets: _Sockets, key: dict[str, str]
) -> None:
    async with sockets.open(key) as socket:
        for name, message in _MESSAGES.items():
            await socket.send_str(message.replace('"input":"', f'"input":"{target.marker}'))
            event = await _error(socket)
            findings.check(name, _is_refusal(event, 400, 404), event)
    for name, data, code in (
        ("a large frame", "x" * 40_000, 1009),
        ("a binary message", b"\x00" * 10, 1003),
    ):
        async with sockets.open(key) as socket:
            await (socket.send_str(data) if isinstance(data, str) else socket.send_bytes(data))
            await asyncio.wait_for(socket.receive(), ANSWER_WITHIN_S)
            findings.check(name, socket.close_code == code, socket.close_code)


async def _of_another_key(
    target: Target, findings: Findings, sockets: _Sockets, key: dict[str, str]
) -> None:
    async with target.client(target.other_key) as other:
        body = {"model": MODEL, "input": f"Hello {target.marker}", "max_output_tokens": 4}
        response = (await other.post("/v1/responses", json=body)).json()
    of_response: dict[str, dict[str, Any]] = {
        "resume": {"type": "response.resume", "response_id": response["id"]},
        "cancel": {"type": "response.cancel", "response_id": response["id"]},
        "go on from": {
            **body,
            "type": "response.create",
            "previous_response_id": response["id"],
        },
        "name an item of": {
            **body,
            "type": "response.create",
            "input": [{"type": "item_reference", "id": response["output"][0]["id"]}],
        },
    }
    async with sockets.open(key) as socket:
        for name, message in of_response.items():
            await socket.send_str(json.dumps(message))
            event = await _error(socket)
            findings.check(f"{name} another key's response", _is_refusal(event, 400, 404), event)


async def _cancels(findings: Findings, sockets: _Sockets, key: dict[str, str]) -> None:
    """Send cancels that find nothing, each of which waits for a while."""
    async with sockets.open(key) as socket:
        names = {f"lane{number}" for number in range(_CANCELS)}
        for name in names:
            await socket.send_str(json.dumps({"type": "response.cancel", "stream_id": name}))
        told = [await _error(socket) for _ in names]
        all_are = {event.get("stream_id") for event in told} == names
        findings.check("cancels of nothing", all_are, told[:2])
