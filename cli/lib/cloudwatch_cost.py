"""What metrics, alarms and the dashboard of a deployment are on CloudWatch's bill, counted."""

import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from infra.settings.deployment import Settings

_SWEEPER_METRICS = 6
_LAMBDA_ALARMS = 3
"""Metrics of the alarms that every deployment has over Lambda: of the sweeper."""
_RELEASE_ALARMS = 2
_STREAM_ALARMS = 2
_RECALL_ALARMS = 1
_KEEPER_ALARMS = 1
_SOCKET_ALARMS = 4 + 2 * 1
"""Of both functions of sockets, and of the releases of both."""
_REQUEST_ALARMS = 2 + 2 + 2 + 1 + 1
"""Metrics of the alarms over requests: Completion, FirstToken, EndpointDown, Rejected5xx,
Unsaved.
"""
_BURN_ALARMS = 8
_BURNS = 2
_GUARD_ALARMS = 2
_INSIGHT_RULES = 2
"""Rules of the setting `key_figures`. Where a model has prices, there is one more."""
_EVENT_BYTES = 26
"""Bytes that CloudWatch Logs adds to each event."""


class Counts(NamedTuple):
    """What is paid by the month."""

    metrics: int
    """Metrics while responses only complete. Each other way to end, and each code of a rejection,
    is one more in the hours in which it occurs.
    """
    alarm_metrics: int
    composite_alarms: int
    dashboards: int


@cache
def _members() -> dict[str, Any]:
    """Return the metrics of a request's line, for a streamed response of ordinary size."""
    from lambda_fn.metering.ledger import Opening, Settlement
    from lambda_fn.metering.money import Prices
    from lambda_fn.stream.metrics import members
    from lambda_fn.stream.usage_counter import Pace, UsageCounter

    counter = UsageCounter()
    counter.complete, counter.pace, counter.admission = True, Pace(counter), 0.0123
    for write in range(1, 4):
        counter.completion_tokens = write * 100
        counter.pace.wrote(write * 1.2345)
    prices = Prices(500, 1500)
    opening = Opening("0" * 26, "abcdefghijkl", "model-name", 1000, 1000, prices, 600.0, True)
    settlement = Settlement(
        outcome="complete",
        prompt_tokens=1234,
        completion_tokens=300,
        finish_reason="stop",
        ttft_ms=512,
        duration_ms=8123,
    )
    return members(counter, opening, settlement, deployment="sluice-prod", lag=0.0123, now=1.8e9)


def bytes_a_request(settings: "Settings") -> int:
    """Return the bytes that metrics add to the log line of a request; 0 without metrics."""
    if not settings.metrics:
        return 0
    return len(json.dumps(_members(), separators=(",", ":"))) + _EVENT_BYTES


def insight_rules(settings: "Settings") -> int:
    """Return the rules that the deployment has with `key_figures=insights`."""
    return _INSIGHT_RULES + (len(settings.unpriced_models) <= len(settings.others))


@cache
def otlp_bytes() -> int:
    """Return the bytes of a key's figures of an hour and a model with `key_figures=otlp`."""
    from lambda_fn.reporting.usage_rows import UsageRow
    from lambda_fn.sweep.key_figures import bodies

    row = UsageRow("2026-11-21T06", "abcdefghijkl", "model-name", 100, 50_000, 30_000, 10**8, 0)
    return sum(map(len, bodies([row], "sluice-prod")))


def metrics_of_a_key() -> int:
    """Return how many metrics a key would be for each model, if it were a dimension."""
    return len(_members()["_aws"]["CloudWatchMetrics"][0]["Metrics"])


def counts(settings: "Settings") -> Counts:
    """Return what the deployment of these settings has."""
    by_model, overall = (len(it["Metrics"]) for it in _members()["_aws"]["CloudWatchMetrics"])
    models = 1 + len(settings.others)
    alarms = _LAMBDA_ALARMS + _RELEASE_ALARMS + _STREAM_ALARMS
    if settings.persistence != "off":  # of the recall function, and the keeper
        alarms += _RELEASE_ALARMS + _RECALL_ALARMS + _KEEPER_ALARMS
    alarms += _SOCKET_ALARMS * settings.websocket
    alarms += _GUARD_ALARMS if settings.endpoint_name is None else 0
    alarms += settings.scale_to_zero
    alarms += settings.certificate_stack is not None
    if settings.metrics:
        alarms += _REQUEST_ALARMS + _BURN_ALARMS + (settings.hourly_cost_alarm is not None)
    return Counts(
        metrics=_SWEEPER_METRICS + (models * by_model + overall if settings.metrics else 0),
        alarm_metrics=alarms,
        composite_alarms=_BURNS if settings.metrics else 0,
        dashboards=int(settings.dashboard),
    )
