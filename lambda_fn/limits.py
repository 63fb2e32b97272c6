"""Every time and size limit of the stream function, in one table.

The platform's own limits stand beside them, so that `check` can compare them. All times are in
seconds, all sizes in bytes. Sources: the quota pages of Lambda, CloudFront and SageMaker.
"""

CLOUDFRONT_READ_TIMEOUT = 60.0
"""Longest silence between two packets from the function that our distribution accepts."""

SAGEMAKER_FIRST_BYTE = 60.0
"""Time that SageMaker gives a container to begin its response."""

SAGEMAKER_STREAM = 480.0
"""Time after which SageMaker ends a response stream."""

FIRST_EVENT_WAIT = 12.0
"""Time within which a failure still gets its own HTTP status.

After it 200 is sent, and heartbeats begin.
"""

HEARTBEAT = 12.0
"""Longest silence towards the client."""

STREAM_DEADLINE = 465.0
"""Time for the container to end its response: SageMaker's limit minus the time on the network."""

UPSTREAM_SILENCE = 70.0
"""Longest silence of the endpoint, heartbeats included, before it counts as dead.

Our container sends a heartbeat every 10 s.
"""

LAST_BYTES_TIMEOUT = 0.5
"""Longest wait for the end of the HTTP body of a complete response.

If the end comes in time, the connection is reused.
"""

LAST_WRITE_TIMEOUT = 1.0
"""Time in which a slow client must take the error that ends its response."""

LOG_END_TIMEOUT = 3.0
"""Time for an event log to end a response.

After it the connection ends without a terminal event.
"""

LOG_OPEN_TIMEOUT = 3.0
"""Time to write the head of a response before anything of it is sent."""

LOG_OPEN_AFTER = 0.001
"""Time from the invocation to the write of the head. So the requests that came at the same time are
sent to their models first.
"""

LOG_FLUSH_FIRST = 0.01
"""Time from the first delta to its write in the log. So the delta is sent to the client first."""

LOG_FLUSH = 0.5
"""Longest time that an event waits to be written to the log, but for the one before it."""

LOG_FLUSH_TAILED = 0.25
"""The same while somebody tails the response."""

LOG_FLUSH_EARLY = 0.06
"""How much earlier a log may be written, together with another one that is due."""

LOG_FLUSH_BYTES = 32_000
"""Size of the waiting events at which they are written at once."""

LOG_UNACKNOWLEDGED = 500
"""Maximum number of delivered events that the log has not acknowledged."""

LOG_UNACKNOWLEDGED_BYTES = 1_000_000
"""Size of the events that the log has not acknowledged above which delivery waits for it."""

LOG_GIVE_UP = 15.0
"""Time for which a write to the log is retried. Then the log is lost."""

LOG_WATCH = 1.0
"""Interval at which a producer reads its head, which says whether the response was cancelled."""

LOG_POLL = 0.25
"""Interval at which a reader of a running response asks for further segments."""

LOG_HEAD_POLL = 2.0
"""Interval at which a reader reads the head of a running response that has nothing new."""

POST_INTERVAL = 0.05
"""Shortest time between the beginnings of two posts of deltas of a response to a socket."""

POST_WAITING = 262_144
"""Size of the events that wait to be posted to a socket above which the response waits."""

SOCKET_CACHE = 3_600
"""Time for which a response of a socket that is not stored can be continued there."""

MESSAGE_AGE = 60.0
"""Age of a message of a socket above which it is not answered any more."""

LEASE_INTERVAL = 5.0
"""Interval at which a producer renews the lease on its log, and a reader that on its slot."""

LEASE = 30.0
"""Age of a producer's lease at which whoever finds it ends the response as failed."""

READER_LEASE = 15.0
"""Time after which the slot of a reader that does not renew it is free."""

RESUME_RESERVE = 15.0
"""Time before its own deadline at which a function ends a resumed stream, so that its client
resumes it elsewhere. It is enough for the calls of a reader in progress.
"""

END_PATIENCE = 5.0
"""Time for the one who has ended a response to put its terminal segment. Then others do."""

CLIENT_PATIENCE = 5.0
"""Time in which a client of a logged response takes nothing before it is let go. It can resume."""

SOCKET_PATIENCE = 30.0
"""Time in which the client of a socket takes nothing before it counts as gone."""

LIVE_PATIENCE = 0.25
"""Time for which a client of a logged response may keep the model from being read by not reading.

Until then its delivery reads the model itself, which saves a turn of the event loop for each token.
"""

LIVE_EVENTS = 5_000
"""Maximum number of events of a logged response that wait for a slow client before it is let go."""

REJECTIONS_EVERY = 1.0
"""Time in which an environment may write one more log line with its counts of rejections."""

REJECTIONS_BURST = 10
"""The number of such lines that an environment may write at once after a quiet time."""

STREAM_GRACE = 5.0
"""Longest wait for the container's own last record after its deadline.

After this wait the response counts as truncated.
"""

SETTLE_RESERVE = 30.0
"""Time kept free before the Lambda deadline.

It is enough for the last event and for the two writes of the settlement at their slowest.
"""

SETTLE_TIMEOUT = 18.0
"""Time for which the settlement's writes are retried.

After it the settlement becomes a log line, to be replayed.
"""

CANCEL_MAX_ATTEMPTS = 8
"""Maximum number of calls to cancel one request, without those that fail. Of these there are at
most as many again.

Each call reaches one instance of the endpoint, which may not be the one that runs the request.
"""

CANCEL_FIRST_INTERVAL = 0.06
"""Time between the first two cancel calls. An instance of this service answers in less.

Of two instances, every second call reaches the other one first. So this is most of what a second
instance adds to a cancel.
"""

CANCEL_INTERVAL = 0.15
"""Time between two later ones. The container holds a call that it cannot match for a second."""

CANCEL_TIMEOUT = 3.0
"""Time for all cancel calls of one request together."""

COUNT_TIMEOUT = 30.0
"""Time for the container to count a prompt. Nothing is sent to the client meanwhile."""

CONNECT_TIMEOUT = 5.0
"""Time to open a connection to an AWS API."""

META_TIMEOUT = 3.0
"""Time for one attempt of a DynamoDB call."""

GUARDRAIL_TIMEOUT = 5.0
"""Time for the verdict of a guardrail about a text, all tries together."""

META_MAX_ATTEMPTS = 4
"""Attempts of a DynamoDB call that fails in transport, or is throttled."""

META_BACKOFF = 0.05
"""The wait before retry n is a random share of this times 2 to the n."""

META_BACKOFF_MAX = 2.0
"""Longest wait between two attempts."""

CONTINUATIONS = 2
"""Maximum number of runs that continue a response after its container has ended."""

CONTINUE_PATIENCE = 20.0
"""Time for which a continuation is asked for again while no container takes it."""

CONTINUE_PAUSE = 1.0
"""Time between two such attempts."""

CHECKPOINT = 5.0
"""Interval at which the progress of a stream is written to the ledger."""

FIRST_STEP = 1024
"""Completion tokens of each choice that a request without a limit reserves at its admission."""

EXTENSION_LEAD = 6.0
"""Seconds of tokens that are left, at the measured pace, when a reservation is extended.

They are over the 5 s that an extension needs at least, because tokens come in batches.
"""

EXTENSION_TIMEOUT = 10.0
"""Time for which the write of an extension is retried."""

PACE_AFTER = 1.0
"""Time from the first token after which the pace counts as measured.

Before it, a reservation is extended once half of it is used.
"""

SWEEP_RESERVE = 35.0
"""Time before its deadline at which the sweeper starts nothing more.

Its writes in progress may take this long.
"""

OVERDUE = 600.0
"""Age at which a request's function has certainly ended: Lambda's timeout (540) and a margin."""

FAIL_OPEN_WINDOW = 900.0
"""While the meter fails open (`SLUICE_METER_OPEN`), keys admitted within this time are served."""

TRACE_TIMEOUT = 2.0
"""Time for a collector to take spans. On Lambda, the next invocation waits for it."""

TRACE_QUEUE = 500
"""Number of spans that wait for a collector from which on further ones are lost.

They go together in one request. CloudWatch takes 5 MB in one; a span has some 2 kB.
"""

TRACE_FAILURES = 3
"""Failed requests to a collector, one after another, after which it is left alone for a while."""

TRACE_PAUSE = 30.0
"""Time for which a collector that failed is left alone."""

ACCEPT_TIMEOUT = 300.0
"""Time for the Runtime API to accept the end of a response.

The kernels on both sides hold some megabytes of it for a client that is slow, which takes a minute
at 100 kB/s. AWS's own clients of the Runtime API wait without a limit. The response is settled
meanwhile, and its log closed. The wait ends `ACCEPT_RESERVE` before the function's deadline.
"""

ACCEPT_RESERVE = 2.0
"""Time before the function's deadline at which it stops waiting for a slow client.

The environment lives on if it fetches the next invocation before its deadline.
"""

BREAK_TIMEOUT = 5.0
"""Time for the Runtime API to accept that a response was broken off.

Its client may have stopped reading. To close the connection breaks the response off, too.
"""

IDLE_CONNECTION = 5.0
"""Longest idle time of a pooled connection if the environment may have been frozen meanwhile.

While an environment is frozen, it does not notice that a connection is closed.
"""

IDLE_AWAKE = 55.0
"""Longest idle time of a pooled connection if the environment was awake throughout.

It would have noticed if the peer had closed the connection. AWS's SDK for Java keeps connections
for 60 s.
"""

AWAKE_TICK = 1.0
"""Interval at which the process notes that it is awake. If three are missed, it was frozen."""

MAX_BODY = 1_000_000
"""Maximum size of a request body.

SageMaker takes 6 MB, but a chat of over 1 MB exceeds the context of every model.
"""

MAX_BODY_WITH_IMAGES = 4_400_000
"""Maximum size of a request body for a model that reads images. Without them it is `MAX_BODY`.

A function URL's event has at most 6,291,556 bytes (Lambda's quota of 6 MB). A body may be in it as
base64, which takes a third more, beside some 100 kB of headers and context.
"""

MAX_IMAGE_BYTES = 5_000_000
"""Maximum size of an image that the function fetches."""

MAX_INVOCATION = 6_291_456
"""Maximum size of the body of `InvokeEndpointWithResponseStream`, by SageMaker's API reference."""

MAX_PIXELS = 40_000_000
"""Maximum number of an image's pixels. The model's server takes 3 bytes or more for each."""

MAX_PIXELS_TOGETHER = 100_000_000
"""Maximum number of pixels of all images of a request."""

MAX_IMAGE_PATH = 4096
"""Maximum length of the path and query of an image's URL."""

IMAGE_TIMEOUT = 5.0
"""Time to fetch an image."""

BODY_TIMEOUT = 30.0
"""Time for a request body to arrive.

Lambda has the whole body before it invokes the function; other servers may not.
"""

MAX_VALUES = 150_000
"""Maximum number of commas, opening brackets and opening braces outside strings in a request body.

They bound the number of JSON values: a value of two bytes takes 80 bytes of memory. The valid
request that has the most of them, a chat of short content parts, has 115,000 in 1 MB.
"""

MAX_WHOLE = 16_000_000
"""Maximum size of a response that is not streamed.

The function buffers it until its end, which takes up to `WHOLE_TIMES` times its size in memory.
"""

WHOLE_TIMES = 4

MAX_KEY = 256
"""Maximum length of a bearer key. Our keys have 59 characters."""

MAX_IDEMPOTENCY_KEY = 255
"""Maximum length of an `Idempotency-Key`, in characters. A UUID has 36."""

MAX_LINE = 4_000_000
"""Maximum size of one record of the model's server."""

READ_SIZE = 16_384
"""Size of one read from a socket: some 85 tokens.

While a larger read is processed, other streams would have to wait.
"""

MAX_HEAD = 131_072
"""Maximum size in bytes of the head of a response. A peer may be any host that serves images."""

READ_BUFFER = 16_384
"""Number of received bytes that are not used yet, above which reading from the peer pauses."""


def whole(memory: int, concurrency: int) -> int:
    """Return the maximum size in bytes of a response that is not streamed.

    `memory` is the environment's memory in bytes, and `concurrency` the number of requests that it
    runs at once. Their responses together take at most half of the memory.
    """
    return min(MAX_WHOLE, memory // 2 // WHOLE_TIMES // concurrency)


def meta_worst() -> float:
    """Return the longest time that one DynamoDB call can take with all its attempts."""
    waits = (
        min(META_BACKOFF * 2.0**number, META_BACKOFF_MAX) for number in range(1, META_MAX_ATTEMPTS)
    )
    return META_TIMEOUT * META_MAX_ATTEMPTS + sum(waits)


def settle_worst() -> float:
    """Return the longest time that the two writes of the settlement can take."""
    return SETTLE_TIMEOUT + 2 * (META_TIMEOUT + META_BACKOFF_MAX)


def check() -> None:
    """Compare the limits with each other.

    Raises:
        ValueError: two limits contradict each other; the message names both.

    """
    rules = [
        (
            HEARTBEAT < CLOUDFRONT_READ_TIMEOUT / 2,
            "HEARTBEAT must be under half of CLOUDFRONT_READ_TIMEOUT",
        ),
        (
            FIRST_EVENT_WAIT < CLOUDFRONT_READ_TIMEOUT / 2,
            "FIRST_EVENT_WAIT must be under half of CLOUDFRONT_READ_TIMEOUT",
        ),
        (
            STREAM_DEADLINE + STREAM_GRACE < SAGEMAKER_STREAM,
            "STREAM_DEADLINE + STREAM_GRACE must be under SAGEMAKER_STREAM",
        ),
        (
            settle_worst() + LAST_BYTES_TIMEOUT + LAST_WRITE_TIMEOUT < SETTLE_RESERVE,
            (
                "SETTLE_RESERVE must be over SETTLE_TIMEOUT and a last attempt of two writes "
                "(META_TIMEOUT)"
            ),
        ),
        (
            CANCEL_TIMEOUT < SETTLE_TIMEOUT,
            "CANCEL_TIMEOUT must be under SETTLE_TIMEOUT, because both begin at once",
        ),
        (
            2 * meta_worst() + FIRST_EVENT_WAIT < CLOUDFRONT_READ_TIMEOUT,
            (
                "CLOUDFRONT_READ_TIMEOUT must be over an admission and a rejection (META_TIMEOUT "
                "* META_MAX_ATTEMPTS)"
            ),
        ),
        (
            2 * meta_worst() + COUNT_TIMEOUT < CLOUDFRONT_READ_TIMEOUT,
            "CLOUDFRONT_READ_TIMEOUT must be over an admission and a count (COUNT_TIMEOUT)",
        ),
        (
            CHECKPOINT < STREAM_DEADLINE < OVERDUE,
            "CHECKPOINT must be under STREAM_DEADLINE, and that under OVERDUE",
        ),
        (
            2 * (LEASE_INTERVAL + META_TIMEOUT) < LEASE,
            "LEASE must be over two renewals (LEASE_INTERVAL + META_TIMEOUT)",
        ),
        (
            LOG_GIVE_UP < LEASE,
            "LOG_GIVE_UP must be under LEASE, so that the producer knows first",
        ),
        (
            LOG_UNACKNOWLEDGED < LIVE_EVENTS,
            "LIVE_EVENTS must be over LOG_UNACKNOWLEDGED",
        ),
        (
            SAGEMAKER_FIRST_BYTE < UPSTREAM_SILENCE,
            "UPSTREAM_SILENCE must be over SAGEMAKER_FIRST_BYTE",
        ),
    ]
    for holds, message in rules:
        if not holds:
            raise ValueError(message)
