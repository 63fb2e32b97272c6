"""What the checks of figures of keys conclude. The local cloud cannot take AWS's part in them."""

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cli.commands.verify.checks.observability import key_metrics, key_rules

if TYPE_CHECKING:
    from cli.commands.verify.target import Target

KEY = "abcdefghijkl"
RULE = "arn:aws:cloudwatch:eu-west-1:123456789012:insight-rule/sluice-dev-keys-by-tokens"


class Deployed:
    """A deployment whose parts are as a test says."""

    key_id = KEY

    def __init__(self, **parts: Any) -> None:
        """Take the parts."""
        self.rules: list[str] = parts.get("rules", [RULE])
        self.keys: list[str] = parts.get("keys", [])
        self.variables: dict[str, str] = parts.get("variables", {"SLUICE_KEY_METRICS": "true"})
        self.lines: list[str] = parts.get("lines", [])
        self.series: list[object] | OSError = parts.get("series", [])
        self.status: int = parts.get("status", 200)

    def physical(self, kind: str, logical: str = "") -> list[str]:
        """Return the rules, or the sweeper and the function for its alarm."""
        return self.rules if kind == "AWS::CloudWatch::InsightRule" else [f"{logical}-1"]

    def client(self, service: str) -> Any:
        """Return a client."""
        if service == "lambda":
            found = {
                "Environment": {"Variables": self.variables},
                "LoggingConfig": {"LogGroup": "/sweeper"},
            }
            return SimpleNamespace(get_function_configuration=lambda FunctionName: found)  # noqa: N803 (AWS's name)
        return SimpleNamespace(get_insight_rule_report=self._report)

    def _report(self, **asked: Any) -> dict[str, Any]:
        assert asked["RuleName"] == RULE.rpartition("/")[2]
        return {"Contributors": [{"Keys": [key]} for key in self.keys]}

    def chat(self, **_: Any) -> Any:
        """Return a response."""
        return SimpleNamespace(status=self.status)

    def wait(self, found: Any) -> Any:
        """Look once."""
        return found()

    def log_lines(self, group: str, text: str, since: float) -> list[str]:
        """Return the lines with a text."""
        assert (group, since > 0) == ("/sweeper", True)
        return [line for line in self.lines if text in line]

    def promql(self, query: str) -> list[object]:
        """Return series."""
        assert "sluice.key.requests" in query
        if isinstance(self.series, OSError):
            raise self.series
        return self.series


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"keys": ["another", KEY]}, "proven"),
        ({"keys": ["another"]}, "refuted"),
        ({"rules": []}, "not deployed"),
        ({"status": 503}, "unknown"),
    ],
)
def test_rules(parts: dict[str, Any], verdict: str) -> None:
    """Rules are proven by the key of a request in the report of each."""
    assert key_rules(cast("Target", Deployed(**parts))).verdict == verdict


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"series": [{}]}, "proven"),
        ({"series": [{}], "lines": ['{"event":"figures_lost","hour":"2026-11-30T01"}']}, "refuted"),
        ({"series": [{}], "lines": ["NotSent('OTLP metrics of 2026: status 403')"]}, "refuted"),
        ({"variables": {}}, "not deployed"),
        ({"series": []}, "unknown"),
        ({"series": OSError("no route")}, "unknown"),
    ],
)
def test_metrics(parts: dict[str, Any], verdict: str) -> None:
    """Metrics are proven by their series in PromQL, if no hour was refused."""
    assert key_metrics(cast("Target", Deployed(**parts))).verdict == verdict
