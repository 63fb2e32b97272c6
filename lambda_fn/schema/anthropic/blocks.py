"""The content blocks of messages, one type for each kind."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from lambda_fn.schema.parts import Name, Rejected

_SERVER = "this service runs no tools: content blocks of server tools are not supported"


class TextBlock(Struct, frozen=True, tag="text"):
    """A text."""

    text: str


class Base64Source(Struct, frozen=True, tag="base64"):
    """The bytes of an image."""

    media_type: Annotated[str, Meta(max_length=128)]
    data: str


class UrlSource(Struct, frozen=True, tag="url"):
    """The address of an image."""

    url: str


class FileSource(Rejected, frozen=True, tag="file"):
    """A file that was uploaded before."""

    why: ClassVar[str] = "this service keeps no files: send 'base64' or 'url'"


class ImageBlock(Struct, frozen=True, tag="image"):
    """An image."""

    source: Base64Source | UrlSource | FileSource


class ThinkingBlock(Struct, frozen=True, tag="thinking"):
    """The model's thoughts in an earlier turn.

    Its signature is not read: a caller may have written all of the conversation.
    """

    thinking: str


class RedactedThinkingBlock(Struct, frozen=True, tag="redacted_thinking"):
    """Thoughts that only Anthropic's service can read. They are left out."""


class ToolUseBlock(Struct, frozen=True, tag="tool_use"):
    """A call of a tool in an earlier turn."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    input: dict[str, Any] | str | None = None


class DocumentBlock(Rejected, frozen=True, tag="document"):
    """A file."""

    why: ClassVar[str] = "the model cannot read files (content blocks of type 'document')"


class SearchResultBlock(Rejected, frozen=True, tag="search_result"):
    """A passage to be cited."""

    why: ClassVar[str] = "the model cannot cite (content blocks of type 'search_result')"


class ToolReferenceBlock(Rejected, frozen=True, tag="tool_reference"):
    """A tool that a search has found."""

    why: ClassVar[str] = "tools cannot be loaded later: send all of them in 'tools'"


class ContainerUploadBlock(Rejected, frozen=True, tag="container_upload"):
    """A file for a server tool."""

    why: ClassVar[str] = _SERVER


class ServerToolUseBlock(Rejected, frozen=True, tag="server_tool_use"):
    """A call of a tool that Anthropic's service ran."""

    why: ClassVar[str] = _SERVER


class McpToolUseBlock(Rejected, frozen=True, tag="mcp_tool_use"):
    """A call of a tool that Anthropic's service ran on a server of MCP."""

    why: ClassVar[str] = _SERVER


class McpToolResultBlock(Rejected, frozen=True, tag="mcp_tool_result"):
    """Its result."""

    why: ClassVar[str] = _SERVER


class WebSearchResultBlock(Rejected, frozen=True, tag="web_search_tool_result"):
    """The result of a search that Anthropic's service made."""

    why: ClassVar[str] = _SERVER


class WebFetchResultBlock(Rejected, frozen=True, tag="web_fetch_tool_result"):
    """A page that Anthropic's service fetched."""

    why: ClassVar[str] = _SERVER


_Refused = DocumentBlock | SearchResultBlock | ToolReferenceBlock
ResultContent = Annotated[list[TextBlock | ImageBlock | _Refused], Meta(max_length=4096)]


class ToolResultBlock(Struct, frozen=True, tag="tool_result"):
    """The result of a tool call."""

    tool_use_id: Name
    content: str | ResultContent | None = None
    is_error: bool | None = None


Block = (
    TextBlock
    | ImageBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | _Refused
    | ContainerUploadBlock
    | ServerToolUseBlock
    | McpToolUseBlock
    | McpToolResultBlock
    | WebSearchResultBlock
    | WebFetchResultBlock
)
Blocks = Annotated[list[Block], Meta(max_length=4096)]
