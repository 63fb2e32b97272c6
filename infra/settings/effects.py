"""Settings that would have no effect beside another setting.

They are refused, so that nobody relies on them: a setting whose feature is off (`NEEDS`), and a
bound that another bound is always reached before (`BOUNDS`). What merely contradicts another
setting is checked where the setting is.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

from infra.settings.fields import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.settings.deployment import Settings


class Needs(NamedTuple):
    """Settings that have an effect only while something holds, and how to make it hold."""

    names: tuple[str, ...]
    holds: Callable[[Settings], bool]
    how: str


class Bound(NamedTuple):
    """A setting that is void from `limit` on; None: it has no limit. `why` says what comes first.

    With `equal` it may reach the limit.
    """

    name: str
    limit: Callable[[Settings], float | None]
    why: str
    equal: bool = True


NEEDS = (
    Needs(
        ("store_default", "log_hours", "response_days", "on_log_failure", "background",
         "background_per_key", "background_at_once", "background_wait_hours", "recall_per_key",
         "stream_kms_key", "webhook_url"),
        lambda it: it.persistence != "off",
        "persistence=asked or all",
    ),
    Needs(
        ("completion_alarm", "completion_slo", "ttft_alarm_seconds", "alarm_traffic",
         "hourly_cost_alarm"),
        lambda it: it.metrics,
        "metrics=true",
    ),
    Needs(
        ("hourly_cost_alarm", "monthly_ceiling"),
        lambda it: len(it.unpriced_models) <= len(it.others),
        "a model with prompt_price and completion_price",
    ),
    Needs(("trace_ratio", "trace_callers"), lambda it: it.traces is not None, "traces"),
    Needs(
        ("trace_secret",),
        lambda it: it.traces not in (None, "cloudwatch"),
        "traces to be the address of a collector",
    ),
    Needs(("web_acl_rate", "web_acl_admin_rate"), lambda it: it.web_acl == "rate", "web_acl=rate"),
    Needs(("web_acl_admin_rate",), lambda it: it.admin_url, "admin_url=true"),
    Needs(("certificate_arn", "hosted_zone"), lambda it: it.domain is not None, "domain"),
    Needs(
        ("requests_per_instance", "scale_in_seconds"),
        lambda it: it.scales,
        "max_instances or scale_to_zero",
    ),
    Needs(("schedule_timezone",), lambda it: bool(it.schedule), "schedule"),
    Needs(
        ("kms_key", "subnets", "security_groups", "network_isolation", "ami_version",
         "download_seconds", "canary_seconds"),
        lambda it: it.endpoint_name is None,
        "an endpoint that is made here (without endpoint_name)",
    ),
    Needs(("image_hosts", "image_tokens"), lambda it: it.max_images > 0, "max_images from 1"),
    Needs(
        ("guardrail_mode", "guardrail_open"), lambda it: it.guardrail is not None, "guardrail"
    ),
    Needs(
        ("moderate_mode",),
        lambda it: bool(it.moderate_patterns or it.moderate_words or it.guardrail),
        "moderate_patterns, moderate_words or guardrail",
    ),
)  # fmt: skip

BOUNDS = (
    Bound(
        "recall_per_key",
        lambda it: it.recall_concurrency if it.reserved_concurrency is not None else None,
        "one key could keep the whole recall function busy (recall_concurrency)",
        equal=False,
    ),
    Bound(
        "default_max_streams",
        lambda it: it.reserved_concurrency if it.stage != "local" else None,
        "all keys together have no more streams (reserved_concurrency)",
    ),
    Bound(
        "background_at_once",
        lambda it: (
            None if it.reserved_concurrency is None else it.reserved_concurrency // 2 or None
        ),
        "other requests need the other half of reserved_concurrency",
    ),
    Bound(
        "log_hours",
        lambda it: 24 * it.response_days,
        "the answer itself can be read for no longer (response_days)",
    ),
    Bound(
        "background_wait_hours",
        lambda it: 24 * it.response_days,
        "an answer that waits is kept for no longer (response_days)",
    ),
    Bound(
        "default_max_tokens",
        lambda it: it.context_tokens,
        "an answer ends with the context (context_tokens)",
    ),
    Bound(
        "image_tokens",
        lambda it: it.context_tokens,
        "no larger image fits into the context (context_tokens)",
    ),
    Bound(
        "hourly_cost_alarm",
        lambda it: it.monthly_ceiling,
        "requests are refused before the alarm could rise (monthly_ceiling)",
    ),
)


def check(settings: Settings) -> None:
    """Raise SettingsError for the first setting that has no effect.

    A setting that has its default passes `NEEDS`, because nobody may have set it.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for needs in NEEDS:
        for name in needs.names:
            if getattr(settings, name) != defaults[name] and not needs.holds(settings):
                raise SettingsError(f"{name}: has no effect without {needs.how}")
    for bound in BOUNDS:
        value, limit = getattr(settings, bound.name), bound.limit(settings)
        if None in (value, limit) or value < limit or (bound.equal and value == limit):
            continue
        raise SettingsError(
            f"{bound.name}={value:g}: must be {'at most' if bound.equal else 'under'} {limit:g}, "
            f"because {bound.why}"
        )
