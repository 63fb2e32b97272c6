"""Settings of the functions that answer requests: their process, their limits, what they accept."""

from dataclasses import dataclass
from typing import Literal

from infra.settings.fields import setting

Architecture = Literal["x86_64", "arm64"]
EventLoop = Literal["asyncio", "uvloop"]
CanaryMinutes = Literal[5, 10, 15, 30]
OnCut = Literal["fail", "continue"]
Wheels = Literal["lambda", "host"]
_MAX_STREAMS = 200
"""The maximum of concurrent streams of one key: `lambda_fn.metering.accounts.MAX_STREAMS`."""
_UNRESERVED_STREAMS = 20
"""The concurrent streams of a new key if no concurrency is reserved."""


@dataclass(frozen=True, kw_only=True)
class FunctionSettings:
    """The functions of the public API."""

    python_version: str = setting(pattern=r"3\.1[1-9]", form="3.11 or newer")
    architecture: Architecture
    wheels: Wheels
    """`host`: packages are built for this machine, where the local cloud runs them."""
    memory_mb: int = setting(minimum=128, maximum=10_240)
    reserved_concurrency: int | None = setting(minimum=1, maximum=100_000)
    canary_minutes: CanaryMinutes | None = setting(default=None)
    """How long a new version of the stream function gets a tenth of the requests. None: it gets
    all at once.
    """
    default_max_streams: int | None = setting(default=None, minimum=1, maximum=_MAX_STREAMS)
    """The concurrent streams of a new key that sets no limit."""
    heartbeat_seconds: int = setting(default=12, minimum=1, maximum=15)
    """The longest silence towards a client."""
    overdue_seconds: int = setting(minimum=5, maximum=3600)
    """The age in seconds at which the sweeper treats an open request as lost."""
    default_max_tokens: int | None = setting(default=None, minimum=1, maximum=1_048_576)
    """The maximum length of an answer in tokens if the request sets none. None leaves it to the
    context.
    """
    meter_open: bool = False
    """Fail-open metering: serve recently used keys while DynamoDB does not answer."""
    strict: bool = False
    """Refuse what OpenAI refuses, although servers take it."""
    loose_tool_history: bool = False
    """Accept tool calls without results, and results without calls."""
    on_cut: OnCut = "fail"
    """What happens to an answer whose container ends before it, if its request does not say."""
    one_connection: bool = False
    """Send each response on the connection by which its invocation came."""
    event_loop: EventLoop = "asyncio"
    """The event loop of the functions that answer requests. uvloop is put into their package."""

    @property
    def new_key_streams(self) -> int:
        """The concurrent streams of a new key that sets no limit.

        It is a tenth of the reserved concurrency, so that no key can use all of it.
        """
        if self.default_max_streams is not None:
            return self.default_max_streams
        if self.reserved_concurrency is None:
            return _UNRESERVED_STREAMS
        return min(max(4, self.reserved_concurrency // 10), _MAX_STREAMS)
