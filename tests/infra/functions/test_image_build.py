"""The custom resource that starts the image's build."""

from typing import Any

import boto3
import pytest

from infra.functions.image_build import handler
from tests.support.cloudformation import Answers, event

PROPERTIES = {"Project": "builder", "Tag": "cpu-1"}


class CodeBuild:
    """CodeBuild with one build. moto's has neither phases nor overridden variables."""

    def __init__(self) -> None:
        """Begin without a build."""
        self.started: dict[str, Any] = {}
        self.refused = ""
        self.phases: list[dict[str, Any]] = []

    def start_build(self, **arguments: Any) -> None:
        """Keep the arguments."""
        if self.refused:
            raise RuntimeError(self.refused)
        self.started = arguments

    def batch_get_builds(self, ids: list[str]) -> dict[str, Any]:
        """Return the build, in the API's shape."""
        assert ids == ["builder:1234"]
        variables = self.started.get("environmentVariablesOverride", [])
        return {
            "builds": [
                {
                    "buildStatus": "FAILED",
                    "environment": {"environmentVariables": variables},
                    "phases": self.phases,
                }
            ]
        }


@pytest.fixture
def codebuild(monkeypatch: pytest.MonkeyPatch) -> CodeBuild:
    """Return the CodeBuild that the function calls."""
    made = CodeBuild()
    monkeypatch.setattr(boto3, "client", lambda service: made)
    return made


ENDED = {
    "source": "aws.codebuild",
    "detail": {
        "build-status": "FAILED",
        "build-id": "arn:aws:codebuild:eu-west-1:123456789012:build/builder:1234",
    },
}


def test_a_build_that_dies_before_its_commands_answers_at_once(
    codebuild: CodeBuild, answers: Answers
) -> None:
    """CloudFormation learns the phase and the reason, and does not wait for an hour."""
    asked = event("Create", **PROPERTIES)
    handler(asked, None)
    assert codebuild.started["projectName"] == "builder"
    assert {"name": "TAG", "value": "cpu-1"} in codebuild.started["environmentVariablesOverride"]
    assert answers == []
    codebuild.phases = [
        {"phaseType": "SUBMITTED", "phaseStatus": "SUCCEEDED", "contexts": [{"message": "fine"}]},
        {
            "phaseType": "DOWNLOAD_SOURCE",
            "phaseStatus": "FAILED",
            "contexts": [{"statusCode": "CLIENT_ERROR", "message": "Access Denied"}],
        },
        {"phaseType": "COMPLETED"},
    ]
    handler(ENDED, None)
    [answer] = answers
    assert (answer["Status"], answer["RequestId"]) == ("FAILED", asked["RequestId"])
    assert answer["Reason"] == (
        "The build builder:1234 ended as FAILED. DOWNLOAD_SOURCE: Access Denied"
    )


def test_a_build_that_somebody_else_started_is_not_answered(
    codebuild: CodeBuild, answers: Answers
) -> None:
    """A build without CloudFormation's request is not answered."""
    handler(ENDED, None)
    assert answers == []


def test_a_build_that_cannot_be_started_answers(codebuild: CodeBuild, answers: Answers) -> None:
    """The reason is CodeBuild's."""
    codebuild.refused = "Cannot have more than 1 builds in queue"
    handler(event("Create", **PROPERTIES), None)
    assert [(it["Status"], codebuild.refused in it["Reason"]) for it in answers] == [
        ("FAILED", True)
    ]


def test_a_deletion_answers(codebuild: CodeBuild, answers: Answers) -> None:
    """Nothing is built for it."""
    handler(event("Delete", **PROPERTIES), None)
    assert ([it["Status"] for it in answers], codebuild.started) == (["SUCCESS"], {})
