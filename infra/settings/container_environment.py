"""What each container is told by its environment: the same settings, under every server's own names.

Sources: `sagemaker_entrypoint.sh` of AWS's vLLM and SGLang containers, which make `--max-model-len` of
SM_VLLM_MAX_MODEL_LEN; the LMI user guide (OPTION_*); TGI's launcher arguments (MAX_TOTAL_TOKENS and others).
"""

from collections.abc import Callable, Mapping

from aws_cdk import SecretValue

from infra import instances
from infra.settings.container import HUGGING_FACE
from infra.settings.deployment import Settings
from infra.settings.fields import SettingsError

MODEL_FOLDER = "/opt/ml/model"
MORE = {
    "SLUICE_CHAT_TEMPLATE": "vllm",
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
}
"""What our container may be told beside what the settings say, and the engine that takes it, where one alone does:
docs/reference/container.md explains each.
"""
SAID_BY = {
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
}
"""What the settings say, and which."""
_MOST = 100
"""SageMaker's limit of entries."""


def environment(settings: Settings) -> dict[str, str]:
    """The container's environment.

    Raises SettingsError when a GPU instance is not known here and `tensor_parallel` does not say how many GPUs it has,
    and for a variable that our container does not know, or that another setting says.
    """
    if settings.container == "sluice":
        _check(settings.environment, settings.engine)
    told = {**_KINDS[settings.container](settings), **_token(settings), **settings.environment}
    if len(told) > _MOST:
        raise SettingsError(f"environment: SageMaker takes {_MOST} variables, with ours it is {len(told)}")
    return told


def _check(more: Mapping[str, str], engine: str) -> None:
    for name in more:
        if (said_by := SAID_BY.get(name)) is not None:
            raise SettingsError(f"environment={name}: is said by the setting {said_by}")
        if name.startswith("SLUICE_") and name not in MORE:
            raise SettingsError(f"environment={name}: our container has no such setting; it has {', '.join(MORE)}")
        if MORE.get(name, "") not in ("", engine):
            raise SettingsError(f"environment={name}: is a setting of engine={MORE[name]}, not of {engine}")


def gpus(settings: Settings) -> int:
    """How many GPUs share the model."""
    there = instances.gpus(settings.instance_type)
    found = settings.tensor_parallel or there
    if there is not None and found is not None and found > there:
        raise SettingsError(f"tensor_parallel={found}: {settings.instance_type} has {there}")
    if found is None:
        raise SettingsError(f"instance_type={settings.instance_type}: is not known here; say tensor_parallel, its GPUs")
    return found


def _token(settings: Settings) -> dict[str, str]:
    # A reference that CloudFormation resolves: the template never holds the token.
    if settings.huggingface_secret is None:
        return {}
    return {"HF_TOKEN": SecretValue.secrets_manager(settings.huggingface_secret).unsafe_unwrap()}


def _model(settings: Settings) -> tuple[str, str | None]:
    """The model's place and, of Hugging Face, its revision."""
    if not settings.from_hugging_face:
        return MODEL_FOLDER, None
    name, _, revision = str(settings.weights).removeprefix(HUGGING_FACE).partition("@")
    return name, revision or None


def _present(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _sluice(settings: Settings) -> dict[str, str]:
    told: dict[str, object] = {
        "SLUICE_ENGINE": settings.engine,
        "SLUICE_MODEL_NAME": settings.model_name,
        "SLUICE_CONTEXT_TOKENS": settings.context_tokens,
        "SLUICE_PARALLEL": settings.parallel,
        "SLUICE_TOKENS_PER_SECOND": f"{settings.tokens_per_second:g}",
        "SLUICE_WEIGHTS_SHA256": settings.weights_sha256,
    }
    if settings.engine == "vllm":
        name, revision = _model(settings)
        told |= {
            "SLUICE_MODEL_ID": name if settings.from_hugging_face else None,
            "SLUICE_MODEL_REVISION": revision,
            "SLUICE_TENSOR_PARALLEL": gpus(settings),
            "SLUICE_QUANTIZATION": settings.quantization,
        }
    return _present(told)


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
            "SERVING_FAIL_FAST": "true",  # a model that does not load ends the container, with its reason in the log
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
