"""The keeper's Lambda handler, `lambda_fn.background.handler.handler`, for the managed Python
runtime.
"""

import asyncio
import os
import time
from functools import partial
from typing import Any, Protocol

from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.functions import Functions
from lambda_fn.aws.signing import Credentials
from lambda_fn.background.walk import Walk, sweep_background
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.runtime.event import run_event
from lambda_fn.settings import KeeperSettings

_RESERVE = 15.0
"""Seconds before its deadline at which nothing more is begun."""


class KeepingFailed(Exception):
    """Something could not be looked at or started. The log says what; the next run tries again."""


class Context(Protocol):
    """Lambda's context of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function is killed."""


def handler(_event: object, context: Context) -> dict[str, Any]:
    """Walk once through the background responses, and return the counts.

    Raises:
        SettingsError: a variable is missing or malformed.
        KeepingFailed: something failed, and is left for the next run.

    """
    settings = KeeperSettings.from_environment(os.environ)
    ends = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - _RESERVE
    walk = asyncio.run(_keep(settings, ends))
    counts = {"freed": walk.freed, "waiting": walk.waiting, "started": walk.started}
    if any(counts.values()) or walk.failures:
        log("background", **counts, failures=walk.failures)
    if walk.failures:
        raise KeepingFailed(f"{walk.failures} failures; the log says which")
    return counts


async def _keep(settings: KeeperSettings, ends: float) -> Walk:
    client = Client()  # one for each invocation: connections die while an environment is frozen
    credentials = partial(Credentials.from_environment, os.environ)
    functions = Functions(
        client, url=settings.lambda_url, region=settings.region, credentials=credentials
    )
    table = Table(
        client,
        url=settings.dynamodb_url,
        region=settings.region,
        name=settings.stream_table,
        credentials=credentials,
    )

    async def invoke(response_id: str) -> None:
        await functions.invoke_later(settings.stream_function, run_event(response_id))

    try:
        return await sweep_background(
            table, now=time.time(), stop=lambda: time.monotonic() >= ends, invoke=invoke
        )
    finally:
        client.close()
