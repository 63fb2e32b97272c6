"""Parameters beyond OpenAI's. Each engine takes some of them, and refuses the others by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic import model_validator as validator

from model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Collection


def _whole(value: Any) -> Any:
    """Take a whole number that is written as a decimal, as `4.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, strict=False)]
_TokenNumber: TypeAlias = Annotated[Whole, Field(ge=0, lt=2**31)]
_Word: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_Choice: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=1000)]


class Model(BaseModel):
    """The base of everything that is read from a request."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class StructuredOutputs(Model):
    """The form of an answer that is not JSON: one of some texts, or a regular expression."""

    choice: Annotated[list[_Choice], Field(min_length=1, max_length=500, fail_fast=True)] | None = (
        None
    )
    regex: Annotated[str, StringConstraints(max_length=10_000)] | None = None

    @validator(mode="after")
    def _is_one(self) -> Self:
        if (self.choice is None) == (self.regex is None):
            raise ValueError("one of choice and regex is needed")
        return self

    @property
    def schema_(self) -> dict[str, Any]:
        """The JSON schema of a string that is the answer, for the check."""
        if self.choice is not None:
            return {"enum": self.choice}
        return {"type": "string", "pattern": f"^(?:{self.regex})$"}


class Extras(Model):
    """The parameters. Their bounds keep native code from large allocations and long steps."""

    top_k: Annotated[Whole, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    top_n_sigma: Annotated[float, Field(ge=-1, le=100, strict=False)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2, strict=False)] | None = None
    repeat_last_n: Annotated[Whole, Field(ge=0, le=65_536)] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    dynatemp_range: Annotated[float, Field(ge=0, le=2, strict=False)] | None = None
    dynatemp_exponent: Annotated[float, Field(ge=0, le=10, strict=False)] | None = None
    mirostat: Annotated[Literal[0, 1, 2], BeforeValidator(_whole)] | None = None
    mirostat_tau: Annotated[float, Field(ge=0, le=100, strict=False)] | None = None
    mirostat_eta: Share | None = None
    min_keep: Annotated[Whole, Field(ge=0, le=1_000)] | None = None
    min_tokens: Annotated[Whole, Field(ge=0, le=10_000_000)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[_TokenNumber], Field(max_length=128, fail_fast=True)] | None = (
        None
    )
    bad_words: Annotated[list[_Word], Field(max_length=128, fail_fast=True)] | None = None
    allowed_token_ids: (
        Annotated[list[_TokenNumber], Field(min_length=1, max_length=1024, fail_fast=True)] | None
    ) = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Annotated[Whole, Field(ge=-1, le=16_777_216)] | None = None
    truncation_side: Literal["left", "right"] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    cache_salt: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    extra_key: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None

    def extras(self, taken: Collection[str], engine: str) -> dict[str, Any]:
        """Return the parameters that are set, by name.

        Raises:
            InvalidRequestError: one changes the answer and is not among the `taken`.

        """
        found = {
            name: value
            for name in Extras.model_fields
            if (value := getattr(self, name)) is not None
        }
        for name, value in found.items():
            if name not in taken and value != _NEUTRAL.get(name, ...):
                raise InvalidRequestError(f"{name}: {engine} does not take it", name)
        return {name: value for name, value in found.items() if name in taken}


_NEUTRAL: dict[str, Any] = {
    "top_k": -1,
    "min_p": 0,
    "typical_p": 1,
    "top_n_sigma": -1,
    "repetition_penalty": 1,
    "xtc_probability": 0,
    "dynatemp_range": 0,
    "mirostat": 0,
    "min_keep": 0,
    "min_tokens": 0,
    "ignore_eos": False,
    "stop_token_ids": [],
    "bad_words": [],
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "add_generation_prompt": True,
    "continue_final_message": False,
    "return_tokens_as_token_ids": False,
}
"""Values that change no answer."""
