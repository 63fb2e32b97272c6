"""Tools, the choice of them, and the format of a response."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parts import Identifier, Rejected, ToolName

Description = Annotated[str, Meta(max_length=100_000)]


class Function(Struct, frozen=True, omit_defaults=True):
    """A function that the model may call. `parameters` is a JSON schema."""

    name: ToolName
    description: Description | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Struct, frozen=True, tag="function", tag_field="type"):
    """The only supported kind of tool."""

    function: Function


class CustomTool(Rejected, frozen=True, tag="custom", tag_field="type"):
    """A tool whose input is free text."""

    why: ClassVar[str] = "custom tools are not supported: use tools of type 'function'"


class FunctionName(Struct, frozen=True):
    """The name of a function."""

    name: ToolName


class ChosenFunction(Struct, frozen=True, tag="function", tag_field="type"):
    """The function that must be called."""

    function: FunctionName


class AllowedSet(Struct, frozen=True):
    """The tools that may be called now, and whether one must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenFunction | CustomTool], Meta(min_length=1, max_length=128)]


class AllowedTools(Struct, frozen=True, tag="allowed_tools", tag_field="type"):
    """A choice among some of the tools."""

    allowed_tools: AllowedSet


Tools = Annotated[list[FunctionTool | CustomTool], Meta(min_length=1, max_length=128)]
ToolChoice = Literal["none", "auto", "required"] | ChosenFunction | AllowedTools | CustomTool


class TextFormat(Struct, frozen=True, tag="text", tag_field="type"):
    """Any text."""


class JsonObject(Struct, frozen=True, tag="json_object", tag_field="type", omit_defaults=True):
    """Any JSON object, or one that matches a schema, as llama.cpp's clients write it."""

    schema: dict[str, Any] | None = None


class Schema(Struct, frozen=True, omit_defaults=True):
    """A JSON schema with a name. It guides the response whether `strict` is set or not."""

    name: Identifier
    description: Description | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchema(Struct, frozen=True, tag="json_schema", tag_field="type"):
    """JSON that matches a schema. The model's container checks the schema."""

    json_schema: Schema


ResponseFormat = TextFormat | JsonObject | JsonSchema


def chosen(tools: list[FunctionTool | CustomTool], choice: ToolChoice | None) -> tuple[Any, Any]:
    """Return the tools and the choice as the container takes them.

    If the choice is `allowed_tools`, only those tools are returned, and their mode is the choice.

    Raises:
        InvalidRequest: the choice names a tool that does not exist, or two tools have the same
            name.

    """
    names = [tool.function.name for tool in tools if type(tool) is FunctionTool]
    if len(set(names)) < len(names):
        raise InvalidRequest("Two tools have the same name.", param="tools")
    if type(choice) is ChosenFunction and choice.function.name not in names:
        raise InvalidRequest(
            f"The function '{choice.function.name}' is not among the tools.",
            param="tool_choice.function.name",
        )
    if type(choice) is not AllowedTools:
        return tools, choice
    allowed = {
        tool.function.name for tool in choice.allowed_tools.tools if type(tool) is ChosenFunction
    }
    if not allowed <= set(names):
        raise InvalidRequest(
            f"The function '{min(allowed - set(names))}' is not among the tools.",
            param="tool_choice.allowed_tools.tools",
        )
    kept = [tool for tool in tools if type(tool) is FunctionTool and tool.function.name in allowed]
    return kept, choice.allowed_tools.mode


def check_schemas(
    response_format: ResponseFormat | None,
    tools: list[FunctionTool | CustomTool] | None,
    choice: ToolChoice | None,
) -> None:
    """Check every JSON schema that guides the response, for every kind of server.

    Tools that the model may choose to call are limited to the schemas that llama.cpp's own
    converter takes.

    Raises:
        InvalidRequest: an engine cannot take a schema; the error names the member.

    """
    forms: list[tuple[tuple[str | int, ...], Any]] = []
    parameters: list[tuple[tuple[str | int, ...], Any]] = []
    if type(response_format) is JsonSchema and response_format.json_schema.schema is not None:
        forms.append(
            (("response_format", "json_schema", "schema"), response_format.json_schema.schema)
        )
    for number, tool in enumerate(tools or ()):
        if type(tool) is FunctionTool and tool.function.parameters is not None:
            parameters.append(
                (("tools", number, "function", "parameters"), tool.function.parameters)
            )
    if not forms and not parameters:
        return
    mode = choice.allowed_tools.mode if type(choice) is AllowedTools else choice
    # Imported here and not at a cold start, because most requests have no schema.
    from schema_guard import SchemaRefused, check_plain

    try:
        check_plain(forms, by="llguidance")
        check_plain(parameters, by="llama.cpp" if mode in (None, "auto") else "llguidance")
    except SchemaRefused as refusal:
        path = refusal.path
        raise InvalidRequest(
            f"Invalid '{path}': {refusal.reason}.", param=path, code="invalid_value"
        ) from None
