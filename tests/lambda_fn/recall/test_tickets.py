"""Tickets for sockets, over HTTP."""

import json
import time
from collections.abc import Callable

from lambda_fn.ids import hash_key
from lambda_fn.stream_log.tickets import SECONDS, spend_ticket
from tests.support.function import KEY, KEY_ID, Call
from tests.support.kept import Kept

PATH = "/v1/websocket/tickets"
URL = "wss://a.execute-api.eu-west-1.amazonaws.com/responses"


async def test_a_ticket(make_recall: Callable[..., Call], account: object, kept: Kept) -> None:
    """A key gets a ticket, which opens a socket in its name, with the address that takes it."""
    recall = make_recall(websocket_url=URL)
    reply = await recall("POST", PATH)
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")
    found = json.loads(reply.body)
    assert (found["object"], found["url"]) == ("websocket.ticket", URL)
    assert 0 < found["expires_at"] - time.time() <= SECONDS
    caller = await spend_ticket(kept.table, found["ticket"], address="a", now=time.time())
    assert caller is not None
    assert (caller.key_id, caller.key_hash) == (KEY_ID, hash_key(KEY))


async def test_who_gets_none(make_recall: Callable[..., Call], account: object) -> None:
    """Nobody without a key gets a ticket, and nobody where there are no sockets."""
    assert (await make_recall(websocket_url=URL)("POST", PATH, key=None)).status == 401
    reply = await make_recall()("POST", PATH)
    assert (reply.status, reply.error["code"]) == (404, "websocket_off")
