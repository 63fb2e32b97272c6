"""The figures of each key, as rules of Contributor Insights over the log lines of requests.

A key as a dimension of a metric would be a metric on the bill for each key. A rule is paid for once
and by the line, however many keys there are. Source: "Contributor Insights rule syntax in
CloudWatch" of the CloudWatch user guide. `tests/contract/test_key_figures.py` holds the rules
against the lines that functions write.
"""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.request_metrics import deployment_of
from infra.settings.deployment import Settings

KEY = "$.key"
"""The member with the key's public id. No member has the secret."""
EVENTS = ("request", "settlement_unsaved")
"""The lines with the figures of a settled request."""
TOKENS = "$.completion_tokens"
COST = "$.cost"
"""The cost of a request in nano-USD."""


class KeyFigures(Construct):
    """A rule for the requests of each key, one for its sampled tokens, and one for its cost.

    The last is there only if a model has prices. The rules' names begin with that of the
    deployment.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        functions: Sequence[lambda_.Function],
    ) -> None:
        """Create the rules over the logs of the functions that settle requests."""
        super().__init__(scope, construct_id)
        groups = [function.log_group.log_group_name for function in functions]
        for name, value in rules(settings).items():
            cloudwatch.CfnInsightRule(
                self,
                name,
                rule_name=f"{deployment_of(settings)}-keys-by-{name.lower()}",
                rule_state="ENABLED",
                rule_body=Stack.of(self).to_json_string(definition(groups, value)),
            )


def rules(settings: Settings) -> dict[str, str | None]:
    """Return what is summed up for each key, by the rule's name. None: requests are counted."""
    found = {"Requests": None, "Tokens": TOKENS}
    priced = len(settings.unpriced_models) <= len(settings.others)
    return {**found, "Cost": COST} if priced else found


def definition(groups: Sequence[str], value: str | None) -> dict[str, Any]:
    """Return the definition of a rule over log groups that sums up `value`, or counts."""
    return {
        "Schema": {"Name": "CloudWatchLogRule", "Version": 1},
        "LogGroupNames": list(groups),
        "LogFormat": "JSON",
        "Contribution": {
            "Keys": [KEY],
            "Filters": [{"Match": "$.event", "In": list(EVENTS)}],
            **({} if value is None else {"ValueOf": value}),
        },
        "AggregateOn": "Count" if value is None else "Sum",
    }
