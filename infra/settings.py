"""Settings of a deployment: three stages as values, checked where they are made.

`local`, `dev` and `prod` differ here and nowhere else. A single setting is overridden from the command line through
CDK context (`cdk deploy -c stage=dev -c parallel=8`), which infra.context reads.
"""

import dataclasses
import platform
import re
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

Architecture = Literal["x86_64", "arm64"]
Engine = Literal["llama_cpp", "scripted"]
LogRetention = Literal[1, 7, 14, 30, 90, 365]
PriceClass = Literal["100", "200", "all"]
Stage = Literal["local", "dev", "prod"]
Wheels = Literal["lambda", "host"]


class SettingsError(ValueError):
    """A setting is unknown or its value makes no sense; the message is for the person who gave it."""


def _setting(
    *, least: float | None = None, most: float | None = None, pattern: str | None = None, form: str = ""
) -> Any:
    """A field with its bounds (inclusive) or the pattern of its text, `form` being that pattern in words."""
    return dataclasses.field(metadata={"least": least, "most": most, "pattern": pattern, "form": form})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can differ between two deployments.

    Raises SettingsError for a value out of its bounds. Bounds are those of the services where they have one
    (function memory 128..10240 MB, ARN-safe names), and otherwise where a larger value can only be a slip.
    """

    stage: Stage
    name: str = _setting(pattern=r"[a-z][a-z0-9-]{0,23}", form="lower-case letters, digits and hyphens, 24 at most")
    # The container. `image_uri` none: built from model/ by `cdk deploy`, which needs a Docker engine.
    image_uri: str | None = _setting(
        pattern=r"[\w.-]+(:\d+)?/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})", form="host/repository:tag"
    )
    weights: str = _setting(
        pattern=r"s3://[a-z0-9][a-z0-9.-]+/.+|(?!s3:).+", form="a file, or s3://bucket/key, or s3://bucket/prefix/"
    )
    engine: Engine
    model_name: str = _setting(pattern=r"[\w][\w.:/-]{0,63}", form="letters, digits and ._:/-, 64 at most")
    context_tokens: int = _setting(least=64, most=1_048_576)
    parallel: int = _setting(least=1, most=256)
    tokens_per_second: float = _setting(least=0, most=10_000)  # paces each answer; 0 is as fast as it goes
    # The endpoint.
    instance_type: str = _setting(pattern=r"ml\.[a-z0-9-]+\.[a-z0-9]+", form="like ml.c5.large")
    instance_count: int = _setting(least=1, most=100)
    startup_seconds: int = _setting(least=60, most=3600)  # SageMaker's own bounds
    # The stream function.
    python_version: str = _setting(pattern=r"3\.1[1-9]", form="3.11 or newer")
    architecture: Architecture
    wheels: Wheels  # `host`: built for this machine, which the local cloud runs it on
    memory_mb: int = _setting(least=128, most=10_240)
    reserved_concurrency: int | None = _setting(least=1, most=100_000)
    # Keys, usage, and who is told when the meter needs a person.
    admin_url: bool  # the admin API is below /admin/ of the distribution; without, IAM alone leads to it
    recovered_alarm: int = _setting(least=1, most=1_000_000)  # requests that one sweep had to settle
    alarm_topic: str | None = _setting(pattern=r"arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+", form="an SNS topic's ARN")
    # What is kept and for how long.
    retain: bool  # tables survive their stack, and neither is deleted without being told twice
    log_retention_days: LogRetention
    price_class: PriceClass

    def __post_init__(self) -> None:
        """Check every field against its type's choices, its bounds and its pattern."""
        for field in dataclasses.fields(self):
            check(field.name, getattr(self, field.name))

    def replace(self, **changes: object) -> "Settings":
        """The same settings with `changes`, checked."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]  # __post_init__ checks them


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
TYPES: dict[str, Any] = get_type_hints(Settings)


def check(name: str, value: object) -> None:
    """Raise SettingsError when setting `name` may not be `value`."""
    if value is None and type(None) in get_args(TYPES[name]):
        return
    choices = choices_of(name)
    meta = FIELDS[name].metadata
    pattern: str | None = meta.get("pattern")
    wrong_choice = choices is not None and value not in choices
    out_of_bounds = isinstance(value, int | float) and _out_of_bounds(value, meta.get("least"), meta.get("most"))
    malformed = pattern is not None and re.fullmatch(pattern, str(value)) is None
    if wrong_choice or out_of_bounds or malformed:
        raise SettingsError(f"{name}={value}: must be {wanted(name)}")


def _out_of_bounds(value: float, least: float | None, most: float | None) -> bool:
    return least is not None and most is not None and not least <= value <= most


def choices_of(name: str) -> tuple[Any, ...] | None:
    """The values a setting can have, None when they are not a short list."""
    return get_args(TYPES[name]) if getattr(TYPES[name], "__origin__", None) is Literal else None


def wanted(name: str) -> str:
    """What a setting takes, in words."""
    if TYPES[name] is bool:
        return "true or false"
    choices = choices_of(name)
    meta = FIELDS[name].metadata
    if choices is not None:
        said = " or ".join(", ".join(map(str, choices)).rsplit(", ", 1))
    elif meta.get("least") is not None:
        number = "a number" if TYPES[name] is float else "a whole number"
        said = f"{number} from {meta['least']} to {meta['most']}"
    else:
        said = meta["form"]
    return f"{said}, or none" if type(None) in get_args(TYPES[name]) else said


DEV = Settings(
    stage="dev",
    name="sluice",
    image_uri=None,
    weights="model/demo/weights/sluice-demo.gguf",
    engine="llama_cpp",
    model_name="sluice-demo",
    context_tokens=4096,
    parallel=16,
    tokens_per_second=0.0,
    instance_type="ml.c5.large",  # the cheapest with AVX-512: about 0.10 USD an hour
    instance_count=1,
    startup_seconds=300,
    python_version="3.14",
    architecture="arm64",
    wheels="lambda",
    memory_mb=512,
    reserved_concurrency=None,  # a new account has 10 in all and may reserve none of them
    admin_url=True,
    recovered_alarm=10,
    alarm_topic=None,
    retain=False,
    log_retention_days=7,
    price_class="100",
)

PROD = DEV.replace(
    stage="prod",
    instance_count=2,  # SageMaker spreads two over two zones
    reserved_concurrency=200,  # the ceiling of what a flood of requests can cost
    retain=True,
    log_retention_days=90,
    price_class="all",
)


def host_python_version() -> str:
    """The minor version of the running interpreter, like `3.13`."""
    return f"3.{sys.version_info.minor}"


def host_architecture() -> Architecture:
    """The machine we run on, by Lambda's name for it."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def local() -> Settings:
    """The stage of the local cloud: no image is built, the function runs on this machine's own Python.

    Paced at 40 tokens/s, so that a person sees the demo model stream.
    """
    return DEV.replace(
        stage="local",
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/sluice-model:local",
        tokens_per_second=40.0,
        python_version=host_python_version(),
        architecture=host_architecture(),
        wheels="host",
        reserved_concurrency=256,
    )


def of_stage(stage: str) -> Settings:
    """The settings of a stage by its name. Raises SettingsError for an unknown one."""
    if stage == "local":
        return local()
    for settings in (DEV, PROD):
        if settings.stage == stage:
            return settings
    raise SettingsError(f"stage={stage}: must be {wanted('stage')}")
