"""The parts that the request types share: field types, rejected objects and extensions."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from lambda_fn.patterns import Kind

Tokens = Annotated[int, Meta(ge=1, le=10_000_000)]
StopString = Annotated[str, Meta(min_length=1, max_length=1_000)]
# OpenAI takes 4 stop strings, 8 choices here and 64 characters of a function's name. Servers take
# more, so only the setting `strict` keeps to that.
Stop = StopString | Annotated[list[StopString], Meta(max_length=32)]
Name = Annotated[str, Meta(max_length=256)]
# In Python `$` alone also matches before a last line feed.
Identifier = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[a-zA-Z0-9_-]+$(?!\n)")]
ToolName = Annotated[str, Meta(min_length=1, max_length=128, pattern="^[a-zA-Z0-9_.:/@-]+$(?!\n)")]
Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Choices = Annotated[int, Meta(ge=1, le=128)]
LogitBias = Annotated[
    dict[
        Annotated[str, Meta(pattern="^[0-9]{1,9}$(?!\n)")], Annotated[float, Meta(ge=-100, le=100)]
    ],
    Meta(max_length=1024),
]
Metadata = Annotated[
    # DynamoDB takes no empty name.
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
Buffering = Literal["none", "word", "sentence", "line", "json"]


class WrongField(ValueError):
    """A field has a value that its type cannot rule out. `field` is its name in its object."""

    code = "invalid_value"

    def __init__(self, why: str, field: str) -> None:
        """Keep the reason and the field."""
        super().__init__(why)
        self.field = field


class Unsupported(WrongField):
    """A part of a request is valid for OpenAI but cannot be honoured here."""

    code = "unsupported_value"


class Rejected(Struct, frozen=True):
    """A type of object that is recognised by its tag only to explain why it is rejected."""

    why: ClassVar[str]

    def __post_init__(self) -> None:
        """Reject the object."""
        raise Unsupported(self.why, str(self.__struct_config__.tag_field))


class StreamOptions(Struct, frozen=True, omit_defaults=True):
    """Options of a streamed response."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Rules(Struct, frozen=True):
    """How strictly a deployment reads requests.

    With `strict`, what OpenAI refuses is refused. With `loose_tool_history`, a conversation may
    have tool calls without their results, and results without their calls.
    """

    strict: bool = False
    loose_tool_history: bool = False


class Source(Struct, frozen=True, forbid_unknown_fields=True):
    """A source that an answer may cite by a marker with its id, such as `[1]` or `【doc-2】`."""

    id: Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\[\]【】,†\s]+$(?!\n)")]
    url: Annotated[str, Meta(max_length=2_048, pattern=r"^https?://[^\s\x00-\x1f]+$(?!\n)")]
    title: Annotated[str, Meta(max_length=512)] = ""


class ModerationMode(Struct, frozen=True):
    """Whether what is flagged is blocked, or only told."""

    mode: Literal["score", "block"]


class ModerationModes(Struct, frozen=True, omit_defaults=True):
    """The modes of a request's own moderation."""

    input: ModerationMode | None = None
    output: ModerationMode | None = None


class ModerationOptions(Struct, frozen=True, omit_defaults=True):
    """OpenAI's `moderation`: that the response tells what was flagged, and what is blocked.

    The deployment has the rules, whatever `model` names.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    policy: ModerationModes | None = None


class Extensions(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The object `sluice` of a request: what can be asked for beyond OpenAI's API.

    It takes precedence over headers. An unknown member is refused, because a misspelt `redact`
    would otherwise hide nothing.
    """

    buffer: Buffering | None = None
    durable: bool | None = None
    """Whether the response is logged, so that a client whose connection ends can resume it."""
    cache: Annotated[int, Meta(ge=1, le=2_592_000)] | None = None
    """The greatest age in seconds of an earlier response that may answer the request."""
    on_cut: Literal["continue", "fail"] | None = None
    """What happens if the model's container ends before the response."""
    redact: Annotated[list[Kind], Meta(max_length=32)] | None = None
    moderate: Literal["block"] | None = None
    """Whether the deployment's rules block this request and its answer, if they would not."""
    sources: Annotated[list[Source], Meta(max_length=100)] | None = None

    def __post_init__(self) -> None:
        """Check that no two sources have the same id."""
        ids = [source.id for source in self.sources or ()]
        if len(set(ids)) < len(ids):
            raise WrongField("two sources have the same id", "sources")
