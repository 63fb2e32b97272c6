"""Rewrites what clients of other servers send, where nothing of its meaning is lost. Pure.

It is used for a body that does not match the request types. The setting `strict` turns it off.
"""

from typing import Any

Fields = dict[str, Any]
_ROLES_WITH_CONTENT = ("system", "developer", "user", "tool")
_TEXT_PARTS = ("input_text", "output_text")
_LIMITS = ("max_tokens", "max_completion_tokens", "n_predict")


def relaxed(body: Fields) -> None:
    """Rewrite a body, a JSON object of any content, in place."""
    unlimited = [name for name in _LIMITS if body.get(name) == -1]
    for name in unlimited:  # as llama.cpp, Ollama and LangChain write it
        del body[name]
    if unlimited and "prompt" in body:
        body["max_tokens"] = -1  # completions have a limit unless this says that there is none
    _stops(body)
    for message in _objects(body.get("messages")):
        _message(message)
    if body.get("tools") == []:
        del body["tools"]
    for tool in _objects(body.get("tools")):
        _tool(tool)
    if "tool_choice" in body:
        body["tool_choice"] = _choice(body["tool_choice"])
    if isinstance(form := body.get("response_format"), dict):
        _form(form)


def _objects(value: object) -> list[Fields]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _stops(body: Fields) -> None:
    """Leave out stop strings that are empty, which stop nothing."""
    stop = body.get("stop")
    if stop == "":
        del body["stop"]
    elif isinstance(stop, list):
        body["stop"] = [each for each in stop if each not in ("", None)]


def _message(message: Fields) -> None:
    if message.get("tool_calls", ...) in ([], None):
        message.pop("tool_calls", None)
    for call in _objects(message.get("tool_calls")):
        if isinstance(call.get("function"), dict):
            call.setdefault("type", "function")
    content = message.get("content")
    if content in (None, []):
        says = message.get("tool_calls") or message.get("refusal")
        if message.get("role") in _ROLES_WITH_CONTENT or (
            message.get("role") == "assistant" and not says
        ):
            message["content"] = ""
        else:
            message.pop("content", None)
    elif isinstance(content, list):
        message["content"] = [_part(part) for part in content]


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, dict) and part.get("type") in _TEXT_PARTS:
        return {"type": "text", "text": part.get("text")}
    return part


def _tool(tool: Fields) -> None:
    """Rewrite a tool in OpenAI's form.

    The Responses API writes the function's members beside `type`.
    """
    if isinstance(tool.get("function"), dict):
        tool.setdefault("type", "function")
    elif tool.get("type") == "function" and "name" in tool:
        members = ("name", "description", "parameters", "strict")
        tool["function"] = {name: tool.pop(name) for name in members if name in tool}


def _choice(choice: Any) -> Any:
    """Return a choice of tools in OpenAI's form. Others name it as Anthropic and Mistral do."""
    if choice == "any":
        return "required"
    if not isinstance(choice, dict):
        return choice
    kind = choice.get("type")
    if kind in ("none", "auto", "required", "any"):
        return "required" if kind == "any" else kind
    if kind in ("function", "tool") and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}
    if kind is None and isinstance(choice.get("function"), dict):
        return {"type": "function", "function": choice["function"]}
    return choice


def _form(form: Fields) -> None:
    """Rewrite a format in OpenAI's form: a schema within `json_schema`, with a name."""
    if form.get("type") != "json_schema":
        return
    if "schema" in form and form.get("json_schema") is None:
        form["json_schema"] = {"schema": form.pop("schema")}
    if isinstance(form.get("json_schema"), dict):
        form["json_schema"].setdefault("name", "answer")
