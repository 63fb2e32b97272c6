"""The check of the container's image."""

import json

import pytest

from infra.constructs.inline_function import FOLDER
from tests.support.synthesis import Synthesis, resource


@pytest.mark.parametrize("name", ["to_zero", "scaled", "without_docker"])
def test_the_model_waits_for_the_check(name: str, request: pytest.FixtureRequest) -> None:
    """However the image is made, it is checked before the model is, after the role exists."""
    synthesis: Synthesis = request.getfixturevalue(name)
    (done,) = [
        key
        for key, it in synthesis.service["Resources"].items()
        if it["Type"] == "Custom::SluiceImageCheck"
    ]
    model = resource(synthesis, "AWS::SageMaker::Model")
    checked = synthesis.service["Resources"][done]
    assert done in model["DependsOn"]
    assert checked["Properties"]["Image"] == model["Properties"]["PrimaryContainer"]["Image"]
    assert any(it.startswith("ModelExecutionRoleDefaultPolicy") for it in checked["DependsOn"])


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_an_image_that_docker_builds_is_checked(
    syntheses: dict[str, Synthesis], stage: str
) -> None:
    """The image that the CDK CLI pushes is checked, too."""
    model = syntheses[stage].the("AWS::SageMaker::Model")
    checked = syntheses[stage].the("Custom::SluiceImageCheck")
    assert checked["Image"] == model["PrimaryContainer"]["Image"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("image_*.py")), ids=lambda it: it.stem)
def test_the_code_fits_into_a_template(path: object) -> None:
    """Lambda takes 4,096 characters of inline code."""
    assert len(str(path.read_text())) <= 4096  # type: ignore[attr-defined]


def test_the_code_is_that_of_the_file(without_docker: Synthesis) -> None:
    """The template has the tested files."""
    code = json.dumps([it["Properties"]["Code"] for it in without_docker.resources(
        "AWS::Lambda::Function")])  # fmt: skip
    for path in FOLDER.glob("image_*.py"):
        assert json.dumps(path.read_text())[1:-1] in code
