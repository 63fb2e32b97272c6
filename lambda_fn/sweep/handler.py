"""The sweeper's Lambda handler, `lambda_fn.sweep.handler.handler`, for the managed Python runtime.

Its counts become CloudWatch metrics by a log line, as `lambda_fn.emf` describes.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from lambda_fn import limits
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.aws.sns import Topic
from lambda_fn.emf import DEPLOYMENT, Directive, embedded
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.sweep.run import Budgets, Sweep, sweep
from lambda_fn.sweep.settings import SweepSettings


class SweepFailed(Exception):
    """Something could not be swept. The log says what; the next sweep tries it again."""


class Context(Protocol):
    """Lambda's context of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function is killed."""


def handler(_event: object, context: Context) -> dict[str, Any]:
    """Sweep once, end before the deadline, and return the counts.

    Raises:
        SettingsError: a variable is missing or malformed.
        SweepFailed: something failed, and is left for the next sweep.

    """
    settings = SweepSettings.from_environment(os.environ)
    ends = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - limits.SWEEP_RESERVE
    result = asyncio.run(_sweep(settings, ends))
    counts = counted(result)
    log(
        "sweep", **metrics(counts, settings.deployment, now=time.time()), requests=dict(result.done)
    )
    if result.failures:
        raise SweepFailed(f"{result.failures} failures; the log says which")
    return counts


async def _sweep(settings: SweepSettings, ends: float) -> Sweep:
    client = Client()  # one for each invocation: connections die while an environment is frozen
    try:
        reach = partial(
            Table,
            client,
            url=settings.dynamodb_url,
            region=settings.region,
            credentials=lambda: Credentials.from_environment(os.environ),
        )
        streams = settings.stream_table
        topic = None
        if settings.topic is not None:
            topic = Topic(
                client,
                arn=settings.topic,
                url=settings.sns_url,
                credentials=lambda: Credentials.from_environment(os.environ),
            )
        figures = None
        if settings.metrics_url is not None:
            from lambda_fn.sweep.key_figures import Figures  # few deployments send them

            figures = Figures(
                client,
                url=settings.metrics_url,
                region=settings.region,
                credentials=lambda: Credentials.from_environment(os.environ),
                deployment=settings.deployment,
            )
        return await sweep(
            reach(name=settings.usage_table),
            now=time.time(),
            longest=settings.overdue,
            stop=lambda: time.monotonic() >= ends,
            streams=None if streams is None else reach(name=streams),
            budgets=Budgets(settings.deployment, settings.ceiling, topic),
            figures=figures,
        )
    finally:
        client.close()


def counted(result: Sweep) -> dict[str, Any]:
    """Return a sweep's counts by the names of their metrics."""
    return {
        "Overdue": result.overdue,
        "Recovered": result.recovered,
        "Failures": result.failures,
        "RollupHours": result.hours,
        "RollupsAgain": result.remade,
        "Erased": result.erased,
        "Unfinished": int(not result.finished),
    }


def metrics(counts: Mapping[str, int], deployment: str, *, now: float) -> dict[str, Any]:
    """Return the fields of a log line that CloudWatch turns into metrics of a deployment."""
    directive = Directive(dict.fromkeys(counts, "Count"), [[DEPLOYMENT]])
    return {**embedded([directive], now=now), DEPLOYMENT: deployment, **counts}
