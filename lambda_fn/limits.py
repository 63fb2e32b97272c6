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

UPSTREAM_SILENCE = 70.0
"""Longest silence of the endpoint, heartbeats counted; our container sends one every 10 s. Longer, and it is dead."""

LAST_BYTES = 0.5
"""How long the end of a whole answer's HTTP body is waited for, so that its connection can be used again."""

LAST_WRITE = 1.0
"""How long a client that does not read gets to take the error that ends its answer."""

STREAM_GRACE = 5.0
"""How long after the container's deadline its own last record is waited for, before the stream is called cut."""

SETTLE_RESERVE = 30.0
"""Kept free before the Lambda deadline, for the last event and the settlement's two writes at their worst."""

SETTLE_PATIENCE = 18.0
"""So long the settlement's writes are tried; then it becomes a line in the log, to be replayed."""

CANCEL_TRIES = 8
"""Calls that take a request back: with several instances each reaches one of them, not always the right one."""

CANCEL_EVERY = 0.15
"""Time between two of them. The container keeps one that it cannot place for a second."""

CANCEL_PATIENCE = 3.0
"""For all of them together."""

CONNECT_TIMEOUT = 5.0
"""To open a connection to an AWS API."""

META_TIMEOUT = 3.0
"""For one DynamoDB call, one try."""

META_TRIES = 4
"""Tries of one DynamoDB call that failed in transport, or was throttled."""

META_BACKOFF = 0.05
"""The wait before the n-th further try is a random share of this, times 2 to the n."""

META_BACKOFF_MOST = 2.0
"""No wait between two tries is longer."""

CHECKPOINT = 5.0
"""How often the progress of a stream is noted in the ledger."""

SWEEP_RESERVE = 35.0
"""The sweeper takes up nothing more so long before its deadline: what it has in hand is some writes at their worst."""
OVERDUE = 600.0
"""So long after its beginning a request has lost its function: Lambda's timeout (540) and more than clocks differ."""

OPEN_MEMORY = 900.0
"""While the meter is open (`SLUICE_METER_OPEN`), a key is let through that was admitted here within this time."""

ACCEPTANCE = 5.0
"""For the Runtime API to accept the end of a response."""

IDLE_CONNECTION = 5.0
"""A pooled connection that was idle for longer is not used again if the environment may have been frozen meanwhile: it
may be dead unseen.
"""

IDLE_AWAKE = 55.0
"""The same where the environment was awake all the time, so that a peer's closing would have been seen. AWS's SDK for
Java keeps connections for 60 s.
"""

AWAKE_TICK = 1.0
"""How often the process notes that it is awake; three of them missed, and it was frozen."""

MAX_BODY = 1_000_000
"""Of a request. SageMaker takes 6 MB; a chat request over 1 MB is over every model's context."""

BODY_PATIENCE = 30.0
"""For a request's body to arrive. Lambda has it whole before the function is asked; other servers may not."""

MAX_VALUES = 150_000
"""Commas, brackets and braces of a body, outside strings. A value of two bytes takes 80 in memory; a chat of short
content parts, the most of an honest one, has 115,000 in 1 MB.
"""

MAX_WHOLE = 16_000_000
"""Of an answer that is not streamed: it is held until its end, and takes `WHOLE_TIMES` as much memory then at most."""

WHOLE_TIMES = 4

MAX_KEY = 256
"""Characters of a bearer key; ours have 59."""

MAX_LINE = 4_000_000
"""One record of the container."""

READ_SIZE = 16_384
"""Bytes read from a socket at once: some 85 tokens. More keeps other streams waiting while they are dealt with."""

READ_BUFFER = 16_384
"""Bytes taken from a peer and not yet used; beyond them reading pauses."""


def whole(memory: int, concurrency: int) -> int:
    """Return how many bytes of each whole answer a function with so many bytes of memory holds.

    All that can run in one environment at once take at most half of its memory together.
    """
    return min(MAX_WHOLE, memory // 2 // WHOLE_TIMES // concurrency)


def meta_worst() -> float:
    """Give the longest that one DynamoDB call can take, all its tries together."""
    waits = (min(META_BACKOFF * 2.0**number, META_BACKOFF_MOST) for number in range(1, META_TRIES))
    return META_TIMEOUT * META_TRIES + sum(waits)


def settle_worst() -> float:
    """Give the longest that the settlement's two writes can take."""
    return SETTLE_PATIENCE + 2 * (META_TIMEOUT + META_BACKOFF_MOST)


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
        (
            settle_worst() + LAST_BYTES + LAST_WRITE < SETTLE_RESERVE,
            "SETTLE_RESERVE must hold SETTLE_PATIENCE and a last try of two writes (META_TIMEOUT)",
        ),
        (CANCEL_PATIENCE < SETTLE_PATIENCE, "CANCEL_PATIENCE must be under SETTLE_PATIENCE: both begin together"),
        (
            2 * meta_worst() + FIRST_EVENT_WAIT < CLOUDFRONT_READ_TIMEOUT,
            "CLOUDFRONT_READ_TIMEOUT must hold an admission and a refusal at their worst (META_TIMEOUT * META_TRIES)",
        ),
        (CHECKPOINT < STREAM_DEADLINE < OVERDUE, "CHECKPOINT must be under STREAM_DEADLINE, and that under OVERDUE"),
        (SAGEMAKER_FIRST_BYTE < UPSTREAM_SILENCE, "UPSTREAM_SILENCE must be over SAGEMAKER_FIRST_BYTE"),
    ]
    for holds, message in rules:
        if not holds:
            raise ValueError(message)
