"""The tools of a request, in OpenAI's shapes, and what of them a model is to see."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Json: TypeAlias = dict[str, Any]
Name: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class ToolDefinition(_Model):
    """A function that the model may call; without `parameters` it takes none."""

    name: Name
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class Tool(_Model):
    """The only kind of tool that a model of its own can have."""

    type: Literal["function"]
    function: ToolDefinition


class _Named(_Model):
    name: Name


class NamedTool(_Model):
    """The choice of one tool, which must be called."""

    type: Literal["function"]
    function: _Named


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedTool
Tools: TypeAlias = Annotated[list[Tool], Field(max_length=128, fail_fast=True)]


def problem(tools: list[Tool] | None, choice: ToolChoice | None) -> str | None:
    """Why the two do not fit together, if they do not."""
    if choice in (None, "none", "auto"):
        return None
    if not tools:
        return "tool_choice needs tools"
    if isinstance(choice, NamedTool) and all(tool.function.name != choice.function.name for tool in tools):
        return f"tool_choice names {choice.function.name!r}, which is not among the tools"
    return None


def visible(tools: list[Tool] | None, choice: ToolChoice | None) -> list[Tool]:
    """The tools that the prompt shows: none where none may be called, the chosen one alone where it must be."""
    if choice == "none":
        return []
    if isinstance(choice, NamedTool):
        return [tool for tool in tools or () if tool.function.name == choice.function.name]
    return tools or []
