"""The container's settings, read from the environment once, at start."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.engines import ENGINES
from model.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Typed, within their limits. Tokens and requests are counts, `tokens_per_second` 0 means unpaced."""

    engine: str = "llama_cpp"
    model_name: str = "sluice-demo"
    model_dir: Path = Path("/opt/ml/model")
    context_tokens: int = 4096
    parallel: int = 16
    queue: int = 256
    tokens_per_second: float = 0.0
    engine_threads: int = 1
    host: str = "0.0.0.0"
    port: int = 8080

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read and check; raises StartError that names the variable, what it holds and what it may hold."""
        known = {f"SLUICE_{field.name.upper()}": field.name for field in fields(cls) if field.name != "port"}
        for name in environment:
            if name.startswith("SLUICE_") and name not in known:
                raise StartError(f"{name} is not a setting; there are {', '.join(known)}")
        known["SAGEMAKER_BIND_TO_PORT"] = "port"  # SageMaker's own name for it
        values: dict[str, Any] = {}
        for name, field in known.items():
            if name in environment:
                try:
                    values[field] = _READERS[field](environment[name])
                except ValueError as error:
                    raise StartError(f"{name}={environment[name]!r}: {error}") from None
        return cls(**values)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        raise ValueError(f"a whole number from {low} to {high} is needed")

    return read


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 10_000:  # false for NaN as well
        raise ValueError("a number from 0 to 10000 is needed")
    return value


def _name(text: str) -> str:
    if not text or len(text) > 256 or not text.isprintable():
        raise ValueError("1 to 256 printable characters are needed")
    return text


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("a folder is needed")
    return Path(text)


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _engine(text: str) -> str:
    if text not in ENGINES:
        raise ValueError(f"one of {', '.join(ENGINES)} is needed")
    return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    "engine": _engine,
    "model_name": _name,
    "model_dir": _folder,
    "context_tokens": _whole(64, 1_048_576),
    "parallel": _whole(1, 256),  # llama.cpp has at most 256 sequences
    "queue": _whole(0, 100_000),
    "tokens_per_second": _rate,
    "engine_threads": _whole(1, 256),
    "host": _address,
    "port": _whole(1, 65535),
}
