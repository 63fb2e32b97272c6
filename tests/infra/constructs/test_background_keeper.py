"""The keeper of background answers."""

import json
from pathlib import Path
from typing import Any

from tests.support.grants import statements
from tests.support.synthesis import FUNCTIONS, synthesise


def test_it_runs_each_minute(synthesis: Any) -> None:
    """A schedule calls it, a failed run is not retried, and it ends before the next one."""
    rule = synthesis.the("AWS::Events::Rule", "Background")
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}
    assert synthesis.function(FUNCTIONS["Background"])["Timeout"] < 60


def test_events_of_the_stream_function_come_once(synthesis: Any) -> None:
    """An event for its alias is not retried, and is dropped after the minute of the rules."""
    settings = synthesis.the("AWS::Lambda::EventInvokeConfig", "Stream")
    assert "StreamReleaseAlias" in json.dumps(settings["Qualifier"])  # the end of its ARN
    assert (settings["MaximumRetryAttempts"], settings["MaximumEventAgeInSeconds"]) == (0, 60)


def test_nothing_more_is_granted_than_is_set(synthesis: Any) -> None:
    """Without an own invocation and a webhook, the stream function may invoke no function."""
    for owner in ("Stream", "Recall"):
        granted = json.dumps(statements(synthesis, owner))
        assert "lambda:" not in granted
    variables = synthesis.function(FUNCTIONS["Stream"])["Environment"]["Variables"]
    background = json.loads(variables["SLUICE_BACKGROUND"])
    assert background["invoke"] is False
    assert "tells" not in background
    variables = synthesis.function(FUNCTIONS["Background"])["Environment"]["Variables"]
    assert not [name for name in variables if "WEBHOOK" in name]
    assert "FunctionName" not in synthesis.function(FUNCTIONS["Background"])


def test_own_invocations_and_a_webhook(project: Path, tmp_path: Path) -> None:
    """The stream function may invoke its own alias, and it and the recall function the keeper.

    The keeper reads the secret that signs.
    """
    found = synthesise(
        "prod", project, tmp_path, background="invoke", webhook_url="https://hooks.example.org/x"
    )
    invoked = {
        owner: [
            json.dumps(it["Resource"])
            for it in statements(found, owner)
            if it["Action"] == "lambda:InvokeFunction"
        ]
        for owner in ("Stream", "Recall", "Background")
    }
    assert "StreamReleaseAlias" in invoked["Stream"][0]
    for owner in ("Stream", "Recall"):
        assert ":function:sluice-prod-background" in invoked[owner][-1]
    assert "StreamReleaseAlias" in invoked["Background"][0]
    variables = found.function(FUNCTIONS["Stream"])["Environment"]["Variables"]
    assert json.loads(variables["SLUICE_BACKGROUND"]) == {
        "tells": "sluice-prod-background",
        "per_key": 10,
        "at_once": 100,
        "wait_hours": 24,
        "invoke": True,
        "alias": "live",
    }
    keeper = found.function(FUNCTIONS["Background"])
    assert keeper["FunctionName"] == "sluice-prod-background"
    assert keeper["Environment"]["Variables"]["SLUICE_PRIVATE_WEBHOOK"] == "false"
    secret = found.the("AWS::SecretsManager::Secret", "BackgroundWebhook")
    assert secret["GenerateSecretString"] == {"ExcludePunctuation": True, "PasswordLength": 44}
    assert "secretsmanager:GetSecretValue" in json.dumps(statements(found, "Background"))
