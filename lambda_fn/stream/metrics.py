"""The metrics of a request, made when it is settled: members of its log line.

Names are those of OpenTelemetry's conventions for generative AI, where these have one. Durations
are seconds, as there. Nothing has the key as a dimension: `/admin/v1/usage` has the figures of each
key, from the rollups. Source: https://github.com/open-telemetry/semantic-conventions-genai.
"""

from typing import Any

from lambda_fn.emf import DEPLOYMENT, MODEL, Directive, embedded
from lambda_fn.errors import (
    APIError,
    Cancelled,
    RateLimited,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
    from_container,
)
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.stream.usage_counter import UsageCounter

TTFT = "gen_ai.server.time_to_first_token"
UNITS = {
    TTFT: "Seconds",
    "gen_ai.server.time_per_output_token": "Seconds",
    "gen_ai.server.request.duration": "Seconds",
    "gen_ai.usage.input_tokens": "Count",
    "gen_ai.usage.output_tokens": "Count",
    "InterTokenP50": "Seconds",
    "InterTokenP95": "Seconds",
    "TokensPerSecond": "Count/Second",
    "HeartbeatsBeforeFirstToken": "Count",
    "AdmissionTime": "Seconds",
    "SettlementLag": "Seconds",
    "CostUSD": "None",
    "Unbilled": "Count",
    "FlushLag": "Seconds",
    "Completed": "Count",
    "Failed": "Count",
}
"""What each request may have, with its unit. `Completed` and `Failed` are 0 or 1."""

COMPLETED = ("Complete", "Filtered", "Budget", "Meter", "Deadline")
"""Causes with which a response ends as it may: it has its end marker and a finish reason."""
FAILED = ("Upstream", "Timeout", "Overloaded", "Unavailable", "Fault")
"""Causes for which the service is to blame."""
NEITHER = ("Cancelled", "ClientLeft", "Refused")
"""Causes that say nothing of the service: an operator, a client, or what the client asked for."""
CAUSES = (*COMPLETED, *FAILED, *NEITHER)
"""How responses end. `Ended` and the cause is a metric, which the request's line has as 1."""

OVERALL = (TTFT, "gen_ai.usage.output_tokens", "CostUSD", "Completed", "Failed")
"""Metrics that alarms and sums over all models read: they have the dimension of the deployment
alone, too.
"""
UNAVAILABLE = "EndedUnavailable"
UNSAVED = "SettlementsUnsaved"


def cause(counter: UsageCounter) -> str:
    """Return why a response ended: one of `CAUSES`."""
    if counter.complete:
        if counter.ended is not None:
            return counter.ended.capitalize()
        return "Filtered" if counter.finish_reason == "content_filter" else "Complete"
    if counter.cancelled:
        return "Cancelled"
    if counter.failure is not None:
        return _named(type(from_container(counter.failure, "")), None)
    return "ClientLeft" if counter.error is None else _named(*counter.error)


def _named(kind: type[APIError], code: str | None) -> str:
    if issubclass(kind, Cancelled):
        return "ClientLeft" if code == "abandoned" else "Cancelled"
    for known, name in _KINDS:
        if issubclass(kind, known):
            return name
    return "Fault" if kind.status >= 500 else "Refused"


_KINDS: tuple[tuple[type[APIError], str], ...] = (
    (UpstreamFailed, "Upstream"),
    (UpstreamTimeout, "Timeout"),
    (RateLimited, "Overloaded"),
    (Unavailable, "Unavailable"),
)


def members(
    counter: UsageCounter,
    opening: Opening,
    settlement: Settlement,
    *,
    deployment: str,
    lag: float,
    now: float,
    saved: bool = True,
) -> dict[str, Any]:
    """Return the members of a settled request's log line that make its metrics.

    Args:
        counter: The request's counter.
        opening: Its ledger item.
        settlement: Its settlement.
        deployment: The value of the dimension `Deployment`.
        lag: Seconds from the end of the response to its settlement.
        now: Unix seconds.
        saved: Whether the settlement was written.

    """
    why = cause(counter)
    ended = f"Ended{why}"
    cost = opening.prices.cost(settlement.tokens)
    found: dict[str, float] = {
        "gen_ai.server.request.duration": settlement.duration_ms / 1000
        if settlement.duration_ms is not None
        else 0.0,
        "gen_ai.usage.input_tokens": settlement.prompt_tokens,
        "gen_ai.usage.output_tokens": settlement.completion_tokens,
        "SettlementLag": round(lag, 4),
        "CostUSD": cost / 1e9,
        "Completed": int(why in COMPLETED),
        "Failed": int(why in FAILED),
    }
    if counter.admission is not None:
        found["AdmissionTime"] = round(counter.admission, 4)
    if settlement.ttft_ms is not None:
        found[TTFT] = settlement.ttft_ms / 1000
    if counter.unbilled:
        found["Unbilled"] = counter.unbilled
    if counter.flush_lag is not None:
        found["FlushLag"] = round(counter.flush_lag, 4)
    if counter.pace is not None:
        found |= counter.pace.figures()
    units = {name: UNITS[name] for name in found} | {ended: "Count"}
    overall = {name: UNITS[name] for name in OVERALL if name in found}
    marks = {ended: 1}
    if ended == UNAVAILABLE:
        overall[ended] = "Count"
    if not saved:
        overall[UNSAVED] = "Count"
        marks[UNSAVED] = 1
    directives = (Directive(units, [[DEPLOYMENT, MODEL]]), Directive(overall, [[DEPLOYMENT]]))
    return {
        **embedded(directives, now=now),
        DEPLOYMENT: deployment,
        MODEL: opening.model,
        **found,
        **marks,
    }
