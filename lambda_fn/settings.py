"""The settings of the stream function and of the sweeper, read from the environment at start."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from lambda_fn import limits
from lambda_fn.patterns import Kind


class SettingsError(Exception):
    """A setting is missing or invalid.

    The message names the setting, and never contains its value.
    """


MAX_CONTEXT_TOKENS = 16_777_216
"""The largest context of a model, in tokens. No server offers a larger one."""
MAX_PRICE = 1_000_000_000
"""The largest price of a token, in nano-USD: a million USD for a million tokens."""
_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*\Z", max_length=63)]
_Tokens = Annotated[int, Meta(ge=1, le=MAX_CONTEXT_TOKENS)]
_Tags = Annotated[str, Meta(pattern=r"^[<\[][!-~]{1,30}[>\]]( [<\[][!-~]{1,30}[>\]])?\Z")]
_Price = Annotated[int, Meta(ge=0, le=MAX_PRICE)]
_MONEY_DIGITS = 18
MAX_IMAGES = 64
"""The largest value of `max_images`."""
HOST = r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}"
"""The name of a host in lower case, or `*.` and a name. It is not an IP address."""
_Host = Annotated[str, Meta(pattern=rf"^{HOST}\Z", max_length=253)]


class PriceChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices of a model from a moment on, nano-USD a token. They replace all before."""

    since: Annotated[int, Meta(ge=0, le=10**11)]
    """Unix seconds."""
    prompt_price: _Price
    completion_price: _Price
    cached_price: _Price | None = None
    image_price: _Price | None = None
    reasoning_price: _Price | None = None


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public model: its endpoint, its context size and its prices.

    A prompt and its completion may have `context_tokens` together. `default_max_tokens` is the
    limit of a request that names none; None leaves it to the context. Prices are in nano-USD per
    token. A price of 0 is valid; None means that the model has no price.

    A deployment is checked with this schema before it is made, and the function reads it again.
    """

    endpoint: _Name
    context_tokens: _Tokens
    dialect: Literal["sluice", "openai", "vllm", "sglang", "lmi", "lmi-inputs", "tgi"] = "sluice"
    """The dialect that its server speaks; see `lambda_fn.dialects`."""
    component: _Name | None = None
    """The inference component to invoke, on an endpoint that has components."""
    default_max_tokens: _Tokens | None = None
    prompt_price: _Price | None = None
    completion_price: _Price | None = None
    cached_price: _Price | None = None
    """Of a prompt's tokens that the server had cached. None: as all of the prompt's."""
    image_price: _Price | None = None
    """Of the tokens that images may have. None: as all of the prompt's."""
    reasoning_price: _Price | None = None
    """Of a completion's tokens that are reasoning. None: as all of the completion's."""
    price_changes: tuple[PriceChange, ...] = ()
    """Later prices, in the order of their times."""
    reasoning: Literal["shown", "hidden", "none"] = "shown"
    """Whether clients get the model's reasoning. `none` is a model that does not reason."""
    reasoning_tags: _Tags | None = None
    """The tags around reasoning in the content, of a server without a reasoning parser. One tag
    alone is the closing one: the answer begins with reasoning.
    """
    reasoning_budget: bool = True
    """Whether the server takes a maximum of reasoning tokens."""
    embeddings: bool = False
    """Whether the model makes embeddings, on vLLM's server."""
    max_images: Annotated[int, Meta(ge=0, le=MAX_IMAGES)] = 0
    """The maximum number of images in a request. With 0, the model reads no images."""
    image_tokens: _Tokens | None = None
    """The maximum number of tokens that the model's server makes of an image."""
    image_hosts: tuple[_Host, ...] = ()
    """The hosts from which the function fetches images; `*.example.com` for all below a name."""

    @property
    def max_body(self) -> int:
        """The maximum size of a request's body in bytes."""
        return limits.MAX_BODY_WITH_IMAGES if self.max_images else limits.MAX_BODY

    @property
    def priced(self) -> bool:
        """Whether the model has prices, so that cost budgets can count its tokens."""
        return self.prompt_price is not None and self.completion_price is not None

    def prices_at(self, when: float) -> tuple[int, int, int | None, int | None, int | None]:
        """Return the prices of a Unix time: prompt, completion, cached, image, reasoning.

        Without prices, those of prompt and completion are 0.
        """
        prices: Model | PriceChange = self
        for change in self.price_changes:
            if change.since <= when:
                prices = change
        return (
            prices.prompt_price or 0,
            prices.completion_price or 0,
            prices.cached_price,
            prices.image_price,
            prices.reasoning_price,
        )


_SAGEMAKER_NAME = "letters, digits and hyphens, 63 at most, as SageMaker lists it (no ARN, no URL)"
_NANO_USD = (
    f"a whole number of nano-USD a token from 0 to {MAX_PRICE}, which is 1,000 times the price in "
    "USD of a million tokens"
)
FORMS = {
    "endpoint": f"the name of an endpoint in the deployment's region: {_SAGEMAKER_NAME}",
    "context_tokens": f"a whole number from 1 to {MAX_CONTEXT_TOKENS}, without quotes",
    "dialect": "sluice, openai, vllm, sglang, lmi, lmi-inputs or tgi",
    "component": f"the name of an inference component: {_SAGEMAKER_NAME}; or null",
    "default_max_tokens": f"a whole number from 1 to {MAX_CONTEXT_TOKENS}, without quotes; or null",
    "prompt_price": f"{_NANO_USD}; or null",
    "completion_price": f"{_NANO_USD}; or null",
    "cached_price": f"{_NANO_USD}; or null",
    "image_price": f"{_NANO_USD}; or null",
    "reasoning_price": f"{_NANO_USD}; or null",
    "price_changes": "a list of objects with since (Unix seconds), prompt_price, completion_price, "
    "and cached_price, image_price and reasoning_price if they differ, in the order of since",
    "max_images": f"a whole number from 0, which means no images, to {MAX_IMAGES}",
    "image_tokens": f"a whole number from 1 to {MAX_CONTEXT_TOKENS}; or null",
    "image_hosts": 'a list of host names in lower case, such as ["*.example.com"]',
    "reasoning": "shown, hidden or none",
    "reasoning_tags": "two tags with a space between, as <think> </think>, or the closing one alone",
    "reasoning_budget": "true or false",
    "embeddings": "true or false",
}
"""What each member of a `Model` accepts, in words."""
_T = TypeVar("_T")
Persistence = Literal["off", "asked", "all"]
_model = msgspec.json.Decoder(Model)
_UUID1 = re.compile(r"/([0-9a-f]{8})-([0-9a-f]{4})-1([0-9a-f]{3})-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_GREGORIAN = 0x01B21DD213814000  # 1970 in the clock of UUIDs
_raw_models = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLACE = re.compile(r" - at `\$\.(\w+)`")
_MEMBER = re.compile(r"(missing required|contains unknown) field `([^`]*)`")


def read_model(text: str | bytes | msgspec.Raw) -> Model:
    """Return the model that a JSON object describes.

    Raises:
        SettingsError: the message names the member, and what it accepts.

    """
    try:
        model = _model.decode(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(_why(str(error))) from None
    for name in (
        "context_tokens",
        "default_max_tokens",
        "prompt_price",
        "completion_price",
        "cached_price",
        "image_price",
        "reasoning_price",
        "image_tokens",
    ):
        # msgspec compares only numbers of 64 bits.
        if (getattr(model, name) or 0) > max(MAX_CONTEXT_TOKENS, MAX_PRICE):
            raise SettingsError(f"{name}: must be {FORMS[name]}")
    _check_prices(model)
    if model.max_images and model.dialect == "lmi-inputs":
        raise SettingsError("max_images: must be 0 for the dialect lmi-inputs, which has only text")
    return model


def _check_prices(model: Model) -> None:
    named = (model.cached_price, model.image_price, model.reasoning_price)
    if not model.priced and (model.price_changes or any(price is not None for price in named)):
        raise SettingsError("prompt_price and completion_price: other prices need both")
    times = [change.since for change in model.price_changes]
    if times != sorted(set(times)):
        raise SettingsError(f"price_changes: must be {FORMS['price_changes']}, each time once")
    for change in model.price_changes:
        if max(price or 0 for price in msgspec.structs.astuple(change)[1:]) > MAX_PRICE:
            raise SettingsError(f"price_changes: each price must be {_NANO_USD}")


def _why(error: str) -> str:
    """Return msgspec's error in words for the person who deploys, without the value."""
    if (place := _PLACE.search(error)) is not None:
        return f"{place[1]}: must be {FORMS[place[1]]}"
    if (member := _MEMBER.search(error)) is None:
        return "must be a JSON object"
    if member[1].startswith("missing"):
        return f"needs endpoint, context_tokens, and a known dialect; {member[2]} is missing"
    return f"{member[2][:64]}: there is no such member; there are {', '.join(FORMS)}"


class Redaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What no answer of a deployment shows. Keys and requests may add kinds to it.

    `patterns` and `words` are the deployment's own, by name. With `pseudonyms`, a match becomes a
    name that is the same each time, and else a label.
    """

    kinds: tuple[Kind, ...] = ()
    patterns: dict[str, str] = {}  # msgspec makes a new dict for each
    words: dict[str, tuple[str, ...]] = {}
    pseudonyms: bool = False


NO_REDACTION = Redaction()


class Guardrail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A guardrail of Amazon Bedrock that judges prompts and answers.

    With `sync`, text is held until it was judged. With `fail_open`, text goes on that could not be
    judged.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,64}\Z")]
    version: Annotated[str, Meta(pattern=r"^([1-9][0-9]{0,7}|DRAFT)\Z")]
    mode: Literal["sync", "async"] = "sync"
    fail_open: bool = False


class Moderation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What blocks a prompt and ends an answer: patterns and words by category, and a guardrail.

    With the mode `score`, they do so only if the key or the request says so.
    """

    patterns: dict[str, str] = {}  # msgspec makes a new dict for each
    words: dict[str, tuple[str, ...]] = {}
    guardrail: Guardrail | None = None
    mode: Literal["block", "score"] = "block"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is checked."""
        return not self.has_rules and self.guardrail is None

    @property
    def has_rules(self) -> bool:
        """Whether there are patterns or words."""
        return bool(self.patterns or self.words)


NO_MODERATION = Moderation()


class Background(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How responses run in the background.

    `per_key` bounds the unended ones of a key, and `at_once` those of all keys that run. One that
    finds no room waits for it, `wait_hours` at most. With `invoke`, each is run by an invocation of
    its own, of the function's alias `alias`.
    """

    per_key: Annotated[int, Meta(ge=1, le=100)] = 10
    at_once: Annotated[int, Meta(ge=1, le=100_000)] = 5
    wait_hours: Annotated[int, Meta(ge=1, le=168)] = 24
    invoke: bool = False
    alias: str = "live"
    tells: str | None = None
    """The function that tells a webhook how responses end; None without a webhook."""


BACKGROUND = Background()


@dataclass(frozen=True)
class Traces:
    """Where spans go, and of which requests."""

    url: str
    """The address to post OTLP to, with its path."""
    service: str
    """The name of the deployment, which spans have as that of their service."""
    ratio: float = 1.0
    """The share of sampled requests, of those whose caller does not decide it."""
    signed: bool = False
    """Whether requests are signed, for CloudWatch's endpoint."""
    authorization: str = field(default="", repr=False)
    """The collector's header of this name, empty for none."""


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
    cors_origins: tuple[str, ...] = ()
    """The origins whose pages may read responses. `*` is any."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of models: alias -> name."""
    fallbacks: Mapping[str, str] = field(default_factory=dict)
    """The models that answer for others without capacity: model -> model."""
    deployment: str | None = None
    """The dimension of the metrics. None means that no metrics are written."""
    traces: Traces | None = None
    """Where spans of requests go. None means that there are no traces."""
    deployed: int | None = None
    """When the deployment was made, in Unix seconds. None means that it is not known."""
    max_whole: int = limits.MAX_WHOLE
    """The maximum size of a response that is not streamed, in bytes."""
    stream_table: str | None = None
    """StreamTable, which has the logs. None means that nothing is logged."""
    persistence: Persistence = "asked"
    """What is logged: nothing, what asks for it, or every completion."""
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
        region = _required(environment, "AWS_REGION")
        models, unreadable = _models(_required(environment, "SLUICE_MODELS"))
        secrets = (
            _required(environment, "SLUICE_ORIGIN_SECRET"),
            environment.get("SLUICE_ORIGIN_SECRET_PREVIOUS", ""),
        )
        return cls(
            region=region,
            usage_table=_required(environment, "SLUICE_USAGE_TABLE"),
            models=models,
            unreadable=unreadable,
            origin_secrets=tuple(secret for secret in secrets if secret),
            dynamodb_url=_endpoint(environment, region, "DYNAMODB", "dynamodb"),
            sagemaker_url=_endpoint(environment, region, "SAGEMAKER_RUNTIME", "runtime.sagemaker"),
            overdue=_seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
            heartbeat=_seconds(
                environment, "SLUICE_HEARTBEAT_SECONDS", limits.HEARTBEAT, maximum=15
            ),
            meter_open=_flag(environment, "SLUICE_METER_OPEN"),
            strict=_flag(environment, "SLUICE_STRICT"),
            loose_tool_history=_flag(environment, "SLUICE_LOOSE_TOOL_HISTORY"),
            one_connection=_flag(environment, "SLUICE_ONE_CONNECTION"),
            cors_origins=tuple(environment.get("SLUICE_CORS_ORIGINS", "").split()),
            aliases={
                alias: name
                for alias, name in _names(environment, "SLUICE_ALIASES").items()
                if name in models and alias not in models
            },
            fallbacks={
                name: other
                for name, other in _names(environment, "SLUICE_FALLBACKS").items()
                if name in models and other in models
            },
            deployment=(environment.get("SLUICE_DEPLOYMENT") or None)
            if _flag(environment, "SLUICE_METRICS")
            else None,
            traces=_traces(environment, region),
            deployed=made_at(environment.get("SLUICE_STACK", "")),
            redaction=_filter(environment, "SLUICE_REDACTION", Redaction),
            moderation=_filter(environment, "SLUICE_MODERATION", Moderation),
            bedrock_url=_endpoint(environment, region, "BEDROCK_RUNTIME", "bedrock-runtime"),
            background=_filter(environment, "SLUICE_BACKGROUND", Background),
            lambda_url=_endpoint(environment, region, "LAMBDA", "lambda"),
            function=environment.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            max_whole=limits.whole(
                _count(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 512) * 2**20,
                _count(environment, "AWS_LAMBDA_MAX_CONCURRENCY", 1),
            ),
            websocket_url=environment.get("SLUICE_WEBSOCKET_URL", ""),
            socket_function=environment.get("SLUICE_SOCKET_FUNCTION", ""),
            stream_table=environment.get("SLUICE_STREAM_TABLE") or None,
            persistence=_one_of(environment, "SLUICE_PERSISTENCE", Persistence, "asked"),
            log_hours=_count(environment, "SLUICE_LOG_HOURS", 24),
            response_days=_count(environment, "SLUICE_RESPONSE_DAYS", 30),
            on_log_failure=_one_of(
                environment, "SLUICE_ON_LOG_FAILURE", Literal["refuse", "unlogged"], None
            ),
            on_cut=_one_of(environment, "SLUICE_ON_CUT", Literal["fail", "continue"], "fail"),
            store_default=_flag(environment, "SLUICE_STORE_DEFAULT", default=True),
        )


@dataclass(frozen=True)
class SweepSettings:
    """The settings of the sweeper."""

    region: str
    usage_table: str
    deployment: str
    dynamodb_url: str
    overdue: float
    stream_table: str | None = None
    """StreamTable, if responses are logged."""
    ceiling: int | None = None
    """Nano-USD that all requests of a month may cost."""
    topic: str | None = None
    """The ARN of the SNS topic that alerts about budgets go to."""
    sns_url: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SweepSettings":
        """Read the variables `SLUICE_*` and those of AWS. Raises SettingsError."""
        region = _required(environment, "AWS_REGION")
        return cls(
            region=region,
            usage_table=_required(environment, "SLUICE_USAGE_TABLE"),
            deployment=_required(environment, "SLUICE_DEPLOYMENT"),
            dynamodb_url=_endpoint(environment, region, "DYNAMODB", "dynamodb"),
            overdue=_seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
            stream_table=environment.get("SLUICE_STREAM_TABLE") or None,
            ceiling=_nano(environment, "SLUICE_MONTHLY_CEILING"),
            topic=environment.get("SLUICE_ALERT_TOPIC") or None,
            sns_url=_endpoint(environment, region, "SNS", "sns"),
        )


@dataclass(frozen=True)
class KeeperSettings:
    """The settings of the function that keeps background responses going."""

    region: str
    stream_table: str
    dynamodb_url: str
    lambda_url: str
    stream_function: str
    """The stream function's name, a colon, and its alias."""
    deployment: str
    webhook: str | None = None
    """The URL that is told how responses end."""
    webhook_secret: str | None = None
    """The ARN of the secret that signs what it is told."""
    secrets_url: str = ""
    private_webhook: bool = False
    """Whether the URL may be one of this machine, as in the local cloud."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "KeeperSettings":
        """Read the variables `SLUICE_*` and those of AWS. Raises SettingsError."""
        region = _required(environment, "AWS_REGION")
        return cls(
            region=region,
            stream_table=_required(environment, "SLUICE_STREAM_TABLE"),
            dynamodb_url=_endpoint(environment, region, "DYNAMODB", "dynamodb"),
            lambda_url=_endpoint(environment, region, "LAMBDA", "lambda"),
            stream_function=_required(environment, "SLUICE_STREAM_FUNCTION"),
            deployment=_required(environment, "SLUICE_DEPLOYMENT"),
            webhook=environment.get("SLUICE_WEBHOOK") or None,
            webhook_secret=environment.get("SLUICE_WEBHOOK_SECRET") or None,
            secrets_url=_endpoint(environment, region, "SECRETS_MANAGER", "secretsmanager"),
            private_webhook=_flag(environment, "SLUICE_PRIVATE_WEBHOOK"),
        )


def _nano(environment: Mapping[str, str], name: str) -> int | None:
    """Return an amount in nano-USD; None if it is not set. Raises SettingsError."""
    text = environment.get(name, "")
    if text and not (text.isascii() and text.isdecimal() and len(text) <= _MONEY_DIGITS):
        raise SettingsError(f"{name} must be a whole number of nano-USD")
    return int(text) if text else None


def _models(text: str) -> tuple[dict[str, Model], dict[str, str]]:
    """Return the models that can be read, and why others cannot."""
    try:
        raw = _raw_models.decode(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"SLUICE_MODELS: {error}") from None
    models: dict[str, Model] = {}
    unreadable: dict[str, str] = {}
    for name, value in raw.items():
        try:
            models[name] = read_model(value)
        except SettingsError as error:
            unreadable[name] = str(error)
    if not models:
        reasons = "".join(f"; {name}: {reason}" for name, reason in unreadable.items())
        raise SettingsError(f"SLUICE_MODELS names no model that can be served{reasons}")
    return models, unreadable


def _names(environment: Mapping[str, str], name: str) -> dict[str, str]:
    """Return a JSON object of names. Those of models that are not served have no effect."""
    try:
        return msgspec.json.decode(environment.get(name) or "{}", type=dict[str, str])
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name}: {error}") from None


def _filter(environment: Mapping[str, str], name: str, kind: type[_T]) -> _T:
    """Return a policy, such as a filter's. That it cannot be read is no reason to go on without
    it.
    """
    try:
        return msgspec.json.decode(environment.get(name) or "{}", type=kind)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name}: {error}") from None


def _traces(environment: Mapping[str, str], region: str) -> Traces | None:
    """Return where spans go: to CloudWatch's endpoint of the region, or to a collector."""
    url = environment.get("SLUICE_TRACES", "")
    if not url:
        return None
    try:
        ratio = float(environment.get("SLUICE_TRACE_RATIO") or 1)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:  # NaN fails as well
        raise SettingsError("SLUICE_TRACE_RATIO must be a number from 0 to 1")
    signed = url == "cloudwatch"
    if not signed and not url.startswith(("https://", "http://")):
        raise SettingsError("SLUICE_TRACES must be 'cloudwatch' or the URL of a collector")
    return Traces(
        f"{_endpoint(environment, region, 'XRAY', 'xray')}/v1/traces" if signed else url,
        service=environment.get("SLUICE_DEPLOYMENT") or "sluice",
        ratio=ratio,
        signed=signed,
        authorization=environment.get("SLUICE_TRACE_AUTHORIZATION", ""),
    )


def made_at(stack_id: str) -> int | None:
    """Return when a stack was made, in Unix seconds, which its id tells: it ends in a UUID of
    version 1. Return None for any other text.
    """
    found = _UUID1.search(stack_id)
    if found is None:
        return None
    low, middle, high = found.groups()
    return (int(high + middle + low, 16) - _GREGORIAN) // 10_000_000


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _endpoint(environment: Mapping[str, str], region: str, service: str, host: str) -> str:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    override = environment.get(f"AWS_ENDPOINT_URL_{service}") or environment.get("AWS_ENDPOINT_URL")
    return (override or f"https://{host}.{region}.{domain}").rstrip("/")


def _seconds(
    environment: Mapping[str, str], name: str, default: float, *, maximum: int = 86_400
) -> float:
    try:
        seconds = float(environment.get(name) or default)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= maximum:  # NaN fails as well
        raise SettingsError(f"{name} must be a number of seconds, 1 to {maximum}")
    return seconds


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number from 1")
    return int(text)


def _one_of(environment: Mapping[str, str], name: str, choices: Any, default: Any) -> Any:
    """Return one of the texts of a `Literal`."""
    text = environment.get(name, "")
    if text not in {"", *get_args(choices)}:
        raise SettingsError(f"{name} must be one of {', '.join(get_args(choices))}")
    return text or default


def _flag(environment: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    text = environment.get(name, "")
    if not text:
        return default
    if text.lower() in {"0", "false", "no"}:
        return False
    if text.lower() in {"1", "true", "yes"}:
        return True
    raise SettingsError(f"{name} must be true or false")
