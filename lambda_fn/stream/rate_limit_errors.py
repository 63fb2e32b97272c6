"""Tells a caller about its limits, by OpenAI's `x-ratelimit-*` headers and by error responses.

A window is a minute of the clock, so the whole limit is available again when the minute ends.
"""

import math

from lambda_fn.auth import wrong_key
from lambda_fn.errors import (
    NO_RETRY,
    APIError,
    InsufficientQuota,
    NotFound,
    PermissionDenied,
    RateLimited,
    RequestRunning,
    Unavailable,
)
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.holds import held_in
from lambda_fn.metering.rejections import (
    Contended,
    KeyRejected,
    KeyUnknown,
    LimitReached,
    ModelRejected,
    NetworkRejected,
    Rejection,
    RepeatRunning,
    Unpriced,
)
from lambda_fn.metering.windows import UNLIMITED, windows_of

_NANO = 10**9
_COUNTED = {"max": "streams", "requests": "requests", "tokens": "tokens"}
"""What a limit counts, by the beginning of its name."""


def rate_headers(account: Account, *, when: float, now: float) -> dict[str, str]:
    """Return the headers about the limits of the minute that contains `when`.

    A limit that the key does not have gets no headers. `when` and `now` are Unix times in seconds.
    """
    headers = {}
    for window in windows_of(when)[:2]:
        maximum = getattr(account.limits, window.limit)
        if maximum < UNLIMITED:
            what = window.limit.partition("_")[0]
            headers[f"x-ratelimit-limit-{what}"] = str(maximum)
            headers[f"x-ratelimit-remaining-{what}"] = str(max(0, account.remaining(window)))
            headers[f"x-ratelimit-reset-{what}"] = duration(max(0.0, window.ends - now))
    return headers


def duration(seconds: float) -> str:
    """Return seconds as OpenAI writes them: `1m0s`, `17.2s`, `204ms`."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"


def public(rejection: Rejection, *, model: str, when: float, now: float) -> APIError:
    """Return the error that a rejected caller gets."""
    match rejection:
        case KeyUnknown():
            return wrong_key()
        case KeyRejected():
            return PermissionDenied(
                f"This API key is {rejection.reason}.", code=f"key_{rejection.reason}"
            )
        case NetworkRejected():
            return wrong_network()
        case ModelRejected():
            return no_model(model)
        case Unpriced():
            text = (
                f"This key has a cost budget, which cannot be enforced: the model '{model[:80]}' "
                "has no price."
            )
            advice = (
                "Ask the operator to set its prices ('prompt_price', 'completion_price'; 0 is "
                "one), or use another"
            )
            return PermissionDenied(f"{text} {advice}.", param="model", code="model_without_price")
        case Contended():
            text = (
                "More requests of this key begin and end at once than can be counted. Nothing "
                "was generated or billed"
            )
            return Unavailable(f"{text}; try again, or use several keys.", retry_after=1)
        case RepeatRunning():
            text = f"This request is a repeat of req_{rejection.request_id}, which is still running"
            return RequestRunning(f"{text}; it was not run again.", headers=NO_RETRY)
        case LimitReached():
            return _limit(rejection, when=when, now=now)


def wrong_network() -> PermissionDenied:
    """Return the error for a key that is used from outside its networks."""
    text = "This API key may not be used from the address that the request came from"
    return PermissionDenied(
        f"{text}. Use an address in its `networks`, or ask its operator to change them.",
        code="network_not_allowed",
    )


def no_model(name: str) -> NotFound:
    """Return the error for a model that does not exist, or that the key may not use."""
    return NotFound(
        f"The model '{name[:80]}' does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def model_unreadable(name: str, reason: str) -> Unavailable:
    """Return the error for a model whose settings cannot be read. A retry cannot succeed."""
    return Unavailable(
        f"The model '{name[:80]}' is not served, because its settings cannot be read ({reason}). "
        "Its operator must correct other_models and deploy again.",
        param="model",
        code="model_unreadable",
        headers=NO_RETRY,
    )


def _limit(reached: LimitReached, *, when: float, now: float) -> APIError:
    headers = rate_headers(reached.account, when=when, now=now)
    name = reached.limit.partition("_")[0]
    if reached.maximum == 0 and (reached.window is None or reached.limit.endswith("minute")):
        each = "at once" if reached.window is None else "per minute"
        message = (
            f"This key may run no requests: its limit is 0 {_COUNTED[name]} {each}. Ask its "
            "operator to raise the limit."
        )
        return RateLimited(message, headers={**headers, **NO_RETRY})
    if reached.window is None:
        message = (
            f"This key has {reached.maximum} streams running, which is its limit. Try again when "
            "one has ended."
        )
        return RateLimited(message, retry_after=1, headers=headers)
    span = reached.limit.rpartition("_")[2]
    if span == "minute":
        text = (
            f"Rate limit reached for {name} per minute: limit {reached.maximum}, left "
            f"{max(0, reached.remaining)}"
        )
        if reached.needed > reached.maximum:
            message = (
                f"{text}. This request may need {reached.needed}: shorten it, or lower "
                "'max_tokens'."
            )
            return RateLimited(message, headers={**headers, **NO_RETRY})
        seconds = max(1, math.ceil(reached.window.ends - now))
        message = f"{text}, this request may need {reached.needed}. Try again in {seconds} s."
        return RateLimited(message, retry_after=seconds, headers=headers)
    what, unit = ("tokens", 1) if name == "tokens" else ("money", _NANO)
    left, most, needed = (
        amount / unit for amount in (reached.remaining, reached.maximum, reached.needed)
    )
    amounts = f"{left:.10g} left of {most:.10g}, this request may need {needed:.10g}"
    budget = f"this key's budget of {what} for the {span}"
    if reached.needed <= reached.remaining + held_in(reached.account, reached.window):
        message = (
            f"Requests that are running hold the rest of {budget}: {amounts}. Try again when one "
            "has ended."
        )
        return RateLimited(message, retry_after=1, headers=headers)
    message = f"You exceeded your current quota: {budget} is used up."
    if reached.remaining > 0:
        message = (
            f"You exceeded your current quota: {budget} has too little left: {amounts}. "
            "Lower 'max_tokens', or shorten "
            "the request."
        )
    return InsufficientQuota(message, headers={**headers, **NO_RETRY})
