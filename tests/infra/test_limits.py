"""The table of time limits."""

import dataclasses

import pytest

from infra.limits import LIMITS, Limits, LimitsError
from lambda_fn import limits as function_limits


def test_the_limits_agree() -> None:
    """The limits that are deployed do not contradict each other."""
    LIMITS.check()


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        ({"cloudfront_read": 180}, "cloudfront_read", "cloudfront_read_max"),
        ({"lambda_timeout": 901}, "lambda_timeout", "lambda_timeout_max"),
        ({"lambda_timeout": 500}, "sagemaker_response", "lambda_timeout"),
        ({"sagemaker_first_byte": 500}, "sagemaker_first_byte", "sagemaker_response"),
        ({"container_answer": 20}, "container_answer", "first_answer"),
        ({"heartbeat": 40}, "heartbeat", "cloudfront_read"),
        ({"cloudfront_read": 20}, "heartbeat", "cloudfront_read"),
        ({"first_answer": 55}, "first_answer", "cloudfront_read"),
        ({"container_answer": 61, "first_answer": 61}, "container_answer", "sagemaker_first_byte"),
        ({"container_heartbeat": 36}, "container_heartbeat", "endpoint_silence"),
        ({"sweep_timeout": 301}, "sweep_timeout", "sweep_period"),
        ({"sweep_period": 600}, "sweep_period", "sagemaker_response"),
        ({"control_timeout": 61}, "control_timeout", "cloudfront_read"),
        ({"stream_deadline": 476}, "stream_deadline", "sagemaker_response"),
    ],
)
def test_a_contradiction_names_both_limits(change: dict[str, int], first: str, second: str) -> None:
    """The error for an invalid limit names it and the limit that it contradicts."""
    with pytest.raises(LimitsError) as caught:
        dataclasses.replace(LIMITS, **change).check()
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_every_limit_is_held_against_another() -> None:
    """Every limit is compared with another, except AWS's own maxima.

    So none can grow without bound unnoticed.
    """
    for field in dataclasses.fields(Limits):
        if not field.name.endswith("_max"):
            with pytest.raises(LimitsError):
                dataclasses.replace(LIMITS, **{field.name: 10_000}).check()


@pytest.mark.parametrize("heartbeat", [1, 15])
def test_each_heartbeat_that_can_be_set_agrees(heartbeat: int) -> None:
    """`heartbeat_seconds` may be below the container's: the function sends its own."""
    dataclasses.replace(LIMITS, heartbeat=heartbeat).check()


def test_the_function_keeps_what_the_stacks_deploy() -> None:
    """The function's own times fit the limits with which it is deployed."""
    assert LIMITS.cloudfront_read == function_limits.CLOUDFRONT_READ_TIMEOUT
    assert LIMITS.sagemaker_first_byte == function_limits.SAGEMAKER_FIRST_BYTE
    assert LIMITS.sagemaker_response == function_limits.SAGEMAKER_STREAM
    assert LIMITS.heartbeat >= function_limits.HEARTBEAT
    assert LIMITS.endpoint_silence == function_limits.UPSTREAM_SILENCE
    assert LIMITS.first_answer >= function_limits.FIRST_EVENT_WAIT
    assert LIMITS.stream_deadline == function_limits.STREAM_DEADLINE
    assert LIMITS.stream_grace == function_limits.STREAM_GRACE
    assert LIMITS.settlement >= function_limits.SETTLE_RESERVE
    assert LIMITS.admission >= function_limits.meta_worst()
