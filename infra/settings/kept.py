"""Settings of responses that are kept: logged, stored, resumed, in the background, on sockets."""

from dataclasses import dataclass
from typing import Literal

from infra.settings.fields import SettingsError, setting

BackgroundRun = Literal["same", "invoke"]
OnLogFailure = Literal["refuse", "unlogged"]
Persistence = Literal["off", "asked", "all"]


@dataclass(frozen=True, kw_only=True)
class KeptSettings:
    """Answers that are kept, and can be read again, resumed and cancelled."""

    persistence: Persistence = setting(default="asked")
    """Which answers are kept: none, those whose request asks for it, or all. With `off` there is
    neither a table for them nor a function that serves them.
    """
    store_default: bool = True
    """Keep an answer of the Responses API whose request does not say `store`, as OpenAI does."""
    log_hours: int = setting(default=24, minimum=1, maximum=720)
    """How long the events of an answer can be read again, or resumed."""
    response_days: int = setting(default=30, minimum=1, maximum=3650)
    """How long a stored answer can be read."""
    on_log_failure: OnLogFailure | None = setting(default=None)
    """What happens to a request whose answer cannot be kept. None: it is refused if it runs in the
    background or must be durable, else it is answered unlogged.
    """
    background: BackgroundRun = "same"
    """Whether an answer that nobody streams runs in the invocation that asked for it, or in one of
    its own.
    """
    background_per_key: int = setting(default=10, minimum=1, maximum=100)
    """How many background answers of a key may be unended."""
    background_at_once: int | None = setting(default=None, minimum=1, maximum=100_000)
    """How many background answers may run at once. None: half of the reserved concurrency."""
    background_wait_hours: int = setting(default=24, minimum=1, maximum=168)
    """How long a background answer may wait for a model that sleeps or is full."""
    webhook_url: str | None = setting(
        default=None,
        pattern=r"(https://([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,63}|http://localhost:\d{1,5})"
        r"(/[!-~]*)?",
        form="https://example.org/path; in the local cloud http://localhost:8000/path, too",
    )
    """The URL that is told how background answers end."""
    recall_concurrency: int = setting(default=100, minimum=1, maximum=100_000)
    """The reserved concurrency of the recall function, in deployments that reserve any."""
    recall_per_key: int | None = setting(default=None, minimum=1, maximum=1000)
    """How many running answers a key may follow at once. None: half of `recall_concurrency`, and
    50 at most.
    """
    # Sockets, by which a client has several answers at once and cancels any of them.
    websocket: bool = False
    """Make a WebSocket API of API Gateway, and the function that answers its messages."""
    websocket_concurrency: int = setting(default=100, minimum=1, maximum=100_000)
    """The reserved concurrency of the socket function, in deployments that reserve any."""
    stream_kms_key: str | None = setting(
        default=None,
        pattern=r"arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+",
        form="a KMS key's ARN",
    )
    """Encrypts the table of kept answers."""

    def check_kept(self, *, local: bool) -> None:
        """Raise SettingsError for the first settings that contradict each other."""
        if self.persistence == "off" and self.websocket:
            raise SettingsError(
                "websocket: needs persistence=asked or all, because the messages of a socket reach "
                "different functions, which find its responses in the table of kept answers"
            )
        if self.webhook_url is not None and not local and not self.webhook_url.startswith("https:"):
            raise SettingsError(
                f"webhook_url={self.webhook_url}: must be https, unless in the local cloud"
            )
