"""The rules of Contributor Insights in the service stack."""

import json
from typing import Any

from cli.lib.cloudwatch_cost import insight_rules
from infra.constructs.key_figures import rules
from infra.settings.deployment import DEV, PROD
from tests.support.synthesis import Synthesis


def body(properties: dict[str, Any]) -> dict[str, Any]:
    """Return a rule's definition, with each reference replaced by the name of its resource."""
    parts = properties["RuleBody"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else part["Ref"] for part in parts)
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_rule_sees_each_function_that_settles(everything: Synthesis) -> None:
    """The rules count requests and sum up tokens and cost, of streams and sockets."""
    made = [it["Properties"] for it in everything.resources("AWS::CloudWatch::InsightRule")]
    assert {it["RuleName"] for it in made} == {
        f"sluice-prod-keys-by-{name}" for name in ("requests", "tokens", "cost")
    }
    for properties in made:
        assert properties["RuleState"] == "ENABLED"
        groups = body(properties)["LogGroupNames"]
        assert [everything.service["Resources"][it]["Type"] for it in groups] == [
            "AWS::Logs::LogGroup"
        ] * 2
        assert [it.startswith(("StreamLog", "SocketLog")) for it in groups] == [True, True]


def test_the_default_has_no_rule(synthesis: Synthesis) -> None:
    """Rules cost, so a deployment has them only if it asks for them."""
    assert synthesis.resources("AWS::CloudWatch::InsightRule") == []


def test_cost_is_summed_up_where_there_are_prices() -> None:
    """Without any price there would be nothing to sum up. The bill counts the same rules."""
    other = {"endpoint": "E", "context_tokens": 100, "prompt_price": 1, "completion_price": 2}
    for settings, cost in (
        (DEV, False),
        (PROD.replace(prompt_price=1.0, completion_price=2.0), True),
        (DEV.replace(other_models={"other": json.dumps(other)}), True),
    ):
        assert ("Cost" in rules(settings)) is cost
        assert len(rules(settings)) == insight_rules(settings)
