"""Tells a webhook how background responses end, in OpenAI's form and without any content.

    put       the end is noted, once, before the place of the response is freed deliver   the
    webhook is called until it answers with 2xx

A note stays for some minutes after that, so that a run of the keeper that read the response earlier
does not note its end again. A call that fails is repeated after a minute, and then at growing
intervals, for three days. If two callers run at once, or one is killed, the webhook may be called
twice, with the same `webhook-id`. Calls are signed by the Standard Webhooks specification, which
OpenAI's SDKs verify (`client.webhooks.unwrap`).

The URL is the operator's. It is still checked like one that a caller chose: https, public addresses
only, and no redirects. The name of its host may get another address at any time.
"""

import asyncio
import base64
import binascii
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.http.connection import Connection, TransportError
from lambda_fn.http.fetch_image import FetchError, connect
from lambda_fn.log import log
from lambda_fn.stream_log.heads import FINAL, StoredHead
from lambda_fn.stream_log.keys import NOTICES, VERSIONED, notice_key

_DELAYS = (60, 300, 900, 1800, 3600, 7200, 14_400, 28_800)
"""Seconds from a call to the next one. The last one is that of all further calls."""
GIVE_UP = 3 * 86_400
"""Seconds from the end of a response after which the webhook is not called for it any more."""
TIMEOUT = 10.0
"""Seconds for one call."""
_REMEMBER = 600
"""Seconds for which a note stays behind its last call. No run of the keeper takes so long."""
_PREFIX = "whsec_"

Connect = Callable[[Connection, str], Awaitable[None]]
"""Connects to a host by its name."""


class Notice(NamedTuple):
    """The end of a response, which the webhook has to be told."""

    response_id: str
    status: str
    ended: int
    attempts: int
    told: bool = False
    """Whether the webhook has accepted the event, so that only the note is left."""

    @property
    def id(self) -> str:
        """The id of the event, which is the same in each call."""
        return f"evt_{self.response_id}"

    def body(self) -> bytes:
        """Return the event as JSON."""
        return msgspec.json.encode(
            {
                "id": self.id,
                "object": "event",
                "created_at": self.ended,
                "type": f"response.{self.status}",
                "data": {"id": f"resp_{self.response_id}"},
            }
        )


class Webhook:
    """The webhook of a deployment."""

    def __init__(self, url: str, secret: str, connect: Connect = connect) -> None:
        """Take its URL, and the secret that signs calls: `whsec_` and base64, or any text.

        `connect` connects to its host.
        """
        self._parts = urlsplit(url)
        self._connect = connect
        try:
            self._key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (ValueError, binascii.Error):
            self._key = secret.encode()

    def signature(self, notice_id: str, timestamp: int, body: bytes) -> str:
        """Return the signature of a call, by the Standard Webhooks specification."""
        text = b"%b.%d.%b" % (notice_id.encode(), timestamp, body)
        return "v1," + base64.b64encode(hmac.digest(self._key, text, "sha256")).decode()

    async def call(self, notice: Notice, *, now: float) -> str | None:
        """Call the webhook. Return None if it accepted the event, or why it did not."""
        body = notice.body()
        host, port = self._parts.hostname or "", self._parts.port
        path = f"{self._parts.path or '/'}{'?' if self._parts.query else ''}{self._parts.query}"
        headers: Mapping[str, object] = {
            "host": host if port is None else f"{host}:{port}",
            "content-type": "application/json",
            "content-length": len(body),
            "user-agent": "sluice",
            "webhook-id": notice.id,
            "webhook-timestamp": int(now),
            "webhook-signature": self.signature(notice.id, int(now), body),
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection = Connection()
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._connect(connection, host)
                connection.begin()
                connection.put(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
                while not await connection.head():
                    pass
                status = connection.status
        except TimeoutError:
            return "timeout"
        except FetchError:
            return "no_public_address"
        except (OSError, TransportError) as error:
            return type(error).__name__
        finally:
            connection.abort()
        return None if 200 <= status < 300 else f"status_{status}"


async def put(table: Table, head: StoredHead) -> None:
    """Note the end of a response, unless it is noted already. It may be repeated.

    Raises MeterUnavailable.
    """
    if head.status not in FINAL or head.ended is None:
        raise ValueError(f"{head.response_id} has not ended")
    item = {
        **notice_key(head.response_id),
        **VERSIONED,
        "status": head.status,
        "ended": int(head.ended),
        "due": int(head.ended),
        "attempts": 0,
        "expires": int(head.ended) + 2 * GIVE_UP,
    }
    try:
        await table.put(item, condition="attribute_not_exists(pk)")
    except ConditionFailed:
        return


async def due(table: Table, *, now: float) -> AsyncIterator[Notice]:
    """Yield the notices whose turn it is. Raises MeterUnavailable."""
    query = Query("pk = :pk", {":pk": NOTICES, ":now": int(now)}, filter="due <= :now")
    async for item in table.query_all(query, consistent=True):
        yield _notice(item)


async def deliver(table: Table, webhook: Webhook, notice: Notice, *, now: float) -> bool:
    """Call the webhook for a notice, if nobody else does. Return whether it accepted the event.

    Raises MeterUnavailable.
    """
    if notice.told or now >= notice.ended + GIVE_UP:
        if not notice.told:
            log("webhook_given_up", response_id=notice.response_id, attempts=notice.attempts)
        await table.delete(notice_key(notice.response_id))
        return False
    delay = _DELAYS[min(notice.attempts, len(_DELAYS) - 1)]
    taking = Update(
        notice_key(notice.response_id),
        update="SET due = :due, attempts = :next",
        condition="attempts = :seen",
        values={
            ":due": int(now) + delay,
            ":next": notice.attempts + 1,
            ":seen": notice.attempts,
        },
    )
    try:
        await table.update(taking, max_attempts=1)
    except ConditionFailed:
        return False  # somebody else calls it, or has called it
    reason = await webhook.call(notice, now=time.time())
    if reason is not None:
        log(
            "webhook_failed",
            response_id=notice.response_id,
            attempts=notice.attempts + 1,
            error=reason,
        )
        return False
    told = Update(
        notice_key(notice.response_id),
        update="SET told = :yes, due = :due",
        condition="attribute_exists(pk)",
        values={":yes": True, ":due": int(now) + _REMEMBER},
    )
    await table.update(told)
    return True


async def find(table: Table, response_id: str) -> Notice | None:
    """Return the notice of a response, or None. Raises MeterUnavailable."""
    item = await table.get(notice_key(response_id))
    return None if item is None else _notice(item)


def _notice(item: Mapping[str, object]) -> Notice:
    return Notice(
        str(item["sk"]),
        str(item["status"]),
        int(str(item["ended"])),
        int(str(item["attempts"])),
        told="told" in item,
    )


async def connect_locally(url: str, connection: Connection, host: str) -> None:
    """Connect to a plain URL of the developer's machine, which only the local cloud allows.

    Raises OSError.
    """
    port = urlsplit(url).port or 80
    await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
