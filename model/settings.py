"""The container's settings, read from the environment once, at the start.

`python -m model settings` prints their table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model import readers
from model.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.readers import Reader

# SageMaker's limits on the environment of a model (CreateModel, ContainerDefinition): bytes of a
# value, entries, and bytes of all entries together.
MAX_VALUE_BYTES = 1024
MAX_ENTRIES = 100
MAX_TOTAL_BYTES = 32 * 1024
_MAX_TEMPLATE = 1_048_576
"""Bytes of a chat template. The longest ones of known models have some 20,000."""
ENGINES: Mapping[str, str] = {
    "llama_cpp": "model.engines.llama_cpp:LlamaCppEngine",
    "scripted": "model.engines.scripted:ScriptedEngine",
    "vllm": "model.engines.vllm:VllmEngine",
}
_RANKS = ("1", "8", "16", "32", "64", "128", "256", "320", "512")


def _of(default: Any, reader: Reader, says: str, *, engine: str = "", variable: str = "") -> Any:
    """Return the field of a setting; `engine` names the engines that have it, if not all do."""
    return field(
        default=default,
        metadata={"reader": reader, "says": says, "engine": engine, "variable": variable},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings, typed and within their limits. None leaves the choice to the engine."""

    engine: str = _of("llama_cpp", readers.one_of(ENGINES), "What runs the model")
    model_name: str = _of("sluice-demo", readers.name(), "Name of the model")
    model_dir: Path = _of(
        Path("/opt/ml/model"),
        readers.folder,
        "Where the weights are: one GGUF model, or a Hugging Face model for vllm",
    )
    context_tokens: int = _of(
        4096, readers.whole(64, 1_048_576), "Tokens of prompt and answer together"
    )
    parallel: int = _of(
        16, readers.whole(1, 256), "Answers generated at once; further requests wait"
    )
    queue: int = _of(
        256, readers.whole(0, 100_000), "Requests that may wait; further ones are a 429"
    )
    tokens_per_second: float = _of(
        0.0, readers.number(0, 10_000), "Pace of every answer in tokens a second; 0 means no limit"
    )
    max_seconds: int = _of(
        470,
        readers.whole(1, 86_400),
        "The longest answer, if the request has no shorter deadline (SageMaker: 480 s)",
    )
    slow_reader_seconds: int = _of(
        60,
        readers.whole(1, 3600),
        "After this many seconds without reading, a caller counts as gone",
    )
    caller_token: str | None = _of(
        None,
        readers.name(64),
        "What callers must send as X-Sluice-Caller; unset, every caller is answered",
    )
    host: str = _of("0.0.0.0", readers.address, "Where to listen")
    port: int = _of(
        8080, readers.whole(1, 65_535), "Where to listen", variable="SAGEMAKER_BIND_TO_PORT"
    )
    weights_file: str | None = _of(
        None,
        readers.name(),
        "The GGUF file to serve, where the folder has several models",
        engine="llama_cpp",
    )
    weights_sha256: str | None = _of(
        None,
        readers.sha256,
        "The checksum of the GGUF file; the container does not start with another file",
        engine="llama_cpp",
    )
    engine_threads: int = _of(1, readers.whole(1, 256), "Threads that compute", engine="llama_cpp")
    model_id: str | None = _of(
        None,
        readers.repository,
        "Weights from Hugging Face instead of a folder; HF_TOKEN for gated ones",
        engine="vllm",
    )
    model_revision: str | None = _of(
        None, readers.name(), "Branch, tag or commit of `SLUICE_MODEL_ID`", engine="vllm"
    )
    tensor_parallel: int = _of(
        0,
        readers.whole(0, 64),
        "GPUs that share the model; 0 is all of the instance",
        engine="vllm",
    )
    quantization: str | None = _of(
        None,
        readers.name(64),
        "fp8, awq_marlin, bitsandbytes, …; unset, as the weights define it",
        engine="vllm",
    )
    dtype: str = _of(
        "auto",
        readers.one_of(("auto", "bfloat16", "float16", "float32")),
        "Type of weights",
        engine="vllm",
    )
    kv_cache_dtype: str = _of(
        "auto", readers.name(32), "Type of the cache: auto, fp8, …", engine="vllm"
    )
    gpu_memory: float = _of(
        0.9, readers.number(0.1, 1), "Share of each GPU's memory that may be used", engine="vllm"
    )
    prefix_caching: bool = _of(
        True, readers.switch, "Keep the cache of prompts that begin alike", engine="vllm"
    )
    tool_parser: str | None = _of(
        None,
        readers.name(64),
        "vLLM's parser of the model's tool calls; without it tools are a 400",
        engine="vllm",
    )
    reasoning_parser: str | None = _of(
        None, readers.name(64), "vLLM's parser of the model's reasoning", engine="vllm"
    )
    chat_template: Path | None = _of(
        None,
        readers.file,
        "A Jinja template instead of the model's own; the path may begin in `SLUICE_MODEL_DIR`",
        engine="llama_cpp, vllm",
    )
    max_images: int = _of(
        0, readers.whole(0, 64), "Images of a request; 0 for a model of text", engine="vllm"
    )
    lora_adapters: Mapping[str, str] | None = _of(
        None,
        readers.adapters,
        "LoRA adapters, each under the name of a model: sql=/opt/ml/model/sql,…",
        engine="vllm",
    )
    lora_rank: str = _of(
        "16", readers.one_of(_RANKS), "The largest rank of the adapters", engine="vllm"
    )
    trust_remote_code: bool = _of(
        False, readers.switch, "Run Python code that comes with weights", engine="vllm"
    )
    vllm_args: Mapping[str, Any] | None = _of(
        None,
        readers.json_object,
        'Any other fields of AsyncEngineArgs: {"enforce_eager": true}',
        engine="vllm",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check the environment.

        Raises StartError that names the variable, its value and what it accepts.
        """
        _check_limits(
            {name: value for name, value in environment.items() if name.startswith("SLUICE_")}
        )
        known = {variable_of(item): item for item in fields(cls)}
        for name in environment:
            if name.startswith("SLUICE_") and name not in known:
                raise StartError(f"{name} is not a setting; there are {', '.join(known)}")
        values: dict[str, Any] = {}
        for name, item in known.items():
            if name in environment:
                try:
                    values[item.name] = item.metadata["reader"](environment[name])
                except ValueError as error:
                    raise StartError(f"{name}={environment[name]!r}: {error}") from None
        settings = cls(**values)
        for name, item in known.items():
            engines = item.metadata["engine"]
            if item.name in values and engines and settings.engine not in engines.split(", "):
                raise StartError(
                    f"{name} is a setting of the engine {engines}, not of {settings.engine}"
                )
        return settings

    def read_template(self) -> str | None:
        """Return the text of `chat_template`; None if it is not set.

        Raises StartError.
        """
        if self.chat_template is None:
            return None
        path = self.model_dir / self.chat_template
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_TEMPLATE + 1)
            text = data.decode()
        except OSError as error:
            raise StartError(f"SLUICE_CHAT_TEMPLATE: {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise StartError(f"SLUICE_CHAT_TEMPLATE: {path}: the file is not UTF-8 text") from None
        if len(data) > _MAX_TEMPLATE:
            raise StartError(
                f"SLUICE_CHAT_TEMPLATE: {path}: the file has more than {_MAX_TEMPLATE} bytes"
            )
        if not text.strip():
            raise StartError(f"SLUICE_CHAT_TEMPLATE: {path}: the file is empty")
        return text

    @property
    def models(self) -> tuple[str, ...]:
        """The names that a request may use, the model's own first."""
        return (self.model_name, *(self.lora_adapters or ()))


def variable_of(item: Any) -> str:
    """Return the environment variable of a field of Settings."""
    return item.metadata["variable"] or f"SLUICE_{item.name.upper()}"


def _check_limits(environment: Mapping[str, str]) -> None:
    total = 0
    for name, value in environment.items():
        size = len(value.encode("utf-8", "surrogateescape"))
        if size > MAX_VALUE_BYTES:
            raise StartError(
                f"{name} has {size} bytes; SageMaker accepts at most {MAX_VALUE_BYTES}"
            )
        total += len(name) + size
    if len(environment) > MAX_ENTRIES or total > MAX_TOTAL_BYTES:
        raise StartError(
            f"{len(environment)} settings with {total} bytes; "
            f"SageMaker accepts at most {MAX_ENTRIES} with {MAX_TOTAL_BYTES}"
        )


def table() -> str:
    """Return all settings, as a table in Markdown."""
    rows = ["| variable | default | takes | engine | what |", "|---|---|---|---|---|"]
    for item in fields(Settings):
        data = item.metadata
        default = (
            ""
            if item.default is None
            else str(item.default).lower()
            if isinstance(item.default, bool)
            else item.default
        )
        rows.append(
            f"| `{variable_of(item)}` | {default} | {data['reader'].takes} | "
            f"{data['engine']} | {data['says']} |"
        )
    return "\n".join(rows) + "\n"
