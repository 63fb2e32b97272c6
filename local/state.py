"""The desired state of the data planes, as the control plane reports it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Function:
    """A version of a function: what is deployed now ($LATEST), or a published version.

    `arn` ends in the number of a published version. `url` is its address or None; `timeout` is in
    seconds, `memory` in MB. `reserved_concurrency` None means unreserved; all versions share it.
    `log_group` None means /aws/lambda/NAME; `log_format` is Text or JSON. An asynchronous
    invocation is repeated after `event_retries` failures, and its event is kept for `event_age`
    seconds. `event_failure` is the ARN of the function that is told when it failed.
    """

    account: str
    region: str
    name: str
    arn: str
    role: str
    handler: str
    runtime: str
    environment: dict[str, str]
    timeout: int
    memory: int
    reserved_concurrency: int | None
    code_sha256: str
    url: str | None
    invoke_mode: str | None
    auth_type: str | None
    # The function's policy as JSON. It says who may invoke the function.
    policy: str
    log_group: str | None = None
    log_format: str = "Text"
    # X-Ray tracing: Active or PassThrough.
    tracing: str = "PassThrough"
    # Invocations in one environment, as on Managed Instances; None means the local cloud's own
    # setting.
    concurrency: int | None = None
    version: str = "$LATEST"
    event_retries: int = 2
    event_age: int = 21_600
    event_failure: str | None = None

    @property
    def host(self) -> str | None:
        """The host name of the function's URL, or None."""
        return _host(self.url)


@dataclass(frozen=True)
class Alias:
    """A name for one or two versions of a function: `weights` has each version's share, 0 to 1.

    All others are as in Function.
    """

    name: str
    function: str
    arn: str
    weights: dict[str, float]
    url: str | None
    invoke_mode: str | None
    auth_type: str | None
    policy: str
    event_retries: int = 2
    event_age: int = 21_600
    event_failure: str | None = None

    @property
    def host(self) -> str | None:
        """The host name of the alias's URL, or None."""
        return _host(self.url)


def _host(url: str | None) -> str | None:
    return url.removeprefix("https://").rstrip("/") if url else None


@dataclass(frozen=True)
class Variant:
    """A production variant and the container of its model.

    `model_data` is an S3 address or None, `role` an ARN.
    """

    name: str
    image: str
    environment: dict[str, str]
    model_data: str | None
    instances: int
    startup_timeout: int | None
    role: str


@dataclass(frozen=True)
class Endpoint:
    """An endpoint. `config` names its configuration; a changed configuration has another name.

    An inference component is an endpoint too, with its name in `component`. `hosts_components`
    marks an endpoint whose variants have no model.
    """

    account: str
    region: str
    name: str
    config: str
    variants: tuple[Variant, ...]
    component: str = ""
    hosts_components: bool = False

    @property
    def key(self) -> str:
        """The name that identifies the endpoint among all others."""
        return f"{self.name}/{self.component}" if self.component else self.name


@dataclass(frozen=True)
class Distribution:
    """A distribution; `config` is CloudFormation's DistributionConfig."""

    id: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Role:
    """An IAM role: inline and managed policies, permissions boundary and trust policy."""

    arn: str
    policies: tuple[dict[str, Any], ...]
    boundary: dict[str, Any] | None
    trust: dict[str, Any]


@dataclass(frozen=True)
class Schedule:
    """A schedule that invokes the function with the ARN `target`.

    `input` None means the service's own event. `role` is the ARN of the role that Scheduler
    assumes. A rule of EventBridge has none and needs the function's policy.
    """

    arn: str
    expression: str
    enabled: bool
    target: str
    input: str | None
    role: str | None = None


@dataclass(frozen=True)
class State:
    """The whole desired state, at one version.

    `quotas` are values of `local.limits` that the account has now. `policies` are CloudFront's by
    id, and `bucket_policies` are by the bucket's name. `unhandled` is as in the status. `gateways`
    are WebSocket APIs as `local.cloudformation.gateways` keeps them. `custom_requests` are requests
    to the functions of custom resources, as in `moto.exchange`.
    """

    version: int
    functions: tuple[Function, ...]
    endpoints: tuple[Endpoint, ...]
    distributions: tuple[Distribution, ...]
    policies: dict[str, dict[str, Any]]
    unhandled: tuple[dict[str, str], ...]
    roles: tuple[Role, ...]
    bucket_policies: dict[str, Any]
    schedules: tuple[Schedule, ...] = ()
    aliases: tuple[Alias, ...] = ()
    quotas: dict[str, int] = field(default_factory=dict)
    gateways: tuple[dict[str, Any], ...] = ()
    custom_requests: tuple[dict[str, Any], ...] = ()


def parse(content: dict[str, Any]) -> State:
    """Return the state that the control plane's JSON describes."""
    return State(
        version=content["version"],
        quotas=content["quotas"],
        functions=tuple(Function(**item) for item in content["functions"]),
        aliases=tuple(Alias(**item) for item in content["aliases"]),
        endpoints=tuple(
            Endpoint(
                **{**item, "variants": tuple(Variant(**variant) for variant in item["variants"])}
            )
            for item in content["endpoints"]
        ),
        distributions=tuple(Distribution(**item) for item in content["distributions"]),
        gateways=tuple(content["gateways"]),
        policies=content["policies"],
        unhandled=tuple(content["unhandled"]),
        roles=tuple(
            Role(**{**item, "policies": tuple(item["policies"])}) for item in content["roles"]
        ),
        bucket_policies=content["bucket_policies"],
        custom_requests=tuple(content["custom_requests"]),
        schedules=tuple(
            Schedule(**item)
            for item in content["schedules"]
            if item["target"].split(":")[2:3] == ["lambda"]
        ),
    )
