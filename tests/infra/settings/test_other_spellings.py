"""Variables of `environment` that say what a setting says."""

import json

import pytest

from infra.settings.container_environment import environment
from infra.settings.context import settings_from_context
from infra.settings.deployment import FIELDS, Settings, SettingsError
from infra.settings.other_spellings import VLLM_ARGUMENTS
from tests.support.model import settings_for

GPU = {"instance_type": "ml.g6.xlarge", "weights": "hf:org/model"}


def settings(container: str, variables: dict[str, str], **more: object) -> Settings:
    """Return the settings of a deployment with this container and `environment`."""
    where: dict[str, object] = {} if container == "sluice" else {**GPU, "container": container}
    if container == "ours":
        where = {**GPU, "engine": "vllm"}
    return settings_from_context({**where, "environment": json.dumps(variables), **more})


@pytest.mark.parametrize(
    ("container", "name", "setting"),
    [
        ("vllm", "SM_VLLM_MAX_MODEL_LEN", "context_tokens"),
        ("vllm", "SM_VLLM_max_model_len", "context_tokens"),
        ("vllm", "SM_VLLM_MAX_MODEL", "context_tokens"),  # the beginning of an option
        ("vllm", "SM_VLLM_MAX_NUM_SEQS", "parallel"),
        ("vllm", "SM_VLLM_TENSOR_PARALLEL_SIZE", "tensor_parallel"),
        ("vllm", "SM_VLLM_QUANTIZATION", "quantization"),
        ("vllm", "SM_VLLM_SERVED_MODEL_NAME", "model_name"),
        ("vllm", "SM_VLLM_MODEL", "weights"),
        ("vllm", "SM_VLLM_REVISION", "weights"),
        ("vllm", "HF_MODEL_ID", "weights"),
        ("sglang", "SM_SGLANG_CONTEXT_LENGTH", "context_tokens"),
        ("sglang", "SM_SGLANG_context_length", "context_tokens"),
        ("sglang", "SM_SGLANG_TP", "tensor_parallel"),
        ("sglang", "SM_SGLANG_TENSOR_PARALLEL_SIZE", "tensor_parallel"),
        ("sglang", "SM_SGLANG_MODEL", "weights"),
        ("sglang", "SM_SGLANG_MAX_RUNNING_REQUESTS", "parallel"),
        ("lmi", "OPTION_MAX_MODEL_LEN", "context_tokens"),
        ("lmi", "OPTION_max_model_len", "context_tokens"),
        ("lmi", "OPTION_MODEL_ID", "weights"),
        ("lmi", "HF_MODEL_ID", "weights"),
        ("lmi", "HF_REVISION", "weights"),
        ("lmi", "OPTION_MAX_NUM_SEQS", "parallel"),
        ("lmi", "OPTION_MAX_ROLLING_BATCH_SIZE", "parallel"),
        ("lmi", "TENSOR_PARALLEL_DEGREE", "tensor_parallel"),
        ("lmi", "OPTION_QUANTIZATION", "quantization"),
        ("tgi", "MAX_TOTAL_TOKENS", "context_tokens"),
        ("tgi", "MAX_INPUT_LENGTH", "context_tokens"),
        ("tgi", "max_input_tokens", "context_tokens"),
        ("tgi", "MODEL_ID", "weights"),
        ("tgi", "HF_MODEL_REVISION", "weights"),
        ("tgi", "NUM_SHARD", "tensor_parallel"),
        ("tgi", "SM_NUM_GPUS", "tensor_parallel"),
        ("tgi", "HF_MODEL_QUANTIZE", "quantization"),
        ("tgi", "MAX_BATCH_SIZE", "parallel"),
        ("sluice", "HF_MODEL_ID", "weights"),
    ],
)
def test_another_spelling_of_a_setting(container: str, name: str, setting: str) -> None:
    """The synthesis refuses it, and names the variable, the setting and the setting's value."""
    it = settings(container, {name: "4"})
    value = getattr(it, setting)
    with pytest.raises(SettingsError) as caught:
        environment(it)
    shown = "none" if value is None else value
    assert str(caught.value) == (
        f"environment={name}: set it by the setting {setting}, which is {shown}"
    )
    assert setting in FIELDS


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ("vllm", "SM_VLLM_PORT"),
        ("sglang", "SM_SGLANG_HOST"),
        ("tgi", "PORT"),
        ("lmi", "SERVING_PORT"),
        ("sluice", "SAGEMAKER_BIND_TO_PORT"),
    ],
)
def test_a_port_of_its_own(container: str, name: str) -> None:
    """A container that listens elsewhere than SageMaker calls is refused."""
    with pytest.raises(SettingsError, match=f"environment={name}: SageMaker calls"):
        environment(settings(container, {name: "9000"}))


@pytest.mark.parametrize(
    ("container", "name"),
    [
        ("vllm", "SM_VLLM_ENABLE_AUTO_TOOL_CHOICE"),
        ("vllm", "SM_VLLM_MAX_NUM_BATCHED_TOKENS"),
        ("vllm", "SM_VLLM_MODEL_IMPL"),
        ("vllm", "SM_VLLM_QUANTIZATION_CONFIG"),
        ("vllm", "MAX_TOTAL_TOKENS"),
        ("vllm", "VLLM_USE_V1"),
        ("sglang", "SM_SGLANG_TOOL_CALL_PARSER"),
        ("lmi", "OPTION_ROLLING_BATCH"),
        ("lmi", "OPTION_MAX_ROLLING_BATCH_PREFILL_TOKENS"),
        ("tgi", "MAX_CONCURRENT_REQUESTS"),
        ("tgi", "MAX_BATCH_TOTAL_TOKENS"),
        ("tgi", "HF_TOKEN"),
    ],
)
def test_variables_without_a_setting(container: str, name: str) -> None:
    """A variable that no setting sets reaches the container."""
    assert environment(settings(container, {name: "4"}))[name] == "4"


def test_two_spellings_of_one_option() -> None:
    """Two variables that a server reads as one option are refused."""
    with pytest.raises(SettingsError, match="reads SM_VLLM_DTYPE as the same option"):
        environment(settings("vllm", {"SM_VLLM_DTYPE": "half", "SM_VLLM_dtype": "auto"}))


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_a_token_beside_the_secret(name: str) -> None:
    """A token in the template is refused beside the secret, which it would replace."""
    with pytest.raises(SettingsError, match=f"{name}: set it by the setting huggingface_secret"):
        environment(settings("tgi", {name: "hf_x"}, huggingface_secret="token"))


@pytest.mark.parametrize("argument", [*VLLM_ARGUMENTS, "max-model-len"])
def test_arguments_of_vllm(argument: str) -> None:
    """SLUICE_VLLM_ARGS may not have the arguments that settings set."""
    from model.engines.vllm_arguments import engine_arguments  # over the stand-in for vLLM

    setting = VLLM_ARGUMENTS[argument.replace("-", "_")]
    with pytest.raises(SettingsError, match=f"{argument}: set it by the setting {setting}"):
        environment(settings("ours", {"SLUICE_VLLM_ARGS": json.dumps({argument: 4})}))
    assert VLLM_ARGUMENTS.keys() <= engine_arguments(settings_for("vllm"), 1).keys()


@pytest.mark.parametrize(
    ("container", "variables", "said"),
    [
        ("sluice", {"SLUICE_QUEUE": "many"}, "SLUICE_QUEUE='many': a whole number from 0"),
        ("sluice", {"sluice_queue": "4"}, "reads SLUICE_QUEUE only, in capitals"),
        ("sluice", {"Sluice_Parallel": "4"}, "reads SLUICE_PARALLEL only, in capitals"),
        ("ours", {"SLUICE_VLLM_ARGS": "[1]"}, "SLUICE_VLLM_ARGS='.1.': a JSON object is needed"),
        ("ours", {"SLUICE_VLLM_ARGS": "{"}, "a JSON object is needed"),
        ("ours", {"SLUICE_GPU_MEMORY": "90%"}, "a number from 0.1 to 1 is needed"),
        ("ours", {"SLUICE_LORA_ADAPTERS": "sql"}, "NAME=FOLDER"),
    ],
)
def test_values_of_our_container(container: str, variables: dict[str, str], said: str) -> None:
    """A value that our container would not read is refused by the container's own readers."""
    with pytest.raises(SettingsError, match=said):
        environment(settings(container, variables))
