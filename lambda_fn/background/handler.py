"""The keeper's Lambda handler, `lambda_fn.background.handler.handler`, for the managed Python
runtime.

A schedule calls it. With a webhook, the function that ends a background response calls it, too,
with the event of `ended_event`. Such a call may be lost: then the next run of the schedule finds
the end.
"""

import asyncio
import os
import time
from functools import partial
from typing import Any, Protocol

import msgspec

from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.aws.functions import Functions
from lambda_fn.aws.secretsmanager import SecretError, SecretsManager
from lambda_fn.aws.signing import Credentials
from lambda_fn.background import webhooks
from lambda_fn.background.settings import KeeperSettings
from lambda_fn.background.walk import Walk, free, sweep_background
from lambda_fn.background.webhooks import Webhook, connect_locally
from lambda_fn.http.client import Client
from lambda_fn.http.fetch_image import connect
from lambda_fn.ids import is_request_id
from lambda_fn.log import log
from lambda_fn.runtime.event import run_event
from lambda_fn.stream_log.heads import StoredHead

_RESERVE = 15.0
"""Seconds before its deadline at which nothing more is begun."""


class KeepingFailed(Exception):
    """Something could not be read or started. The log says what; the next run tries again."""


class Context(Protocol):
    """Lambda's context of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function is killed."""


class _Ended(msgspec.Struct):
    v: int
    ended: str
    owner: str


class _Event(msgspec.Struct):
    sluice: _Ended | None = None


def handler(event: object, context: Context) -> dict[str, Any]:
    """Walk once through the background responses, or call the webhook for one that has ended.

    Returns:
        What was done, in numbers.

    Raises:
        SettingsError: a variable is missing or malformed.
        KeepingFailed: something failed, and is left for the next run.

    """
    settings = KeeperSettings.from_environment(os.environ)
    ends = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _RESERVE
    ended = msgspec.convert(event, _Event, strict=False).sluice if event else None
    if ended is not None and (ended.v != 1 or not is_request_id(ended.ended)):
        ended = None
    walk, told = asyncio.run(_Keeper(settings, ends).run(ended))
    counts = {"freed": walk.freed, "waiting": walk.waiting, "started": walk.started, "told": told}
    if any(counts.values()) or walk.failures:
        log("background", **counts, failures=walk.failures)
    if walk.failures:
        raise KeepingFailed(f"{walk.failures} failures; the log says which")
    return counts


class _Keeper:
    """One run."""

    def __init__(self, settings: KeeperSettings, ends: float) -> None:
        self._settings = settings
        self._ends = ends
        # One for each invocation: connections die while an environment is frozen.
        self._client = Client()
        self._credentials = partial(Credentials.from_environment, os.environ)
        self._table = Table(
            self._client,
            url=settings.dynamodb_url,
            region=settings.region,
            name=settings.stream_table,
            credentials=self._credentials,
        )
        self._functions = Functions(
            self._client,
            url=settings.lambda_url,
            region=settings.region,
            credentials=self._credentials,
        )

    async def run(self, ended: _Ended | None) -> tuple[Walk, int]:
        """Return what was done, and how many events the webhook accepted."""
        tells = self._settings.webhook is not None
        walk, told = Walk(), 0
        note = self._note if tells else None
        try:
            if ended is not None:
                await free(self._table, ended.owner, ended.ended, walk, note, now=time.time())
            else:
                walk = await sweep_background(
                    self._table,
                    now=time.time(),
                    stop=self._stop,
                    invoke=self._invoke,
                    ended=note,
                )
            if tells:
                told = await self._tell(walk, None if ended is None else ended.ended)
        finally:
            self._client.close()
        return walk, told

    def _stop(self) -> bool:
        return time.monotonic() >= self._ends

    async def _invoke(self, response_id: str) -> None:
        await self._functions.invoke_later(self._settings.stream_function, run_event(response_id))

    async def _note(self, head: StoredHead) -> None:
        if head.status in ("completed", "incomplete", "failed", "cancelled"):
            await webhooks.put(self._table, head)

    async def _tell(self, walk: Walk, response_id: str | None) -> int:
        """Call the webhook for what is due, or for one response. Return how many it accepted."""
        told = 0
        webhook: Webhook | None = None
        try:
            if response_id is not None:
                one = await webhooks.find(self._table, response_id)
                notices = [] if one is None or one.attempts else [one]
            else:
                notices = [it async for it in webhooks.due(self._table, now=time.time())]
            for notice in notices:
                if self._stop():
                    break
                webhook = webhook or await self._webhook()
                told += await webhooks.deliver(self._table, webhook, notice, now=time.time())
        except (MeterUnavailable, SecretError) as error:
            walk.failures += 1
            log("webhook_failed", error=repr(error))
        return told

    async def _webhook(self) -> Webhook:
        """Return the webhook with the current secret. Raises SecretError."""
        settings = self._settings
        secrets = SecretsManager(
            self._client,
            url=settings.secrets_url,
            region=settings.region,
            credentials=self._credentials,
        )
        found = await secrets.version(settings.webhook_secret or "", "AWSCURRENT")
        if found is None:
            raise SecretError("ResourceNotFoundException")
        url = settings.webhook or ""
        way = partial(connect_locally, url) if settings.private_webhook else connect
        return Webhook(url, found[1], way)
