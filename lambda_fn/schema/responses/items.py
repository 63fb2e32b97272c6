"""The items of an input and their content parts.

A message and a reference may leave out their `type`. So one class reads all items, and checks what
each kind needs.
"""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from lambda_fn.schema.parts import Rejected, Unsupported, WrongField

KINDS = (
    *("message", "function_call", "function_call_output", "reasoning", "item_reference"),
    "compaction",
)


class InputText(Struct, frozen=True, tag="input_text"):
    """A text."""

    text: str


class OutputText(InputText, frozen=True, tag="output_text"):
    """A text of an earlier response. Its annotations are not read."""


class PlainText(InputText, frozen=True, tag="text"):
    """A text, as parts of chats are written."""


class ReasoningText(InputText, frozen=True, tag="reasoning_text"):
    """Reasoning of an earlier response."""


class SummaryText(InputText, frozen=True, tag="summary_text"):
    """A summary of it."""


class Refusal(Struct, frozen=True, tag="refusal"):
    """A refusal of an earlier response."""

    refusal: str


class InputImage(Struct, frozen=True, tag="input_image", omit_defaults=True):
    """An image: a data URL, or an https URL from which the deployment fetches it."""

    image_url: Annotated[str, Meta(min_length=1)] | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: str | None = None

    def __post_init__(self) -> None:
        """Reject an image that is somewhere else."""
        if self.file_id is not None:
            raise Unsupported("this service keeps no files: send 'image_url'", "file_id")
        if self.image_url is None:
            raise WrongField("an image needs its URL", "image_url")


class InputFile(Rejected, frozen=True, tag="input_file"):
    """A file."""

    why: ClassVar[str] = "this model cannot read files (content parts of type 'input_file')"


class InputAudio(Rejected, frozen=True, tag="input_audio"):
    """A sound."""

    why: ClassVar[str] = "this model cannot read audio (content parts of type 'input_audio')"


class Screenshot(Rejected, frozen=True, tag="computer_screenshot"):
    """What a computer shows."""

    why: ClassVar[str] = "this service runs no tools (content parts of type 'computer_screenshot')"


Text = InputText | OutputText | PlainText | ReasoningText | SummaryText
Part = Text | Refusal | InputImage | InputFile | InputAudio | Screenshot
Parts = Annotated[list[Part], Meta(max_length=4096)]


class Item(Struct, frozen=True, omit_defaults=True):
    """An item. Its kind is its `type`, or what its other members say.

    The members of the second group are those of calls and of their outputs, and the last one is
    that of a compaction. Reasoning may have it, too, and it is not read there.
    """

    type: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | Parts | None = None
    id: str | None = None
    summary: Parts | None = None

    call_id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    arguments: str | dict[str, Any] | None = None
    output: str | Parts | dict[str, Any] | None = None

    encrypted_content: str | None = None

    @property
    def kind(self) -> str:
        """The kind of item."""
        if self.type is not None:
            return self.type
        return "item_reference" if self.role is None and self.id is not None else "message"

    def __post_init__(self) -> None:
        """Check that the kind is supported, and that the item has what its kind needs."""
        kind = self.kind
        if kind not in KINDS:
            raise Unsupported(f"items of type '{kind[:64]}' are not supported", "type")
        for name in _NEEDED[kind]:
            if getattr(self, name) is None:
                raise _Missing(f"an item of type '{kind}' needs '{name}'", name)
        if isinstance(self.output, dict) and kind == "function_call_output":
            raise WrongField("a text or a list of content parts is expected", "output")


class _Missing(WrongField):
    """A member that the kind of item needs is not there."""

    code = "missing_required_parameter"


_NEEDED: dict[str, tuple[str, ...]] = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name"),
    "function_call_output": ("call_id", "output"),
    "reasoning": (),
    "item_reference": ("id",),
    "compaction": ("encrypted_content",),
}
