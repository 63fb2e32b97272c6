"""Where spans go, as the stream function's environment tells."""

import json

import pytest

from lambda_fn.settings import Settings, SettingsError
from lambda_fn.settings.traces import Traces

TRACED = {
    "AWS_REGION": "eu-west-1",
    "SLUICE_USAGE_TABLE": "t",
    "SLUICE_ORIGIN_SECRET": "s",
    "SLUICE_MODELS": json.dumps({"m": {"endpoint": "their-endpoint", "context_tokens": 32768}}),
    "SLUICE_DEPLOYMENT": "x-dev",
}


def test_traces() -> None:
    """Spans go nowhere, to CloudWatch's endpoint of the region, or to a collector."""
    assert Settings.from_environment(TRACED).traces is None
    cloudwatch = Settings.from_environment({**TRACED, "SLUICE_TRACES": "cloudwatch"}).traces
    assert cloudwatch == Traces(
        "https://xray.eu-west-1.amazonaws.com/v1/traces", "x-dev", signed=True
    )
    found = Settings.from_environment(
        {
            **TRACED,
            "SLUICE_TRACES": "https://collector.example.org/v1/traces",
            "SLUICE_TRACE_RATIO": "0.25",
            "SLUICE_TRACE_CALLERS": "true",
            "SLUICE_TRACE_AUTHORIZATION": "Basic secret",
        }
    ).traces
    assert found == Traces(
        "https://collector.example.org/v1/traces",
        "x-dev",
        0.25,
        callers=True,
        authorization="Basic secret",
    )
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLUICE_TRACES": "collector.example.org"},
        *(
            {"SLUICE_TRACES": "cloudwatch", "SLUICE_TRACE_RATIO": value}
            for value in ("-0.1", "1.1", "nan", "x")
        ),
    ],
)
def test_invalid_traces(variables: dict[str, str]) -> None:
    """The error names the variable."""
    with pytest.raises(SettingsError, match="SLUICE_TRACE"):
        Settings.from_environment({**TRACED, **variables})
