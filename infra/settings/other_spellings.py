"""Refuses variables of the setting `environment` that say what another setting says.

A server reads one setting under several names. vLLM and SGLang make an option of each variable with
their prefix, in any case, and their parsers accept the beginning of an option's name. LMI reads
`OPTION_*` in any case, and knows vLLM's names beside its own. TGI's entrypoint copies variables of
Hugging Face's and SageMaker's names.
"""

import json
from collections.abc import Iterator, Mapping

from infra.settings.container import Container
from infra.settings.deployment import Settings
from infra.settings.fields import SettingsError

_PORT = ""
"""Marks an option that no setting can change: SageMaker calls a container on port 8080."""
_PREFIXES: Mapping[Container, str] = {
    "vllm": "SM_VLLM_",
    "sglang": "SM_SGLANG_",
    "lmi": "OPTION_",
}
_OPTIONS: Mapping[Container, Mapping[str, str]] = {
    "vllm": {
        "MODEL": "weights",
        "REVISION": "weights",
        "SERVED_MODEL_NAME": "model_name",
        "MAX_MODEL_LEN": "context_tokens",
        "MAX_NUM_SEQS": "parallel",
        "TENSOR_PARALLEL_SIZE": "tensor_parallel",
        "TP": "tensor_parallel",
        "QUANTIZATION": "quantization",
        "LIMIT_MM_PER_PROMPT": "max_images",
        "HOST": _PORT,
        "PORT": _PORT,
    },
    "sglang": {
        "MODEL_PATH": "weights",
        "MODEL": "weights",
        "REVISION": "weights",
        "SERVED_MODEL_NAME": "model_name",
        "CONTEXT_LENGTH": "context_tokens",
        "MAX_RUNNING_REQUESTS": "parallel",
        "TP": "tensor_parallel",
        "TP_SIZE": "tensor_parallel",
        "TENSOR_PARALLEL_SIZE": "tensor_parallel",
        "QUANTIZATION": "quantization",
        "HOST": _PORT,
        "PORT": _PORT,
    },
    "lmi": {
        "MODEL_ID": "weights",
        "MODEL": "weights",
        "REVISION": "weights",
        "MAX_MODEL_LEN": "context_tokens",
        "MAX_ROLLING_BATCH_SIZE": "parallel",
        "MAX_NUM_SEQS": "parallel",
        "TENSOR_PARALLEL_DEGREE": "tensor_parallel",
        "TENSOR_PARALLEL_SIZE": "tensor_parallel",
        "LIMIT_MM_PER_PROMPT": "max_images",
        "QUANTIZE": "quantization",
        "QUANTIZATION": "quantization",
    },
}
"""Options of each server, without its prefix."""
_ABBREVIATED: tuple[Container, ...] = ("vllm", "sglang")
_LEAST = 3
"""The minimum number of characters of an abbreviated option."""
_NAMES: Mapping[Container, Mapping[str, str]] = {
    "sluice": {"SAGEMAKER_BIND_TO_PORT": _PORT},
    "lmi": {
        "HF_REVISION": "weights",
        "TENSOR_PARALLEL_DEGREE": "tensor_parallel",
        "SERVING_PORT": _PORT,
    },
    "tgi": {
        "MODEL_ID": "weights",
        "REVISION": "weights",
        "HF_MODEL_REVISION": "weights",
        "SM_NUM_GPUS": "tensor_parallel",
        "NUM_SHARD": "tensor_parallel",
        "SHARDED": "tensor_parallel",
        "MAX_TOTAL_TOKENS": "context_tokens",
        "MAX_INPUT_TOKENS": "context_tokens",
        "MAX_INPUT_LENGTH": "context_tokens",
        "MAX_BATCH_SIZE": "parallel",
        "QUANTIZE": "quantization",
        "HF_MODEL_QUANTIZE": "quantization",
        "HOSTNAME": _PORT,
        "PORT": _PORT,
    },
}
"""Variables without a prefix. HF_MODEL_ID is refused for each container."""
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_HUB_TOKEN")
VLLM_ARGUMENTS = {
    "model": "weights",
    "revision": "weights",
    "max_model_len": "context_tokens",
    "max_num_seqs": "parallel",
    "tensor_parallel_size": "tensor_parallel",
    "quantization": "quantization",
}
"""Fields of vLLM's AsyncEngineArgs that settings set, which SLUICE_VLLM_ARGS must not have."""


def check(settings: Settings) -> None:
    """Check `environment` against the settings beside it.

    Raises:
        SettingsError: the message names the variable and the setting.

    """
    seen: dict[str, str] = {}
    for name, value in settings.environment.items():
        option = _option(settings.container, name)
        if option is not None and (other := seen.setdefault(option, name)) != name:
            raise SettingsError(
                f"environment={name}: {settings.container} reads {other} as the same option; set "
                "one of them"
            )
        for what, setting in _said(settings, name, option, value):
            if setting == _PORT:
                raise SettingsError(
                    f"environment={what}: SageMaker calls the container on port 8080 of each "
                    "address; leave it out"
                )
            raise SettingsError(
                f"environment={what}: set it by the setting {setting}, which is "
                f"{_shown(getattr(settings, setting))}"
            )


def _said(
    settings: Settings, name: str, option: str | None, value: str
) -> Iterator[tuple[str, str]]:
    """Yield each option that a variable sets, and the setting that sets the same."""
    upper = name.upper()
    container = settings.container
    if (setting := _NAMES.get(container, {}).get(upper)) is not None:
        yield name, setting
    if upper == "HF_MODEL_ID":
        yield name, "weights"
    if upper in _TOKENS and settings.huggingface_secret is not None:
        yield name, "huggingface_secret"
    for known, setting in _OPTIONS.get(container, {}).items():
        if option is not None and (
            option == known
            or (container in _ABBREVIATED and len(option) >= _LEAST and known.startswith(option))
        ):
            yield name, setting
    if upper == "SLUICE_VLLM_ARGS":
        for argument in _members(value):
            if (setting := VLLM_ARGUMENTS.get(argument.replace("-", "_").lower())) is not None:
                yield f"{name}: {argument}", setting


def _option(container: Container, name: str) -> str | None:
    """Return the option that a server reads in a variable, in capitals; None if it reads none."""
    prefix = _PREFIXES.get(container)
    if prefix is None or not name.upper().startswith(prefix):
        return None
    return name.upper().removeprefix(prefix)


def _members(text: str) -> list[str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []  # our container's reader refuses it
    return list(value) if isinstance(value, dict) else []


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
