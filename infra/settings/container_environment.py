"""The environment of each container: the same settings under each server's names.

Sources: `sagemaker_entrypoint.sh` of AWS's vLLM and SGLang containers, which turn
SM_VLLM_MAX_MODEL_LEN into `--max-model-len`; the LMI user guide (OPTION_*); TGI's launcher
arguments (MAX_TOTAL_TOKENS and others) and its `sagemaker-entrypoint.sh`.

`other_spellings.py` has the further names under which these servers read the same settings.
"""

import json
from collections.abc import Callable, Mapping

from aws_cdk import SecretValue

from infra import instances
from infra.settings import other_spellings
from infra.settings.container import HUGGING_FACE
from infra.settings.deployment import Settings
from infra.settings.fields import SettingsError
from model.errors import StartError
from model.settings import Settings as ContainerSettings

MODEL_FOLDER = "/opt/ml/model"
EXTRA = {
    "SLUICE_CHAT_TEMPLATE": "llama_cpp, vllm",
    "SLUICE_DTYPE": "vllm",
    "SLUICE_ENGINE_THREADS": "llama_cpp",
    "SLUICE_GPU_MEMORY": "vllm",
    "SLUICE_KV_CACHE_DTYPE": "vllm",
    "SLUICE_LORA_ADAPTERS": "vllm",
    "SLUICE_LORA_RANK": "vllm",
    "SLUICE_MAX_SECONDS": "",
    "SLUICE_PREFIX_CACHING": "vllm",
    "SLUICE_QUEUE": "",
    "SLUICE_REASONING_PARSER": "vllm",
    "SLUICE_SLOW_READER_SECONDS": "",
    "SLUICE_TOOL_PARSER": "vllm",
    "SLUICE_TRUST_REMOTE_CODE": "vllm",
    "SLUICE_VLLM_ARGS": "vllm",
    "SLUICE_WEIGHTS_FILE": "llama_cpp",
}
"""Variables of our container for which there is no setting.

The value names the engines that read the variable, or is empty if all do.
docs/reference/container.md explains each.
"""
SET_BY = {
    "SLUICE_ENGINE": "engine",
    "SLUICE_MODEL_NAME": "model_name",
    "SLUICE_CONTEXT_TOKENS": "context_tokens",
    "SLUICE_PARALLEL": "parallel",
    "SLUICE_TOKENS_PER_SECOND": "tokens_per_second",
    "SLUICE_MODEL_ID": "weights",
    "SLUICE_MODEL_REVISION": "weights",
    "SLUICE_WEIGHTS_SHA256": "weights_sha256",
    "SLUICE_TENSOR_PARALLEL": "tensor_parallel",
    "SLUICE_QUANTIZATION": "quantization",
    "SLUICE_MAX_IMAGES": "max_images",
}
"""Variables of our container that a setting sets, and the names of these settings."""
_MAX_VARIABLES = 100
"""SageMaker's maximum of variables."""


def environment(settings: Settings) -> dict[str, str]:
    """Return the container's environment.

    Raises:
        SettingsError: a GPU instance is not listed here and `tensor_parallel` does not say how many
            GPUs it has; there are too many variables; our container does not know a variable or
            its value; or a variable of `environment` is what another setting sets.

    """
    other_spellings.check(settings)
    if settings.container == "sluice":
        _check(settings.environment, settings.engine)
    variables = {**_KINDS[settings.container](settings), **_token(settings), **settings.environment}
    if len(variables) > _MAX_VARIABLES:
        raise SettingsError(
            f"environment: SageMaker takes {_MAX_VARIABLES} variables, and with ours there "
            f"are {len(variables)}"
        )
    if settings.container == "sluice":
        _read(variables)
    return variables


def _read(variables: Mapping[str, str]) -> None:
    """Read the variables as our container will when it starts."""
    try:
        ContainerSettings.from_environment(variables)
    except StartError as error:
        raise SettingsError(f"environment: {error}") from None


def _check(more: Mapping[str, str], engine: str) -> None:
    for name in more:
        if (setting := SET_BY.get(name)) is not None:
            raise SettingsError(f"environment={name}: set it by the setting {setting}")
        if name.upper() in {*SET_BY, *EXTRA} and name != name.upper():
            raise SettingsError(
                f"environment={name}: our container reads {name.upper()} only, in capitals"
            )
        if name.startswith("SLUICE_") and name not in EXTRA:
            raise SettingsError(
                f"environment={name}: our container has no such setting; it has {', '.join(EXTRA)}"
            )
        engines = EXTRA.get(name)
        if engines and engine not in engines.split(", "):
            raise SettingsError(
                f"environment={name}: is a setting of engine={engines}, not of {engine}"
            )


def gpus(settings: Settings) -> int:
    """Return the number of GPUs that share the model.

    Raises:
        SettingsError: the instance has fewer, or is not listed here.

    """
    available = instances.gpus(settings.instance_type)
    used = settings.tensor_parallel or available
    if used is None:
        raise SettingsError(
            f"instance_type={settings.instance_type}: is not known here; set tensor_parallel "
            "to its number of GPUs"
        )
    if available is not None and used > available:
        raise SettingsError(
            f"tensor_parallel={used}: {settings.instance_type} has {available} GPUs"
        )
    return used


def _token(settings: Settings) -> dict[str, str]:
    # CloudFormation resolves this reference; the template never has the token.
    if settings.huggingface_secret is None:
        return {}
    return {"HF_TOKEN": SecretValue.secrets_manager(settings.huggingface_secret).unsafe_unwrap()}


def _model(settings: Settings) -> tuple[str, str | None]:
    """Return the model's folder or its Hugging Face name, and the revision of the latter."""
    if not settings.from_hugging_face:
        return MODEL_FOLDER, None
    name, _, revision = str(settings.weights).removeprefix(HUGGING_FACE).partition("@")
    return name, revision or None


def _images(settings: Settings) -> str | None:
    """Return vLLM's limit of images, as JSON."""
    return json.dumps({"image": settings.max_images}) if settings.max_images else None


def _present(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _sluice(settings: Settings) -> dict[str, str]:
    variables: dict[str, object] = {
        "SLUICE_ENGINE": settings.engine,
        "SLUICE_MODEL_NAME": settings.model_name,
        "SLUICE_CONTEXT_TOKENS": settings.context_tokens,
        "SLUICE_PARALLEL": settings.parallel,
        "SLUICE_TOKENS_PER_SECOND": f"{settings.tokens_per_second:g}",
        "SLUICE_WEIGHTS_SHA256": settings.weights_sha256,
    }
    if settings.engine == "vllm":
        name, revision = _model(settings)
        variables |= {
            "SLUICE_MODEL_ID": name if settings.from_hugging_face else None,
            "SLUICE_MODEL_REVISION": revision,
            "SLUICE_TENSOR_PARALLEL": gpus(settings),
            "SLUICE_QUANTIZATION": settings.quantization,
            "SLUICE_MAX_IMAGES": settings.max_images or None,
        }
    return _present(variables)


def _vllm(settings: Settings) -> dict[str, str]:
    name, revision = _model(settings)
    return _present(
        {
            "SM_VLLM_MODEL": name,
            "SM_VLLM_REVISION": revision,
            "SM_VLLM_SERVED_MODEL_NAME": settings.model_name,
            "SM_VLLM_MAX_MODEL_LEN": settings.context_tokens,
            "SM_VLLM_MAX_NUM_SEQS": settings.parallel,
            "SM_VLLM_TENSOR_PARALLEL_SIZE": gpus(settings),
            "SM_VLLM_QUANTIZATION": settings.quantization,
            "SM_VLLM_LIMIT_MM_PER_PROMPT": _images(settings),
        }
    )


def _sglang(settings: Settings) -> dict[str, str]:
    name, revision = _model(settings)
    return _present(
        {
            "SM_SGLANG_MODEL_PATH": name,
            "SM_SGLANG_REVISION": revision,
            "SM_SGLANG_SERVED_MODEL_NAME": settings.model_name,
            "SM_SGLANG_CONTEXT_LENGTH": settings.context_tokens,
            "SM_SGLANG_MAX_RUNNING_REQUESTS": settings.parallel,
            "SM_SGLANG_TP_SIZE": gpus(settings),
            "SM_SGLANG_QUANTIZATION": settings.quantization,
            "SM_SGLANG_HOST": "0.0.0.0",
        }
    )


def _lmi(settings: Settings) -> dict[str, str]:
    name, revision = _model(settings)
    return _present(
        {
            "HF_MODEL_ID": name,
            "OPTION_REVISION": revision,
            "OPTION_ROLLING_BATCH": "disable",
            "OPTION_ASYNC_MODE": "true",
            "OPTION_ENTRYPOINT": "djl_python.lmi_vllm.vllm_async_service",
            "OPTION_MAX_MODEL_LEN": settings.context_tokens,
            "OPTION_MAX_ROLLING_BATCH_SIZE": settings.parallel,
            "OPTION_TENSOR_PARALLEL_DEGREE": gpus(settings),
            "OPTION_QUANTIZE": settings.quantization,
            "OPTION_LIMIT_MM_PER_PROMPT": _images(settings),
            # If a model does not load, the container ends, with the reason in its log.
            "SERVING_FAIL_FAST": "true",
        }
    )


def _tgi(settings: Settings) -> dict[str, str]:
    name, revision = _model(settings)
    return _present(
        {
            "HF_MODEL_ID": name,
            "REVISION": revision,
            "SM_NUM_GPUS": gpus(settings),
            "MAX_TOTAL_TOKENS": settings.context_tokens,
            "MAX_INPUT_TOKENS": settings.context_tokens - 1,
            "MAX_BATCH_SIZE": settings.parallel,
            "QUANTIZE": settings.quantization,
        }
    )


_KINDS: dict[str, Callable[[Settings], dict[str, str]]] = {
    "sluice": _sluice,
    "vllm": _vllm,
    "sglang": _sglang,
    "lmi": _lmi,
    "tgi": _tgi,
}
