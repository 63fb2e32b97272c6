"""Every time and size that the stream function keeps, in one table.

The platform's own limits stand beside ours, so that `check` can hold them against each other. All times are seconds,
all sizes bytes. Sources: the quota pages of Lambda, CloudFront and SageMaker.
"""

CLOUDFRONT_READ_TIMEOUT = 60.0
"""Longest silence between two packets that our distribution accepts from the function."""

SAGEMAKER_FIRST_BYTE = 60.0
"""SageMaker gives a container this long to answer."""

SAGEMAKER_STREAM = 480.0
"""SageMaker ends a response stream after this long."""

FIRST_EVENT_WAIT = 12.0
"""So long a failure can still have its own HTTP status; then 200 is answered and heartbeats begin."""

HEARTBEAT = 12.0
"""Longest silence towards the client."""

STREAM_DEADLINE = 465.0
"""The container must have ended its answer by then: SageMaker's limit less what the way there and back may take."""

STREAM_GRACE = 5.0
"""How long after the container's deadline its own last record is waited for, before the stream is called cut."""

SETTLE_RESERVE = 8.0
"""Kept free before the Lambda deadline, for the last event and the settlement."""

CONNECT_TIMEOUT = 5.0
"""To open a connection to an AWS API."""

META_TIMEOUT = 3.0
"""For one DynamoDB call, one try."""

META_TRIES = 4
"""Tries of one DynamoDB call that failed in transport, or was throttled."""

IDLE_CONNECTION = 5.0
"""A pooled connection that was idle for longer is not used again: in an environment that was frozen, it may be dead
unseen.
"""

MAX_BODY = 1_000_000
"""Of a request. SageMaker takes 6 MB; a chat request over 1 MB is over every model's context."""

MAX_KEY = 256
"""Characters of a bearer key; ours have 55."""

MAX_LINE = 4_000_000
"""One record of the container."""

READ_BUFFER = 65_536
"""Bytes taken from a peer and not yet used; beyond them reading pauses."""


def check() -> None:
    """Hold the limits against each other.

    Raises:
        ValueError: two of them contradict each other; the message names both.

    """
    rules = [
        (HEARTBEAT < CLOUDFRONT_READ_TIMEOUT / 2, "HEARTBEAT must be under half of CLOUDFRONT_READ_TIMEOUT"),
        (
            FIRST_EVENT_WAIT < CLOUDFRONT_READ_TIMEOUT / 2,
            "FIRST_EVENT_WAIT must be under half of CLOUDFRONT_READ_TIMEOUT",
        ),
        (
            STREAM_DEADLINE + STREAM_GRACE < SAGEMAKER_STREAM,
            "STREAM_DEADLINE + STREAM_GRACE must be under SAGEMAKER_STREAM",
        ),
        (META_TIMEOUT * META_TRIES < FIRST_EVENT_WAIT + 1, "META_TIMEOUT * META_TRIES must fit FIRST_EVENT_WAIT"),
    ]
    for holds, message in rules:
        if not holds:
            raise ValueError(message)
