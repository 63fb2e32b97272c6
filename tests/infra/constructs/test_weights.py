"""The model's weights."""

from pathlib import Path
from typing import Any

from infra.compose import compose
from infra.settings.deployment import DEV
from tests.support.synthesis import KEY, Synthesis, new_app


def test_one_weights_file_is_one_uncompressed_object(synthesis: Any) -> None:
    """A weights file reaches the container unchanged, as a file."""
    source = synthesis.the("AWS::SageMaker::Model")["PrimaryContainer"]["ModelDataSource"][
        "S3DataSource"
    ]
    assert (source["CompressionType"], source["S3DataType"]) == ("None", "S3Object")
    assert source["S3Uri"]["Fn::Join"][1][-1].endswith(".gguf")


def test_weights_under_a_prefix_are_read_from_where_they_are(project: Path, tmp_path: Path) -> None:
    """An s3:// URI that ends in a slash is a prefix. The role may read only below it."""
    app = new_app(tmp_path)
    settings = DEV.replace(weights="s3://models/one/", image_uri="docker.io/vllm/vllm-openai:v1")
    _, service = compose(app, settings=settings, root=project)
    template = app.synth().get_stack_by_name(service.stack_name).template["Resources"]
    (model,) = [it for it in template.values() if it["Type"] == "AWS::SageMaker::Model"]
    source = model["Properties"]["PrimaryContainer"]["ModelDataSource"]["S3DataSource"]
    assert source == {
        "CompressionType": "None",
        "S3DataType": "S3Prefix",
        "S3Uri": "s3://models/one/",
    }
    policies = str([it for it in template.values() if it["Type"] == "AWS::IAM::Policy"])
    assert ":s3:::models/one/*'" in policies
    assert "ecr:" not in policies


def test_packed_weights_are_unpacked_and_volumes_encrypted(without_docker: Synthesis) -> None:
    """A `.tar.gz` is declared as compressed, and the machine's volume uses the named key."""
    source = without_docker.the("AWS::SageMaker::Model")["PrimaryContainer"]["ModelDataSource"][
        "S3DataSource"
    ]
    assert source == {
        "S3Uri": "s3://models/one/model.tar.gz",
        "S3DataType": "S3Object",
        "CompressionType": "Gzip",
    }
    assert without_docker.the("AWS::SageMaker::EndpointConfig")["KmsKeyId"] == KEY
