"""The environment of each container."""

from typing import Any

import pytest

from infra.settings.container_environment import environment
from infra.settings.deployment import DEV, SettingsError
from tests.support.synthesis import Synthesis, variant


def test_the_container_is_variables_its_settings(synthesis: Any) -> None:
    """The container's environment has its settings, each short enough for SageMaker."""
    environment = synthesis.the("AWS::SageMaker::Model")["PrimaryContainer"]["Environment"]
    assert environment["SLUICE_ENGINE"] == "llama_cpp"
    assert environment["SLUICE_MODEL_NAME"] == "sluice-demo"
    assert environment["SLUICE_CONTEXT_TOKENS"] == "4096"
    assert environment["SLUICE_PARALLEL"] == "16"
    assert all(len(value.encode()) <= 1024 for value in environment.values())


def test_only_the_local_stage_paces_its_answers(syntheses: dict[str, Any]) -> None:
    """Only the local stage slows answers down, so that a person can watch.

    AWS answers at full speed.
    """
    paces = {
        stage: it.the("AWS::SageMaker::Model")["PrimaryContainer"]["Environment"][
            "SLUICE_TOKENS_PER_SECOND"
        ]
        for stage, it in syntheses.items()
    }
    assert paces == {"local": "40", "dev": "0", "prod": "0"}


def test_vllm_is_variables_its_settings(to_zero: Synthesis) -> None:
    """The vLLM container gets the settings under its own names, and `environment`."""
    container = to_zero.the("AWS::SageMaker::Model")["PrimaryContainer"]
    assert container["Environment"] == {
        "SM_VLLM_MODEL": "/opt/ml/model",
        "SM_VLLM_SERVED_MODEL_NAME": "sluice-demo",
        "SM_VLLM_MAX_MODEL_LEN": "4096",
        "SM_VLLM_MAX_NUM_SEQS": "16",
        "SM_VLLM_TENSOR_PARALLEL_SIZE": "4",
        "SM_VLLM_QUANTIZATION": "fp8",
        "SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "true",
    }
    source = container["ModelDataSource"]["S3DataSource"]
    assert (source["S3DataType"], source["CompressionType"]) == ("S3Prefix", "None")


def test_a_gated_models_token_is_a_reference(scaled: Synthesis) -> None:
    """The token is in no template. The container that downloads has network access."""
    model = scaled.the("AWS::SageMaker::Model")
    environment = model["PrimaryContainer"]["Environment"]
    assert environment["HF_TOKEN"] == "{{resolve:secretsmanager:hugging-face:SecretString:::}}"
    assert (environment["HF_MODEL_ID"], environment["REVISION"]) == ("org/gated", "v2")
    assert (environment["MAX_TOTAL_TOKENS"], environment["SM_NUM_GPUS"]) == ("4096", "1")
    assert "ModelDataSource" not in model["PrimaryContainer"]
    assert model["EnableNetworkIsolation"] is False
    assert (
        variant(scaled)["InferenceAmiVersion"] == "al2-ami-sagemaker-inference-gpu-3-1"
    )  # TGI's CUDA version is 12.4


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ("sglang", "SM_SGLANG_CONTEXT_LENGTH"),
        ("lmi", "OPTION_MAX_MODEL_LEN"),
        ("tgi", "MAX_TOTAL_TOKENS"),
    ],
)
def test_each_container_is_variables_the_context_under_its_own_name(
    container: str, name: str
) -> None:
    """Each server gets the longest context, which bounds the cost, under its own name."""
    settings = DEV.replace(
        container=container, instance_type="ml.g6.xlarge", weights="s3://models/one/"
    )
    variables = environment(settings)
    assert variables[name] == "4096"
    assert "/opt/ml/model" in variables.values()
    assert all(len(key) <= 1024 and len(value) <= 1024 for key, value in variables.items())


def test_our_container_on_gpus_is_variables_its_model() -> None:
    """Our container with vLLM gets its model's id and the GPUs of the instance."""
    settings = DEV.replace(
        engine="vllm", instance_type="ml.g6.12xlarge", weights="hf:org/model@main"
    )
    variables = environment(settings)
    assert variables["SLUICE_ENGINE"] == "vllm"
    assert (variables["SLUICE_MODEL_ID"], variables["SLUICE_MODEL_REVISION"]) == (
        "org/model",
        "main",
    )
    assert variables["SLUICE_TENSOR_PARALLEL"] == "4"


def test_an_unknown_gpu_instance_must_say_its_gpus() -> None:
    """An instance type that is not listed needs the setting for its number of GPUs."""
    settings = DEV.replace(container="vllm", instance_type="ml.g99.huge", weights="hf:o/m")
    with pytest.raises(SettingsError, match="set tensor_parallel to its number of GPUs"):
        environment(settings)
    assert environment(settings.replace(tensor_parallel=3))["SM_VLLM_TENSOR_PARALLEL_SIZE"] == "3"


def test_too_many_variables_are_refused() -> None:
    """More than a hundred variables, SageMaker's limit, are an error."""
    settings = DEV.replace(environment={f"A{number}": "x" for number in range(100)})
    with pytest.raises(
        SettingsError, match="SageMaker takes 100 variables, and with ours there are 105"
    ):
        environment(settings)
