"""The services' limits that the local cloud enforces: one table, each row with its source.

A row without a value is a limit that the deployed stack sets itself. Times can be scaled: with
`Limits(480)` eight minutes take a second. Times that the deployed code measures itself are not
scaled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

CONTROL_LIMITS = "SLUICE_LOCAL_LIMITS"
"""The variable by which the control plane gets replaced values, as JSON."""
_LAMBDA = "Lambda developer guide"
_EDGE = "CloudFront developer guide"
_SOCKETS = "API Gateway developer guide"


@dataclass(frozen=True)
class Limit:
    """A limit: its `value` in `unit`, what happens over it, and where that is documented.

    `value` None means that the stack sets it.
    """

    value: float | None
    unit: str
    over: str
    source: str


TABLE: dict[str, Limit] = {
    "sagemaker_body": Limit(
        6_291_456, "bytes", "413", "botocore's model: BodyBlob; the error's name and words are unconfirmed"
    ),
    "sagemaker_first_byte": Limit(
        60,
        "s",
        "424 ModelError, OriginalStatusCode 0",
        "API reference, InvokeEndpoint; the message: aws/sagemaker-python-sdk#1119",
    ),
    "sagemaker_total": Limit(
        480,
        "s",
        "ModelStreamError, ModelInvocationTimeExceeded, then the stream ends",
        ("SageMaker developer guide; botocore's model: ModelStreamError; the message: a question on AWS re:Post"),
    ),
    "sagemaker_environment_key": Limit(
        1024, "characters", "ValidationException at CreateModel", "botocore's model: EnvironmentKey"
    ),
    "sagemaker_environment_value": Limit(
        1024,
        "characters",
        "ValidationException at CreateModel",
        ("botocore's model: EnvironmentValue; the message: aws/sagemaker-sparkml-serving-container#12"),
    ),
    "sagemaker_environment_entries": Limit(
        100, "entries", "ValidationException at CreateModel", "botocore's model: EnvironmentMap"
    ),
    "sagemaker_endpoint_instances": Limit(
        4,
        "instances of one CPU type; none with a GPU",
        "ResourceLimitExceeded at CreateEndpoint",
        "our choice: accounts differ, and new ones may have 0; the error: botocore's model; its words are unconfirmed",
    ),
    "lambda_request": Limit(6_291_456, "bytes", "413", f"{_LAMBDA}, Lambda quotas"),
    "lambda_event": Limit(1_048_576, "bytes", "413", f"{_LAMBDA}, Lambda quotas: asynchronous invocations"),
    "lambda_buffered_response": Limit(
        6_291_456, "bytes", "502, Function.ResponseSizeTooLarge", f"{_LAMBDA}, Lambda quotas"
    ),
    "lambda_streamed_response": Limit(
        209_715_200,
        "bytes",
        "the connection is cut (unconfirmed)",
        f"{_LAMBDA}, Response streaming: 200 MB; counted in binary, as the 6 MB are",
    ),
    "lambda_stream_burst": Limit(
        6_291_456, "bytes", "then lambda_stream_rate", f"{_LAMBDA}, Bandwidth limits for response streaming"
    ),
    "lambda_stream_rate": Limit(
        2_097_152, "bytes/s", "the response waits", f"{_LAMBDA}, Bandwidth limits for response streaming"
    ),
    "lambda_timeout": Limit(
        None,
        "s",
        "frozen, then killed: 502, or a cut connection",
        f"{_LAMBDA}, Configure function timeout; the 502 is unconfirmed",
    ),
    "lambda_memory": Limit(
        None,
        "MB",
        "killed: 502, or a cut connection",
        f"{_LAMBDA}, Troubleshoot: Runtime exited with error: signal: killed",
    ),
    "lambda_reserved_concurrency": Limit(None, "invocations", "429", f"{_LAMBDA}, Configuring reserved concurrency"),
    "lambda_account_concurrency": Limit(1000, "invocations", "429", f"{_LAMBDA}, Lambda quotas"),
    "lambda_unreserved": Limit(
        100,
        "invocations",
        "InvalidParameterValueException when more is reserved",
        f"{_LAMBDA}, Configuring reserved concurrency; the message: moto",
    ),
    "lambda_init": Limit(
        10,
        "s",
        "started again, in the function's own time",
        f"{_LAMBDA}, Lambda execution environment lifecycle",
    ),
    "lambda_environment": Limit(
        4096,
        "bytes of JSON",
        "InvalidParameterValueException",
        f"{_LAMBDA}, Lambda quotas; the message: github-aws-runners/terraform-aws-github-runner#3594",
    ),
    "codedeploy_minute": Limit(
        60, "s", "the rest of a canary's invocations follows", "CodeDeploy user guide, Deployment configurations"
    ),
    "cloudfront_read": Limit(None, "s to the first byte", "504", f"{_EDGE}, Origin response timeout"),
    "cloudfront_gap": Limit(None, "s between packets", "a cut connection", f"{_EDGE}, Origin response timeout"),
    "cloudfront_read_most": Limit(
        120, "s", "InvalidOriginReadTimeout", f"{_EDGE}, Quotas; the message: botocore's model"
    ),
    "cloudfront_methods": Limit(None, "methods", "403", f"{_EDGE}, HTTP 403 status code (Invalid method)"),
    "cloudfront_url": Limit(
        8192, "bytes", "413, connection closed", f"{_EDGE}, Maximum length of a request and maximum length of a URL"
    ),
    "cloudfront_request": Limit(
        20_480,
        "bytes, body excluded",
        "413, connection closed",
        f"{_EDGE}, Maximum length of a request and maximum length of a URL",
    ),
    "cloudfront_get_body": Limit(
        0, "bytes", "403", f"{_EDGE}, GET requests that include a body"
    ),
    "request_body": Limit(
        60, "s until a body has come whole", "408, connection closed", "unconfirmed: our choice; AWS documents none"
    ),
    "cloudfront_response_headers": Limit(
        20_480, "bytes", "502", f"{_EDGE}, Quotas: maximum length of an origin response; the 502 is unconfirmed"
    ),
    "cloudfront_custom_headers": Limit(30, "headers an origin", "refused at deployment", f"{_EDGE}, Quotas on headers"),
    "cloudfront_header_name": Limit(256, "characters", "refused at deployment", f"{_EDGE}, Quotas on headers"),
    "cloudfront_header_value": Limit(1783, "characters", "refused at deployment", f"{_EDGE}, Quotas on headers"),
    "apigateway_frame": Limit(
        32_768, "bytes a frame", "the connection is closed with 1009", f"{_SOCKETS}, WebSocket quotas"
    ),
    "apigateway_message": Limit(
        131_072, "bytes a message", "closed with 1009; a post is a 413", f"{_SOCKETS}, WebSocket quotas"
    ),
    "apigateway_connects": Limit(
        500, "new connections/s", "429 to the handshake", f"{_SOCKETS}, WebSocket quotas; the 429 is unconfirmed"
    ),
    "apigateway_rate": Limit(
        10_000,
        "requests/s",
        "429 to a post, `Too Many Requests` to a client",
        f"{_SOCKETS}, account-level throttling: shared by handshakes, messages and posts",
    ),
    "apigateway_burst": Limit(
        5_000, "requests at once", "then apigateway_rate", f"{_SOCKETS}, account-level throttling"
    ),
    "apigateway_idle": Limit(
        600, "s without a frame or post", "the connection is closed with 1001", f"{_SOCKETS}, WebSocket quotas"
    ),
    "apigateway_connection": Limit(
        7_200, "s of a connection", "the connection is closed with 1001", f"{_SOCKETS}, WebSocket quotas"
    ),
    "apigateway_integration": Limit(
        29, "s", "504 to the handshake, `Endpoint request timed out` to a client", f"{_SOCKETS}, WebSocket quotas"
    ),
    "idle_connection": Limit(
        20, "s", "an AWS API closes the connection", "unconfirmed: our choice, because each service has its own time"
    ),
}  # fmt: skip


class Limits:
    """The table at one time scale."""

    def __init__(self, time_scale: float = 1.0) -> None:
        """`time_scale` is the number of seconds of AWS that pass in one second here."""
        self.time_scale = time_scale

    def real(self, seconds: float) -> float:
        """Return the seconds here in which `seconds` of AWS pass."""
        return seconds / self.time_scale

    def seconds(self, name: str) -> float:
        """Return the time of a row, in seconds here."""
        return self.real(value(name))

    def rate(self, name: str) -> float:
        """Return the rate of a row, in units per second here."""
        return value(name) * self.time_scale


def override(values: Mapping[str, float]) -> None:
    """Replace values in this process: another account has other quotas.

    Raises KeyError for a row that does not exist.
    """
    for name, number in values.items():
        TABLE[name] = replace(TABLE[name], value=number)


def value(name: str) -> int:
    """Return the value of a row, in the row's unit. The row must have one."""
    number = TABLE[name].value
    assert number is not None  # noqa: S101 - callers ask for rows of AWS's own
    return int(number)
