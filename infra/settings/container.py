"""Settings of the container that runs the model: its image, weights and environment."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra import instances
from infra.settings import other_models, weights_files
from infra.settings.fields import SettingsError, setting
from lambda_fn.settings import HOST, MAX_IMAGES, DialectName

Container = Literal["sluice", "vllm", "sglang", "lmi", "tgi"]
Engine = Literal["llama_cpp", "vllm", "scripted"]

DIALECTS: dict[Container, DialectName] = {
    "sluice": "sluice",
    "vllm": "vllm",
    "sglang": "sglang",
    "lmi": "lmi",
    "tgi": "tgi",
}
"""The dialect of each container, unless the setting `dialect` names another."""
HUGGING_FACE = "hf:"
_NAME = other_models.NAME
_SECRET = r"arn:aws[\w-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@!-]+|[\w/+=.@!-]{1,512}"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class ContainerSettings:
    """The container.

    `sluice` is ours, from model/. The others are AWS's Deep Learning Containers of these names.
    """

    container: Container = setting(default="sluice")
    # None: the deployment builds our container from model/, and takes the images of AWS's
    # containers from infra/images/images.json.
    image_uri: str | None = setting(
        pattern=r"[\w.-]+(:\d+)?/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})",
        form="host/repository:tag",
    )
    image_build: Literal["docker", "codebuild"] = setting(default="docker")
    """The tool that builds our container."""
    dialect: DialectName | None = setting(default=None)
    """None: the container's default dialect."""
    weights: str | None = setting(
        pattern=r"s3://[a-z0-9][a-z0-9.-]+/.+|hf:[\w.-]+/[\w.-]+(@[\w./-]+)?|(?!s3:|hf:).+",
        form="a file, or s3://bucket/key, or s3://bucket/prefix/, or hf:organisation/model",
    )
    weights_sha256: str | None = setting(
        default=None,
        pattern=r"[0-9a-f]{64}",
        form="the SHA-256 of the one weights file, 64 hexadecimal digits",
    )
    """The SHA-256 of the one file that `weights` names; our container refuses any other file."""
    huggingface_secret: str | None = setting(
        default=None,
        pattern=_SECRET,
        form="the name or ARN of a secret of Secrets Manager that holds the token",
    )
    engine: Engine
    """The engine of our container."""
    model_name: str = setting(pattern=other_models.NAME, form=other_models.NAME_FORM)
    context_tokens: int = setting(minimum=64, maximum=1_048_576)
    parallel: int = setting(minimum=1, maximum=256)
    """The number of answers generated at once; further requests wait."""
    tokens_per_second: float = setting(minimum=0, maximum=10_000)
    """The pace of each answer; 0: unlimited."""
    tensor_parallel: int | None = setting(default=None, minimum=1, maximum=64)
    """None: all GPUs of the instance."""
    quantization: str | None = setting(
        default=None, pattern=r"[\w.-]{1,64}", form="a name such as fp8 or awq"
    )
    max_images: int = setting(default=0, minimum=0, maximum=MAX_IMAGES)
    """The number of images that a request may have; 0 for a model of text."""
    image_tokens: int | None = setting(default=None, minimum=1, maximum=1_048_576)
    """The number of tokens that the model makes of an image at most; None: by its size."""
    image_hosts: tuple[str, ...] = setting(
        default=(),
        pattern=HOST,
        form="host names in lower case: images.example.com,*.example.org",
    )
    """The hosts from which the function fetches images; none: only images in the request."""
    reasoning: Literal["shown", "hidden", "none"] = setting(default="shown")
    """Whether clients get the model's reasoning; `none`: the model does not reason."""
    reasoning_tags: str | None = setting(
        default=None,
        pattern=r"[<\[][!-~]{1,30}[>\]]( [<\[][!-~]{1,30}[>\]])?",
        form="two tags with a space between, as <think> </think>, or the closing one alone",
    )
    """The tags around reasoning, of a server without a reasoning parser."""
    environment: Mapping[str, str] = setting(
        default={},
        pattern=r"(?s).{0,1024}",
        form='a JSON object of texts, 1,024 characters each: {"NAME": "value"}',
    )
    """Additional environment variables of the container."""

    # Models of other existing endpoints: name -> `lambda_fn.settings.Model` as JSON.
    other_models: Mapping[str, str] = setting(
        default={},
        pattern=r"(?s)\{.*\}",
        form='a JSON object: {"NAME": {"endpoint": "E", "context_tokens": N, "dialect": "openai"}}',
    )

    embeddings: bool = setting(default=False)
    """Whether the model makes embeddings, on vLLM's server."""
    aliases: Mapping[str, str] = setting(
        default={},
        pattern=_NAME,
        form='a JSON object of names, each with the model that it means: {"gpt-4o": "sluice-demo"}',
    )
    """Other names of models."""
    fallbacks: Mapping[str, str] = setting(
        default={},
        pattern=_NAME,
        form='a JSON object of models, each with the one in its place: {"sluice-demo": "big"}',
    )
    """The models that answer for others that have no capacity."""

    @property
    def others(self) -> dict[str, dict[str, Any]]:
        """The other models as JSON objects, without members that are null."""
        return {
            name: {key: value for key, value in json.loads(text).items() if value is not None}
            for name, text in self.other_models.items()
        }

    @property
    def model_dialect(self) -> DialectName:
        """The dialect: the setting's, else the container's."""
        return self.dialect or DIALECTS[self.container]

    @property
    def on_gpu(self) -> bool:
        """Whether the container needs a GPU."""
        return self.container != "sluice" or self.engine == "vllm"

    @property
    def from_hugging_face(self) -> bool:
        """Whether the container downloads its weights itself."""
        return self.weights is not None and self.weights.startswith(HUGGING_FACE)

    def check_container(self, *, instance_type: str, network_isolation: bool | None) -> None:
        """Raise SettingsError for the first settings that contradict each other."""
        weights = self.weights or ""
        rules = [
            (
                self.on_gpu and not instances.has_gpu(instance_type),
                (
                    f"instance_type={instance_type}: {self._what} needs a GPU; ml.g6.xlarge has "
                    "the cheapest"
                ),
            ),
            (
                self.on_gpu and weights.lower().endswith(".gguf"),
                (
                    f"weights={weights}: {self._what} reads Hugging Face models; set "
                    "s3://bucket/prefix/ "
                    "(sluice model push) or hf:organisation/model"
                ),
            ),
            (
                not self.on_gpu and self.weights is None and self.image_uri is None,
                "weights=none: there is no model in the image that is built from model/",
            ),
            (
                self.from_hugging_face and not self.on_gpu,
                (
                    f"weights={weights}: {self._what} cannot download; put the GGUF file into S3 "
                    "(sluice model push)"
                ),
            ),
            (
                self.weights_sha256 is not None
                and (
                    self.container != "sluice"
                    or self.engine != "llama_cpp"
                    or not weights.lower().endswith(".gguf")
                ),
                (
                    "weights_sha256: only our container's engine=llama_cpp checks it, for one "
                    "GGUF file"
                ),
            ),
            *(
                (
                    not self.on_gpu and value is not None,
                    f"{name}={value}: has an effect on GPUs only, not with {self._what}",
                )
                for name, value in (
                    ("tensor_parallel", self.tensor_parallel),
                    ("quantization", self.quantization),
                )
            ),
            (
                self.from_hugging_face and network_isolation is True,
                f"network_isolation=true: the container downloads weights={weights} when it starts",
            ),
            (
                self.huggingface_secret is not None and not self.from_hugging_face,
                (
                    f"huggingface_secret={self.huggingface_secret}: has an effect with "
                    "weights=hf:organisation/model only"
                ),
            ),
            (
                self.embeddings and self.model_dialect not in ("openai", "vllm"),
                "embeddings=true: vLLM's server makes them (container=vllm)",
            ),
            (
                self.reasoning == "none" and self.reasoning_tags is not None,
                f"reasoning_tags={self.reasoning_tags}: has no effect with reasoning=none",
            ),
            (
                self.model_dialect == "lmi-inputs" and self.container not in ("lmi", "sluice"),
                f"dialect=lmi-inputs: container=lmi has this dialect, {self.container} does not",
            ),
        ]
        for contradicts, message in rules:
            if contradicts:
                raise SettingsError(message)
        if weights and (self.on_gpu or self.engine == "llama_cpp"):
            weights_files.check_name(weights, reads_gguf=not self.on_gpu)
        other_models.check(self.other_models, own=self.model_name)
        models = (self.model_name, *self.other_models)
        for alias, name in self.aliases.items():
            if re.fullmatch(other_models.NAME, alias) is None:
                raise SettingsError(f"aliases={alias[:80]!r}: a name has {other_models.NAME_FORM}")
            if alias in models:
                raise SettingsError(f"aliases={alias}: a model has this name itself")
            if name not in models:
                raise SettingsError(
                    f"aliases={alias}: there is no model {name}; there are {', '.join(models)}"
                )
        for first, second in self.fallbacks.items():
            for name in (first, second):
                if name not in models:
                    raise SettingsError(
                        f"fallbacks={first}: there is no model {name}; there are "
                        f"{', '.join(models)}"
                    )
            if first == second:
                raise SettingsError(f"fallbacks={first}: it cannot answer for itself")
        for name in self.environment:
            if re.fullmatch(r"[a-zA-Z_]\w{0,1023}", name) is None:
                raise SettingsError(
                    f"environment={name}: must be the name of an environment variable"
                )

    @property
    def _what(self) -> str:
        return (
            f"engine={self.engine}" if self.container == "sluice" else f"container={self.container}"
        )
