"""The admin secret: who reads it, and what rotates it."""

from typing import Any

from tests.support.grants import LOG, granted, in_words
from tests.support.synthesis import FUNCTIONS


def test_what_rotates_the_secret_can_do_nothing_else(synthesis: Any) -> None:
    """The rotating function may make the four calls of a rotation, on its secret only.

    Only Secrets Manager may invoke it, for that secret.
    """
    steps = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")
    assert granted(synthesis, "ControlSecretRotation") == {
        tuple(f"secretsmanager:{step}" for step in steps): "ControlSecret",
        LOG: "ControlSecretRotationLog",
    }
    permissions = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Permission")]
    [permission] = [it for it in permissions if it["Principal"] == "secretsmanager.amazonaws.com"]
    assert in_words(permission["SourceArn"]) == "ControlSecret"


def test_the_admin_secret_is_read_and_not_handed_out(synthesis: Any) -> None:
    """The control function gets its secret's ARN and not its value.

    Secrets Manager changes the secret every month.
    """
    variables = synthesis.function(FUNCTIONS["Control"])["Environment"]["Variables"]
    assert in_words(variables["SLUICE_ADMIN_SECRET"]) == "ControlSecret"
    rotation = synthesis.the("AWS::SecretsManager::RotationSchedule")
    assert in_words(rotation["SecretId"]) == "ControlSecret"
    assert rotation["RotationRules"] == {"AutomaticallyAfterDays": 30}
    assert rotation["RotateImmediatelyOnUpdate"] is False
