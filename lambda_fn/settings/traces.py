"""Where the spans of requests go. A function without traces does not load this module."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lambda_fn.settings import variables
from lambda_fn.settings.variables import SettingsError


@dataclass(frozen=True)
class Traces:
    """Where spans go, and of which requests."""

    url: str
    """The address to post OTLP to, with its path."""
    service: str
    """The name of the deployment, which spans have as that of their service."""
    ratio: float = 1.0
    """The share of sampled requests."""
    callers: bool = False
    """Whether the flag of a caller's trace decides, and not the share."""
    signed: bool = False
    """Whether requests are signed, for CloudWatch's endpoint."""
    authorization: str = field(default="", repr=False)
    """The collector's header of this name, empty for none."""


def read_traces(environment: Mapping[str, str]) -> Traces:
    """Return where spans go: to CloudWatch's endpoint of the region, or to a collector.

    Raises:
        SettingsError: a variable is invalid.

    """
    url = variables.required(environment, "SLUICE_TRACES")
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
        f"{variables.service_url(environment, 'XRAY', 'xray')}/v1/traces" if signed else url,
        service=environment.get("SLUICE_DEPLOYMENT") or "sluice",
        ratio=ratio,
        callers=environment.get("SLUICE_TRACE_CALLERS") == "true",
        signed=signed,
        authorization=environment.get("SLUICE_TRACE_AUTHORIZATION", ""),
    )
