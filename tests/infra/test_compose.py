"""The stacks as a whole."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from infra.compose import compose
from infra.settings.deployment import DEV, SettingsError


def masked(value: Any) -> Any:
    """Return `value` without the hashes of assets, which change with every source."""
    if isinstance(value, dict):
        return {masked(key): masked(item) for key, item in value.items() if key != "aws:asset:path"}
    if isinstance(value, list):
        return [masked(item) for item in value]
    if not isinstance(value, str):
        return value
    text = re.sub(r"(CurrentVersion[0-9A-F]{8})[0-9a-f]{32}", r"\1VERSION", value)
    return re.sub(r"[0-9a-f]{64}", "ASSET", text)


@pytest.mark.parametrize("stack", ["state", "service"])
def test_the_template_is_the_one_that_was_reviewed(
    stack: str, syntheses: dict[str, Any], snapshot: SnapshotAssertion
) -> None:
    """A snapshot shows every change of a production template in review."""
    assert masked(getattr(syntheses["prod"], stack)) == snapshot(
        name=stack, extension_class=JSONSnapshotExtension
    )


RELEASED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "templates-0.1.0.json").read_text(encoding="utf-8")
)
"""What an upgrade must not replace: of the templates of 0.1.0, stage prod, what has a state."""


@pytest.mark.parametrize("stack", ["state", "service"])
def test_an_upgrade_from_the_release_before_replaces_nothing(
    stack: str, syntheses: dict[str, Any]
) -> None:
    """The tables, secrets, distribution and endpoint of 0.1.0 are updated in place.

    CloudFormation replaces a resource whose logical id or key has changed. It fails if an output
    is gone that another stack imports, and DynamoDB if two indexes change in one update.
    """
    template, released = getattr(syntheses["prod"], stack), RELEASED[stack]
    for name, old in released["resources"].items():
        new = template["Resources"][name]
        assert new["Type"] == old["Type"]
        for member in ("KeySchema", "EndpointName"):
            assert new["Properties"].get(member) == old["Properties"].get(member)
        indexes = {
            it["IndexName"]: it for it in new["Properties"].get("GlobalSecondaryIndexes", [])
        }
        was = {it["IndexName"]: it for it in old["Properties"].get("GlobalSecondaryIndexes", [])}
        assert {key: indexes.get(key) for key in was} == was
        assert len(indexes) <= len(was) + 1
    assert set(released["outputs"]) <= set(template["Outputs"])
    assert set(released["exports"]) <= set(template["Outputs"])


def test_stages_differ_in_settings_only(syntheses: dict[str, Any]) -> None:
    """Every stage has the same resources under the same names.

    So the local cloud runs what is deployed on AWS. Only the check of the image is missing there:
    it takes no image from a registry. The playground is missing in production.
    """
    shapes = []
    for synthesis in syntheses.values():
        stacks = (synthesis.state, synthesis.service)
        shapes.append(
            [
                {
                    masked(name): it["Type"]
                    for name, it in stack["Resources"].items()
                    if not name.startswith(
                        ("ModelImageCheck", "Playground", "EdgeDistributionOrigin")
                    )
                }
                for stack in stacks
            ]
        )
    assert shapes[0] == shapes[1] == shapes[2]


def test_nothing_has_an_explicit_name(synthesis: Any) -> None:
    """CloudFormation names every resource, so that it can replace any of them.

    The endpoint and its log group are exceptions: others must refer to them before they exist. An
    alias is a name, within its function.
    """
    named = {
        "ModelName",
        "EndpointConfigName",
        "FunctionName",
        "LogGroupName",
        "TableName",
        "RoleName",
        "Name",
    }
    for stack in (synthesis.state, synthesis.service):
        for resource in stack["Resources"].values():
            explicit = named & set(resource["Properties"])
            if str(resource["Properties"].get("LogGroupName", "")).startswith("/aws/sagemaker/"):
                explicit -= {"LogGroupName"}
            if resource["Type"] == "AWS::Lambda::Alias":
                explicit -= {"Name"}
            references = {
                name for name in explicit if isinstance(resource["Properties"][name], dict)
            }
            assert explicit == references


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "nowhere.gguf"}, "weights=nowhere.gguf: there is no such file"),
        ({"image_uri": None}, "model/Dockerfile is missing"),
    ],
)
def test_a_source_that_is_missing_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Without the weights or the Dockerfile, synthesis ends with a message that names the file."""
    settings = DEV.replace(image_uri="docker.io/vllm/vllm-openai:v1").replace(**change)
    with pytest.raises(SettingsError, match=message):
        compose(App(outdir=str(tmp_path / "out")), settings=settings, root=tmp_path)
