"""Settings of what runs the model: the container, its weights, and what it is told."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from infra import instances
from infra.settings.fields import SettingsError, setting

Container = Literal["sluice", "vllm", "sglang", "lmi", "tgi"]
Dialect = Literal["sluice", "openai", "lmi", "lmi-inputs", "tgi"]
Engine = Literal["llama_cpp", "vllm", "scripted"]

DIALECTS: dict[Container, Dialect] = {
    "sluice": "sluice",
    "vllm": "openai",
    "sglang": "openai",
    "lmi": "lmi",
    "tgi": "tgi",
}
"""What each container speaks, unless told otherwise."""
HUGGING_FACE = "hf:"
_SECRET = r"arn:aws[\w-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@!-]+|[\w/+=.@!-]{1,512}"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class ContainerSettings:
    """The container. `sluice` is ours, of model/; the others are AWS's Deep Learning Containers of that name."""

    container: Container = setting(default="sluice")
    # None: ours is built from model/ by the deployment, another's is the one that infra/images/images.json names.
    image_uri: str | None = setting(
        pattern=r"[\w.-]+(:\d+)?/[\w./-]+(:[\w.-]+|@sha256:[0-9a-f]{64})", form="host/repository:tag"
    )
    image_build: Literal["docker", "codebuild"] = setting(default="docker")  # by whom ours is built
    dialect: Dialect | None = setting(default=None)  # None: the container's own
    weights: str | None = setting(
        pattern=r"s3://[a-z0-9][a-z0-9.-]+/.+|hf:[\w.-]+/[\w.-]+(@[\w./-]+)?|(?!s3:|hf:).+",
        form="a file, or s3://bucket/key, or s3://bucket/prefix/, or hf:organisation/model",
    )
    weights_sha256: str | None = setting(  # of the one file that `weights` names; our container refuses another
        default=None, pattern=r"[0-9a-f]{64}", form="the SHA-256 of the one weights file, 64 hexadecimal digits"
    )
    huggingface_secret: str | None = setting(
        default=None, pattern=_SECRET, form="the name or ARN of a secret of Secrets Manager that holds the token"
    )
    engine: Engine  # of our container
    model_name: str = setting(pattern=r"[\w][\w.:/-]{0,63}", form="letters, digits and ._:/-, 64 at most")
    context_tokens: int = setting(least=64, most=1_048_576)
    parallel: int = setting(least=1, most=256)  # answers generated at once; more wait
    tokens_per_second: float = setting(least=0, most=10_000)  # paces each answer; 0 is as fast as it goes
    tensor_parallel: int | None = setting(default=None, least=1, most=64)  # None: all GPUs of the instance
    quantization: str | None = setting(default=None, pattern=r"[\w.-]{1,64}", form="a name such as fp8 or awq")
    environment: Mapping[str, str] = setting(  # anything else that the container is to be told
        default={}, pattern=r"(?s).{0,1024}", form='a JSON object of texts, 1,024 characters each: {"NAME": "value"}'
    )

    # Models of endpoints that exist already, beside this one: name -> the function's setting of a model.
    other_models: Mapping[str, str] = setting(
        default={},
        pattern=r"(?s)\{.*\}",
        form='a JSON object: {"NAME": {"endpoint": "E", "context_tokens": N, "dialect": "openai"}}',
    )

    @property
    def others(self) -> dict[str, dict[str, Any]]:
        """The other models, as the function is told of them."""
        return {name: json.loads(text) for name, text in self.other_models.items()}

    @property
    def spoken(self) -> Dialect:
        """The dialect, whoever says it."""
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
        """Raise SettingsError for the first pair of settings that contradict each other."""
        weights = self.weights or ""
        rules = [
            (
                self.on_gpu and not instances.has_gpu(instance_type),
                f"instance_type={instance_type}: {self._what} needs a GPU; ml.g6.xlarge has the cheapest",
            ),
            (
                self.on_gpu and weights.endswith(".gguf"),
                (
                    f"weights={weights}: {self._what} reads Hugging Face models; give s3://bucket/prefix/ "
                    "(sluice model push) or hf:organisation/model"
                ),
            ),
            (
                not self.on_gpu and self.weights is None and self.image_uri is None,
                "weights=none: there is no model in the image that is built from model/",
            ),
            (
                self.from_hugging_face and not self.on_gpu,
                f"weights={weights}: {self._what} cannot download; put the GGUF file into S3 (sluice model push)",
            ),
            (
                self.weights_sha256 is not None
                and (self.container != "sluice" or self.engine != "llama_cpp" or not weights.endswith(".gguf")),
                "weights_sha256: is checked by our container's engine=llama_cpp, of one GGUF file",
            ),
            *(
                (
                    not self.on_gpu and value is not None,
                    f"{name}={value}: is of use on GPUs only, not with {self._what}",
                )
                for name, value in (("tensor_parallel", self.tensor_parallel), ("quantization", self.quantization))
            ),
            (
                self.from_hugging_face and network_isolation is True,
                f"network_isolation=true: the container downloads weights={weights} when it starts",
            ),
            (
                self.huggingface_secret is not None and not self.from_hugging_face,
                f"huggingface_secret={self.huggingface_secret}: is of use with weights=hf:organisation/model only",
            ),
            (
                self.spoken == "lmi-inputs" and self.container not in ("lmi", "sluice"),
                f"dialect=lmi-inputs: is spoken by container=lmi only, not by {self.container}",
            ),
        ]
        for contradicts, message in rules:
            if contradicts:
                raise SettingsError(message)
        for name, model in self.others.items():
            if not {"endpoint", "context_tokens"} <= set(model) or model.get("dialect", "sluice") not in get_args(
                Dialect
            ):
                raise SettingsError(f"other_models={name}: needs endpoint, context_tokens, and a dialect that is known")
        for name in self.environment:
            if re.fullmatch(r"[a-zA-Z_]\w{0,1023}", name) is None:
                raise SettingsError(f"environment={name}: must be the name of an environment variable")

    @property
    def _what(self) -> str:
        return f"engine={self.engine}" if self.container == "sluice" else f"container={self.container}"
