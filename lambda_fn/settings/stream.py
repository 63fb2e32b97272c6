"""The settings of the functions that answer requests, read from the environment at start."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from lambda_fn import limits
from lambda_fn.settings import variables
from lambda_fn.settings.models import Model, read_models
from lambda_fn.settings.policies import (
    BACKGROUND,
    NO_MODERATION,
    NO_REDACTION,
    Background,
    Moderation,
    Redaction,
)

if TYPE_CHECKING:
    from lambda_fn.settings.traces import Traces

EventLoop = Literal["asyncio", "uvloop"]
Persistence = Literal["off", "asked", "all"]
_UUID1 = re.compile(r"/([0-9a-f]{8})-([0-9a-f]{4})-1([0-9a-f]{3})-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_GREGORIAN = 0x01B21DD213814000  # 1970 in the clock of UUIDs


@dataclass(frozen=True)
class Settings:
    """The settings of the stream function."""

    region: str
    usage_table: str
    models: Mapping[str, Model]
    origin_secrets: tuple[str, ...]
    """The current secret and, while it is rotated, the previous one. No empty strings."""
    dynamodb_url: str
    sagemaker_url: str
    overdue: float = limits.OVERDUE
    """Seconds after which a request's function has certainly ended."""
    heartbeat: float | None = None
    """The longest silence towards a client in seconds, at most 15. None means `limits.HEARTBEAT`.
    """
    meter_open: bool = False
    """Whether recently admitted keys are served while the meter is unavailable."""
    strict: bool = False
    """Whether requests that OpenAI refuses are refused, although servers take them."""
    loose_tool_history: bool = False
    """Whether conversations may have tool calls without results, and results without calls."""
    one_connection: bool = False
    """Whether a response is sent on the connection by which its invocation came."""
    event_loop: EventLoop = "asyncio"
    """The event loop of the process, which `stream.process` chooses before all else."""
    cors_origins: tuple[str, ...] = ()
    """The origins whose pages may read responses. `*` is any."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of models: alias -> name."""
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    """The models that answer for others without capacity: model -> model."""
    deployment: str | None = None
    """The dimension of the metrics. None means that no metrics are written."""
    traces: "Traces | None" = None
    """Where spans of requests go. None means that there are no traces."""
    deployed: int | None = None
    """When the deployment was made, in Unix seconds. None means that it is not known."""
    max_whole: int = limits.MAX_WHOLE
    """The maximum size of a response that is not streamed, in bytes."""
    stream_table: str | None = None
    """StreamTable, which has the logs. None means that nothing is logged."""
    persistence: Persistence = "asked"
    """What is logged: nothing, what asks for it, or every completion."""
    recall_per_key: int = 50
    """How many running responses a key may follow at once, also by repeats."""
    log_hours: int = 24
    """Hours after which a log does not exist any more."""
    response_days: int = 30
    """Days after which a stored response does not exist any more."""
    on_log_failure: Literal["refuse", "unlogged"] | None = None
    """Whether a request whose log cannot be opened is refused, or answered without a log. None
    means that it is refused if it asks for `durable`.
    """
    on_cut: Literal["fail", "continue"] = "fail"
    """What happens to a response whose container ends before it, if its request does not say."""
    store_default: bool = True
    """Whether a request of the Responses API that does not say so is stored."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """The models that cannot be served, because their settings cannot be read: name -> reason."""
    redaction: Redaction = NO_REDACTION
    """What no answer shows."""
    moderation: Moderation = NO_MODERATION
    """What blocks prompts and answers."""
    bedrock_url: str = ""
    websocket_url: str = ""
    """The address of the WebSocket API's stage, such as `wss://….com/responses`. Empty: none."""
    socket_function: str = ""
    """The function that answers on sockets, as its control function invokes it: `name:alias`."""
    background: Background = BACKGROUND
    """How responses run in the background."""
    lambda_url: str = ""
    function: str = ""
    """The name of this function."""
    _fingerprints: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def max_body(self) -> int:
        """The maximum size of a body in bytes, over all models."""
        return max(model.max_body for model in self.models.values())

    def name_of(self, model: str) -> str:
        """Return a model's own name, for its name or an alias of it."""
        return self.aliases.get(model, model)

    def fingerprint(self, model: str) -> str:
        """Return a name for the configuration that a model runs with.

        It changes when the configuration does.
        """
        fingerprint = self._fingerprints.get(model)
        if fingerprint is None:
            configuration = msgspec.json.encode([model, self.models[model]])
            fingerprint = f"fp_{hashlib.sha256(configuration).hexdigest()[:10]}"
            self._fingerprints[model] = fingerprint
        return fingerprint

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables `SLUICE_*` and those of AWS.

        A model whose settings cannot be read is left out, and is in `unreadable`.

        Raises:
            SettingsError: a setting is missing or invalid, or no model can be read.

        """
        models, unreadable = read_models(variables.required(environment, "SLUICE_MODELS"))
        secrets = (
            variables.required(environment, "SLUICE_ORIGIN_SECRET"),
            environment.get("SLUICE_ORIGIN_SECRET_PREVIOUS", ""),
        )
        return cls(
            region=variables.required(environment, "AWS_REGION"),
            usage_table=variables.required(environment, "SLUICE_USAGE_TABLE"),
            models=models,
            unreadable=unreadable,
            origin_secrets=tuple(secret for secret in secrets if secret),
            dynamodb_url=variables.service_url(environment, "DYNAMODB", "dynamodb"),
            sagemaker_url=variables.service_url(
                environment, "SAGEMAKER_RUNTIME", "runtime.sagemaker"
            ),
            overdue=variables.seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
            heartbeat=variables.seconds(
                environment, "SLUICE_HEARTBEAT_SECONDS", limits.HEARTBEAT, maximum=15
            ),
            meter_open=variables.flag(environment, "SLUICE_METER_OPEN"),
            strict=variables.flag(environment, "SLUICE_STRICT"),
            loose_tool_history=variables.flag(environment, "SLUICE_LOOSE_TOOL_HISTORY"),
            one_connection=variables.flag(environment, "SLUICE_ONE_CONNECTION"),
            event_loop=variables.one_of(environment, "SLUICE_EVENT_LOOP", EventLoop, "asyncio"),
            cors_origins=tuple(environment.get("SLUICE_CORS_ORIGINS", "").split()),
            aliases={
                alias: name
                for alias, name in variables.json_value(
                    environment, "SLUICE_ALIASES", dict[str, str]
                ).items()
                if name in models and alias not in models
            },
            fallbacks={
                name: other
                for name, other in variables.json_value(
                    environment, "SLUICE_FALLBACKS", dict[str, str]
                ).items()
                if name in models and other in models
            },
            deployment=(environment.get("SLUICE_DEPLOYMENT") or None)
            if variables.flag(environment, "SLUICE_METRICS")
            else None,
            traces=_traces(environment),
            deployed=made_at(environment.get("SLUICE_STACK", "")),
            redaction=variables.json_value(environment, "SLUICE_REDACTION", Redaction),
            moderation=variables.json_value(environment, "SLUICE_MODERATION", Moderation),
            bedrock_url=variables.service_url(environment, "BEDROCK_RUNTIME", "bedrock-runtime"),
            background=variables.json_value(environment, "SLUICE_BACKGROUND", Background),
            lambda_url=variables.service_url(environment, "LAMBDA", "lambda"),
            function=environment.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            max_whole=limits.whole(
                variables.count(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 512) * 2**20,
                variables.count(environment, "AWS_LAMBDA_MAX_CONCURRENCY", 1),
            ),
            websocket_url=environment.get("SLUICE_WEBSOCKET_URL", ""),
            socket_function=environment.get("SLUICE_SOCKET_FUNCTION", ""),
            stream_table=environment.get("SLUICE_STREAM_TABLE") or None,
            persistence=variables.one_of(environment, "SLUICE_PERSISTENCE", Persistence, "asked"),
            recall_per_key=variables.count(environment, "SLUICE_RECALL_PER_KEY", 50),
            log_hours=variables.count(environment, "SLUICE_LOG_HOURS", 24),
            response_days=variables.count(environment, "SLUICE_RESPONSE_DAYS", 30),
            on_log_failure=variables.one_of(
                environment, "SLUICE_ON_LOG_FAILURE", Literal["refuse", "unlogged"], None
            ),
            on_cut=variables.one_of(
                environment, "SLUICE_ON_CUT", Literal["fail", "continue"], "fail"
            ),
            store_default=variables.flag(environment, "SLUICE_STORE_DEFAULT", default=True),
        )


def _traces(environment: Mapping[str, str]) -> "Traces | None":
    if not environment.get("SLUICE_TRACES"):
        return None
    from lambda_fn.settings.traces import read_traces  # most functions have no traces

    return read_traces(environment)


def made_at(stack_id: str) -> int | None:
    """Return when a stack was made, in Unix seconds, which its id tells: it ends in a UUID of
    version 1. Return None for any other text.
    """
    found = _UUID1.search(stack_id)
    if found is None:
        return None
    low, middle, high = found.groups()
    return (int(high + middle + low, 16) - _GREGORIAN) // 10_000_000
