"""The tools of a request, in OpenAI's shapes, and which of them a model sees."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Json: TypeAlias = dict[str, Any]
# In Python `$` alone also matches before a last line feed. Anthropic's names are twice as long as
# OpenAI's.
Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,128}\z")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class ToolDefinition(_Model):
    """A function that the model may call; without `parameters` it takes none."""

    name: Name
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(_Model):
    """A function tool, the only kind that this container supports."""

    type: Literal["function"]
    function: ToolDefinition


class _Named(_Model):
    name: Name


class NamedTool(_Model):
    """The choice of one tool, which the model must call."""

    type: Literal["function"]
    function: _Named


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedTool
Tools: TypeAlias = Annotated[list[Tool], Field(min_length=1, max_length=128, fail_fast=True)]


def problem(tools: list[Tool] | None, choice: ToolChoice | None) -> str | None:
    """Return the reason why tools and choice do not fit together, or None."""
    if tools and len({tool.function.name for tool in tools}) < len(tools):
        return "two tools have the same name"
    if choice in (None, "none", "auto"):
        return None
    if not tools:
        return "tool_choice needs tools"
    if isinstance(choice, NamedTool) and all(
        tool.function.name != choice.function.name for tool in tools
    ):
        return f"tool_choice names {choice.function.name!r}, which is not among the tools"
    return None


def visible(tools: list[Tool] | None, choice: ToolChoice | None) -> list[Tool]:
    """Return the tools that the prompt shows.

    With the choice "none" there are none. With the choice of one tool, it is the only one.
    """
    if choice == "none":
        return []
    if isinstance(choice, NamedTool):
        return [tool for tool in tools or () if tool.function.name == choice.function.name]
    return tools or []
