"""Settings of a deployment: the values of three stages, checked when they are created.

The stages `local`, `dev` and `prod` differ only here. The command line changes a setting through
the CDK context (`cdk deploy -c stage=dev -c parallel=8`), which infra.settings.context reads.
"""

import dataclasses
import hashlib
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from infra.limits import LIMITS
from infra.settings import fields, filters, other_models, price_changes
from infra.settings.container import ContainerSettings
from infra.settings.endpoint import EndpointSettings
from infra.settings.fields import SettingsError
from infra.settings.fields import setting as _setting
from lambda_fn.patterns import KINDS

__all__ = ["DEV", "PROD", "Settings", "SettingsError", "local", "of_stage"]

Architecture = Literal["x86_64", "arm64"]
BackgroundRun = Literal["same", "invoke"]
CanaryMinutes = Literal[5, 10, 15, 30]
LogRetention = Literal[1, 7, 14, 30, 90, 365]
OnCut = Literal["fail", "continue"]
OnLogFailure = Literal["refuse", "unlogged"]
Persistence = Literal["off", "asked", "all"]
PriceClass = Literal["100", "200", "all"]
GuardrailMode = Literal["sync", "async"]
ModerateMode = Literal["block", "score"]
RedactAs = Literal["label", "pseudonym"]
Stage = Literal["local", "dev", "prod"]
Wheels = Literal["lambda", "host"]
_MAX_STREAMS = 200
"""The maximum of concurrent streams of one key: `lambda_fn.metering.accounts.MAX_STREAMS`."""
_UNRESERVED_STREAMS = 20
"""The concurrent streams of a new key if no concurrency is reserved."""
_NEW_ACCOUNT = 10
"""The concurrency of a new account."""
_MAX_TAGS = 40
"""AWS's maximum is 50 for a resource; some are CloudFormation's own."""
_CLOCK_SKEW = 60
"""Seconds by which the clocks of two functions may differ."""


@dataclass(frozen=True, kw_only=True)
class Settings(ContainerSettings, EndpointSettings):
    """The settings that can differ between two deployments.

    The bounds are AWS's where there are any (function memory of 128 to 10240 MB, ARN-safe names).
    Elsewhere, a value outside the bounds can only be a mistake.

    Raises:
        SettingsError: a value is outside its bounds.

    """

    stage: Stage
    tags: Mapping[str, str] = _setting(
        default={},
        pattern=r"[\w .:/=+@-]{0,256}",
        form='a JSON object of texts, 256 characters each: {"cost-center": "42"}',
    )
    """More tags of every resource, beside `sluice:deployment`."""
    name: str = _setting(
        pattern=r"[a-z][a-z0-9-]{0,23}", form="lower-case letters, digits and hyphens, 24 at most"
    )
    # The stream function.
    python_version: str = _setting(pattern=r"3\.1[1-9]", form="3.11 or newer")
    architecture: Architecture
    wheels: Wheels
    """`host`: packages are built for this machine, where the local cloud runs them."""
    memory_mb: int = _setting(minimum=128, maximum=10_240)
    reserved_concurrency: int | None = _setting(minimum=1, maximum=100_000)
    canary_minutes: CanaryMinutes | None = _setting(default=None)
    """How long a new version of the stream function gets a tenth of the requests. None: it gets
    all at once.
    """
    default_max_streams: int | None = _setting(default=None, minimum=1, maximum=_MAX_STREAMS)
    """The concurrent streams of a new key that sets no limit."""
    heartbeat_seconds: int = _setting(default=12, minimum=1, maximum=15)
    """The longest silence towards a client."""
    overdue_seconds: int = _setting(minimum=5, maximum=3600)
    """The age in seconds at which the sweeper treats an open request as lost."""
    # The maximum length of an answer in tokens if the request sets none; None leaves it to the
    # context. The prices are in USD per million tokens.
    default_max_tokens: int | None = _setting(default=None, minimum=1, maximum=1_048_576)
    prompt_price: float | None = _setting(default=None, minimum=0, maximum=1_000_000)
    completion_price: float | None = _setting(default=None, minimum=0, maximum=1_000_000)
    cached_price: float | None = _setting(default=None, minimum=0, maximum=1_000_000)
    """Of a prompt's tokens that the server had cached. None: as all of the prompt's."""
    image_price: float | None = _setting(default=None, minimum=0, maximum=1_000_000)
    """Of the tokens that images may have. None: as all of the prompt's."""
    reasoning_price: float | None = _setting(default=None, minimum=0, maximum=1_000_000)
    """Of a completion's tokens that are reasoning. None: as all of the completion's."""
    price_changes: Mapping[str, str] = _setting(
        default={},
        pattern=r"[a-z0-9 .,]{1,200}",
        form='a JSON object of prices by day: {"2027-01-01": "prompt 0.5, completion 1.5"}',
    )
    """Later prices, by the day (UTC) on which they begin. They replace all before."""
    monthly_ceiling: float | None = _setting(default=None, minimum=0.01, maximum=1_000_000_000)
    """USD that the tokens of a month may cost, at the prices of the models. When they are spent,
    requests are refused until the next month.
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
    cors_origins: tuple[str, ...] = _setting(
        default=(),
        pattern=r"\*|[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:\d{1,5})?",
        form="https://app.example.org,http://localhost:3000 or *",
    )
    """The origins whose pages may call the API from a browser. `*`: any."""
    # What no answer shows; keys and requests can add to it.
    redact: tuple[str, ...] = _setting(
        default=(),
        pattern="|".join(KINDS),
        form=f"some of {', '.join(KINDS)}, with commas between them",
    )
    """The kinds of text that are replaced in answers."""
    redact_patterns: Mapping[str, str] = _setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,1000}",
        form='a JSON object of patterns: {"order": "ORD-[0-9]{8}"}',
    )
    """Patterns of the deployment's own, by name."""
    redact_words: Mapping[str, str] = _setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,4000}",
        form='a JSON object of lists of words: {"project": "Falcon, Blue Heron"}',
    )
    """Lists of words of the deployment's own, by name."""
    redact_as: RedactAs = "label"
    """What stands for a match: a label, or a pseudonym that is the same each time."""
    # What blocks prompts and ends answers.
    moderate_patterns: Mapping[str, str] = _setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,1000}",
        form='a JSON object of patterns: {"weapons": "(?i)pipe ?bombs?"}',
    )
    """Patterns of what is not let through, by category."""
    moderate_words: Mapping[str, str] = _setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,4000}",
        form='a JSON object of lists of words: {"weapons": "pipe bomb, nerve agent"}',
    )
    """Lists of words that are not let through, by category."""
    moderate_mode: ModerateMode = "block"
    """Whether what is flagged is blocked, or only told to requests that ask."""
    guardrail: str | None = _setting(
        default=None,
        pattern=r"[a-z0-9]{1,64}:([1-9][0-9]{0,7}|DRAFT)",
        form="the id and the version of a guardrail of Amazon Bedrock, like a1b2c3d4e5f6:1",
    )
    """The guardrail that judges prompts and answers."""
    guardrail_mode: GuardrailMode = "sync"
    """Whether text is held until it was judged, or sent at once and cut."""
    guardrail_open: bool = False
    """Pass on texts that the guardrail did not judge."""
    # Spans of requests.
    traces: str | None = _setting(
        default=None,
        pattern=r"cloudwatch|https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?",
        form="cloudwatch, or the address of a collector: https://otel.example.org/v1/traces",
    )
    """Where spans of requests go, as OTLP over HTTP. None: nothing is traced."""
    trace_ratio: float = _setting(default=1.0, minimum=0, maximum=1)
    """The share of sampled requests, of those whose caller does not decide it."""
    trace_secret: str | None = _setting(
        default=None,
        pattern=r"[A-Za-z0-9/_+=.@-]{1,512}",
        form="the name of a secret in Secrets Manager",
    )
    """The secret whose text is the header `authorization` for the collector."""
    # Answers that are kept, and can be read again, resumed and cancelled.
    persistence: Persistence = _setting(default="asked")
    """Which answers are kept: none, those whose request asks for it, or all. With `off` there is
    neither a table for them nor a function that serves them.
    """
    store_default: bool = True
    """Keep an answer of the Responses API whose request does not say `store`, as OpenAI does."""
    log_hours: int = _setting(default=24, minimum=1, maximum=720)
    """How long the events of an answer can be read again, or resumed."""
    response_days: int = _setting(default=30, minimum=1, maximum=3650)
    """How long a stored answer can be read."""
    on_log_failure: OnLogFailure | None = _setting(default=None)
    """What happens to a request whose answer cannot be kept. None: it is refused if it runs in the
    background or must be durable, else it is answered unlogged.
    """
    background: BackgroundRun = "same"
    """Whether an answer that nobody streams runs in the invocation that asked for it, or in one of
    its own.
    """
    background_per_key: int = _setting(default=10, minimum=1, maximum=100)
    """How many background answers of a key may be unended."""
    background_at_once: int | None = _setting(default=None, minimum=1, maximum=100_000)
    """How many background answers may run at once. None: half of the reserved concurrency."""
    background_wait_hours: int = _setting(default=24, minimum=1, maximum=168)
    """How long a background answer may wait for a model that sleeps or is full."""
    webhook_url: str | None = _setting(
        default=None,
        pattern=r"(https://([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,63}|http://localhost:\d{1,5})"
        r"(/[!-~]*)?",
        form="https://example.org/path; in the local cloud http://localhost:8000/path, too",
    )
    """The URL that is told how background answers end."""
    recall_concurrency: int = _setting(default=100, minimum=1, maximum=100_000)
    """The reserved concurrency of the recall function, in deployments that reserve any."""
    # Sockets, by which a client has several answers at once and cancels any of them.
    websocket: bool = False
    """Make a WebSocket API of API Gateway, and the function that answers its messages."""
    websocket_concurrency: int = _setting(default=100, minimum=1, maximum=100_000)
    """The reserved concurrency of the socket function, in deployments that reserve any."""
    stream_kms_key: str | None = _setting(
        default=None,
        pattern=r"arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+",
        form="a KMS key's ARN",
    )
    """Encrypts the table of kept answers."""
    # Keys, usage, and the alarms' topic.
    admin_url: bool
    """Serve the admin API below /admin/ of the distribution. Without it, only IAM leads to the
    admin API.
    """
    playground: bool
    """Serve the playground, a page for people, at the root of the distribution."""
    audit_days: int = _setting(default=400, minimum=1, maximum=3650)
    """How many days the entries of the audit trail are kept."""
    recovered_alarm: int = _setting(minimum=1, maximum=1_000_000)
    """The number of requests that raises an alarm if one sweep settles them."""
    metrics: bool = True
    """Write the metrics of each request, from which most alarms and the dashboard are made."""
    dashboard: bool = True
    """Make a dashboard of CloudWatch."""
    alarm_traffic: int = _setting(default=20, minimum=1, maximum=1_000_000)
    """The number of requests in a period below which no rate raises an alarm."""
    completion_alarm: float = _setting(default=95.0, minimum=0, maximum=100)
    """The percentage of completed responses in a minute, below which an alarm rises."""
    completion_slo: float = _setting(default=99.0, minimum=0, maximum=99.999)
    """The percentage of responses that are to complete in 30 days; alarms watch how fast the rest
    is used up.
    """
    ttft_alarm_seconds: float = _setting(default=5.0, minimum=0.01, maximum=60)
    """The time to first token whose 95th percentile in a minute raises an alarm."""
    hourly_cost_alarm: float | None = _setting(default=None, minimum=0.01, maximum=1_000_000)
    """USD that the tokens of an hour may cost before an alarm rises. None: no alarm."""
    alarm_topic: str | None = _setting(
        pattern=r"arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+", form="an SNS topic's ARN"
    )
    # Retention.
    usage_table: str | None = _setting(
        default=None, pattern=r"[a-zA-Z0-9_.-]{3,255}", form="the name of a table"
    )
    """The table to use instead of the stack's own: one that `sluice restore` made."""
    retain: bool
    """Tables outlive their stack. Stack and tables are protected from deletion."""
    log_retention_days: LogRetention
    price_class: PriceClass
    # AWS WAF: no web ACL, an existing one, or a new one that limits the requests of each address.
    web_acl: str | None = _setting(
        default=None,
        pattern=r"rate|arn:aws:wafv2:us-east-1:\d{12}:global/webacl/[\w-]{1,128}/[0-9a-f-]{36}",
        form="rate, or the ARN of a web ACL for CloudFront, which is in us-east-1",
    )
    web_acl_rate: int = _setting(default=3000, minimum=10, maximum=2_000_000_000)
    """The limit of one address's requests in 5 minutes."""
    web_acl_admin_rate: int = _setting(default=300, minimum=10, maximum=2_000_000_000)
    """The same limit below /admin/."""
    # A domain in place of the distribution's. Its certificate is created in us-east-1, unless
    # `certificate_arn` names one.
    domain: str | None = _setting(
        default=None,
        pattern=r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}",
        form="a host name like api.example.org",
    )
    certificate_arn: str | None = _setting(
        default=None,
        pattern=r"arn:aws[\w-]*:acm:us-east-1:\d{12}:certificate/[\w-]+",
        form="the ARN of a certificate of ACM in us-east-1",
    )
    hosted_zone: str | None = _setting(
        default=None,
        pattern=r"Z[A-Z0-9]+:[a-z0-9.-]+",
        form="the zone's id and name, like Z0123456789:example.org",
    )
    """The zone for the domain's records, and for the record that proves to ACM that we own the
    domain.
    """

    def __post_init__(self) -> None:
        """Check each field against its choices, bounds and pattern, then against other fields."""
        for field in dataclasses.fields(self):
            fields.check(field, TYPES[field.name], getattr(self, field.name))
        self.check_container(
            instance_type=self.instance_type, network_isolation=self.network_isolation
        )
        self.check_endpoint()
        self._check_domain()
        self._check_models()
        self._check_images()
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise SettingsError(f"cors_origins={','.join(self.cors_origins)}: * is every origin")
        filters.check(self.redact_patterns, self.redact_words)
        filters.check(self.moderate_patterns, self.moderate_words, prefix="moderate", taken=())
        self._check_tags()
        self._check_kept()
        self._check_prices()
        self._check_traces()
        if self.stage == "local" and self.web_acl is not None:
            raise SettingsError(
                f"web_acl={self.web_acl}: the local cloud has no AWS WAF; it is for dev and prod"
            )
        minimum = LIMITS.lambda_timeout + _CLOCK_SKEW
        if self.stage != "local" and self.overdue_seconds < minimum:
            raise SettingsError(
                f"overdue_seconds={self.overdue_seconds}: must be {minimum:g} or more in "
                f"stage {self.stage}: "
                "before that a function may still be at work on the request"
            )

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

    @property
    def keeper_name(self) -> str:
        """The name of the keeper of background answers, which others invoke by it."""
        return f"{self.name}-{self.stage}-background"

    @property
    def socket_name(self) -> str:
        """The name of the function that answers on sockets, which its control function invokes."""
        return f"{self.name}-{self.stage}-socket"

    @property
    def background_runs(self) -> int:
        """The number of background answers that may run at once: at most half of the concurrency.

        Where none is reserved, it is half of what a new account has.
        """
        if self.background_at_once is not None:
            return self.background_at_once
        return max(1, (self.reserved_concurrency or _NEW_ACCOUNT) // 2)

    @property
    def redaction(self) -> dict[str, Any]:
        """What no answer shows, as the stream function reads it. Empty: nothing is replaced."""
        return filters.policy(
            self.redact,
            self.redact_patterns,
            self.redact_words,
            pseudonyms=self.redact_as == "pseudonym",
        )

    @property
    def moderation(self) -> dict[str, Any]:
        """What is not let through, as the stream function reads it. Empty: everything is."""
        return filters.moderation(
            self.moderate_patterns,
            self.moderate_words,
            guardrail=self.guardrail,
            mode=self.guardrail_mode,
            fail_open=self.guardrail_open,
            scores=self.moderate_mode == "score",
        )

    @property
    def unpriced_models(self) -> list[str]:
        """The public names of models that lack a price. Cost budgets do not limit them."""
        own = {"prompt_price": self.prompt_price, "completion_price": self.completion_price}
        models = {self.model_name: own, **self.others}
        return [
            name
            for name, it in models.items()
            if None in (it.get("prompt_price"), it.get("completion_price"))
        ]

    @property
    def certificate_stack(self) -> str | None:
        """The name of the stack that makes the domain's certificate, or None.

        A new domain gets a new stack, so its certificate exists before the service stops using the
        old one. The old stack can be deleted then.
        """
        if self.domain is None or self.certificate_arn is not None:
            return None
        return f"{self.name}-{self.stage}-certificate-{hashlib.sha256(self.domain.encode()).hexdigest()[:8]}"

    @property
    def web_acl_stack(self) -> str | None:
        """The name of the stack that makes the web ACL, or None."""
        return f"{self.name}-{self.stage}-web-acl" if self.web_acl == "rate" else None

    @property
    def edge_stacks(self) -> tuple[str, ...]:
        """The names of the stacks that must be in us-east-1."""
        return tuple(
            name for name in (self.certificate_stack, self.web_acl_stack) if name is not None
        )

    def _check_tags(self) -> None:
        for key in self.tags:
            if not re.fullmatch(r"[\w .:/=+@-]{1,128}", key) or key.lower().startswith("aws:"):
                raise SettingsError(
                    f"tags: {key[:140]!r} is not a name of a tag: it has 1 to 128 letters, digits, "
                    "blanks and . : / = + @ - _, and does not begin with aws:"
                )
        if "sluice:deployment" in self.tags or len(self.tags) > _MAX_TAGS:
            raise SettingsError(
                f"tags: at most {_MAX_TAGS}, and not sluice:deployment, which every resource has"
            )

    def _check_kept(self) -> None:
        if self.log_hours > 24 * self.response_days:
            raise SettingsError(
                f"log_hours={self.log_hours}: must not be longer than "
                f"response_days={self.response_days}, in which the answer itself can be read"
            )
        if self.persistence == "off" and self.stream_kms_key is not None:
            raise SettingsError("stream_kms_key: has no effect with persistence=off")
        if self.persistence == "off" and self.websocket:
            raise SettingsError(
                "websocket: needs persistence=asked or all, because the messages of a socket reach "
                "different functions, which find its responses in the table of kept answers"
            )
        if self.webhook_url is not None:
            if self.persistence == "off":
                raise SettingsError("webhook_url: has no effect with persistence=off")
            if self.stage != "local" and not self.webhook_url.startswith("https:"):
                raise SettingsError(
                    f"webhook_url={self.webhook_url}: must be https, unless in the local cloud"
                )
        half = (self.reserved_concurrency or 0) // 2
        if half and self.background_at_once is not None and self.background_at_once > half:
            raise SettingsError(
                f"background_at_once={self.background_at_once}: must be at most {half}, half of "
                f"reserved_concurrency={self.reserved_concurrency}, so that other requests can run"
            )

    def _check_prices(self) -> None:
        if self.prompt_price is not None and self.completion_price is not None:
            price_changes.changes(self.price_changes)
            return
        named = ("cached_price", "image_price", "reasoning_price", "price_changes")
        for name in named:
            if getattr(self, name) not in (None, {}):
                raise SettingsError(f"{name}: needs prompt_price and completion_price")

    def _check_traces(self) -> None:
        if self.trace_secret is not None and self.traces in (None, "cloudwatch"):
            raise SettingsError(
                f"trace_secret={self.trace_secret}: has an effect only if traces is the address of "
                "a collector"
            )
        if self.traces is not None and self.traces.startswith("http:") and self.stage != "local":
            raise SettingsError(
                f"traces={self.traces}: spans go over https; http is for the stage local"
            )

    def _check_models(self) -> None:
        endpoint = self.endpoint_name or f"{self.name}-{self.stage}"
        other_models.check_beside(
            self.other_models,
            own=self.model_name,
            endpoint=endpoint,
            component=f"{endpoint}-model" if self.scale_to_zero else None,
            dialect=self.model_dialect,
        )

    def _check_images(self) -> None:
        """Refuse images where no model could read them, and their settings without them."""
        if not self.max_images:
            if self.image_hosts or self.image_tokens is not None:
                raise SettingsError(
                    "image_hosts and image_tokens: have an effect with max_images from 1 only"
                )
            return
        if self.model_dialect == "lmi-inputs":
            raise SettingsError(
                f"max_images={self.max_images}: the dialect lmi-inputs has only text"
            )
        if self.container == "sluice" and self.endpoint_name is None and self.engine != "vllm":
            raise SettingsError(
                f"max_images={self.max_images}: engine={self.engine} reads no images; engine=vllm "
                "does, with a model that can"
            )

    def _check_domain(self) -> None:
        if self.domain is None:
            if self.certificate_arn or self.hosted_zone:
                raise SettingsError(
                    "certificate_arn and hosted_zone: have an effect with domain only"
                )
            return
        if self.hosted_zone is None:
            if self.certificate_arn is None:
                raise SettingsError(
                    f"domain={self.domain}: needs hosted_zone, with which its certificate is "
                    "made, or the "
                    "certificate_arn of one that exists"
                )
            return
        zone = self.hosted_zone.partition(":")[2].rstrip(".")
        if not f".{self.domain}".endswith(f".{zone}"):
            raise SettingsError(f"domain={self.domain}: is not in the zone {zone} of hosted_zone")

    def replace(self, **changes: object) -> "Settings":
        """Return a copy of the settings with `changes`, checked."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]  # __post_init__ checks them


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
TYPES: dict[str, Any] = get_type_hints(Settings)


def accepted(name: str) -> str:
    """Return a description of the values that a setting accepts."""
    return fields.accepted(FIELDS[name], TYPES[name])


DEV = Settings(
    stage="dev",
    name="sluice",
    image_uri=None,
    weights="demo_model/weights/sluice-demo.gguf",
    engine="llama_cpp",
    model_name="sluice-demo",
    context_tokens=4096,
    parallel=16,
    tokens_per_second=0.0,
    instance_type="ml.c5.large",  # the cheapest with AVX-512: about 0.10 USD an hour
    instance_count=1,
    startup_seconds=300,
    python_version="3.14",
    architecture="arm64",
    wheels="lambda",
    memory_mb=512,
    overdue_seconds=600,
    reserved_concurrency=None,  # a new account has 10 and may reserve none of them
    admin_url=True,
    playground=True,
    recovered_alarm=1,
    alarm_topic=None,
    retain=False,
    log_retention_days=7,
    price_class="100",
)

PROD = DEV.replace(
    stage="prod",
    instance_count=2,  # SageMaker places them in two zones
    canary_minutes=5,
    playground=False,  # an API needs no page
    reserved_concurrency=200,  # limits what a flood of requests can cost
    retain=True,
    log_retention_days=90,
    price_class="all",
)


def host_python_version() -> str:
    """Return the minor version of the running interpreter, like `3.13`."""
    return f"3.{sys.version_info.minor}"


def host_architecture() -> Architecture:
    """Return this machine's architecture, by Lambda's name for it."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def local() -> Settings:
    """Return the settings of the stage `local`.

    No image is built, and functions run on this machine's Python. Answers have a pace of 40
    tokens/s, so that a person can watch the demo model stream.
    """
    return DEV.replace(
        stage="local",
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/sluice-model:local",
        tokens_per_second=40.0,
        python_version=host_python_version(),
        architecture=host_architecture(),
        wheels="host",
        reserved_concurrency=256,
        recall_concurrency=32,
        websocket_concurrency=64,
        default_max_streams=200,
    )


def of_stage(stage: str) -> Settings:
    """Return the settings of a stage by its name.

    Raises:
        SettingsError: there is no such stage.

    """
    if stage == "local":
        return local()
    for settings in (DEV, PROD):
        if settings.stage == stage:
            return settings
    raise SettingsError(f"stage={stage}: must be {accepted('stage')}")
