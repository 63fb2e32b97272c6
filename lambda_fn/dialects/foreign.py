"""The dialects of other servers: what they are sent, and how their answers end.

They get no `sluice` member, no model name (each serves one, under a name of its own) and always `stream`. Nothing
bounds them but `max_tokens` and their own context length; the deadline is kept by closing the stream.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from lambda_fn.dialects import Decoder
from lambda_fn.dialects.failures import failure_of
from lambda_fn.dialects.sse import StreamDecoder
from lambda_fn.errors import APIError, InvalidRequest, from_container
from lambda_fn.schema import ChatRequest, Control, plain_body

Fields = dict[str, Any]
_json = msgspec.json.Encoder()


class Foreign:
    """A server of its own dialect."""

    def __init__(self, name: str, shape: Callable[[Fields], Fields], *, refused: tuple[str, ...], done: bool) -> None:
        """Say how it differs.

        Args:
            name: What it is called in refusals.
            shape: Makes its body of OpenAI's.
            refused: Fields it cannot do; `n` is refused over 1.
            done: Whether its streams end in `[DONE]`.

        """
        self._name = name
        self._shape = shape
        self._refused = refused
        self._done = done

    def check(self, request: ChatRequest) -> None:
        """Refuse fields that the server would ignore, or fail on."""
        for name in self._refused:
            value = getattr(request, name)
            plain = value == 1 if name == "n" else value is False
            if name == "response_format":
                plain = value is not None and msgspec.to_builtins(value)["type"] == "text"
            if value is not None and not plain:
                raise InvalidRequest(
                    f"'{name}' is not supported: this model runs on a server ({self._name}) that cannot do it.",
                    param=name,
                    code="unsupported_parameter",
                )

    def body(self, request: ChatRequest, control: Control) -> bytes:
        """Give the server's body."""
        fields: Fields = msgspec.to_builtins(plain_body(request))
        fields.pop("model")
        for message in fields["messages"]:
            if message["role"] == "developer":  # templates know it by its older name
                message["role"] = "system"
        return _json.encode({**self._shape(fields), "stream": True})

    def cancel(self, request_id: str) -> None:
        """Give nothing: these servers end a request when its connection does, or at its last token."""

    def decoder(self, choices: int) -> Decoder:
        """Give a decoder of its stream."""
        return StreamDecoder(choices, done=self._done)

    def rejection(self, status: int, body: str) -> APIError:
        """Give the public error for an HTTP error of it."""
        failure = failure_of(body, status)
        return from_container(failure.code, failure.message)


def _openai(fields: Fields) -> Fields:
    # running counts keep an answer that is cut or left exactly metered
    return {**fields, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def _tgi(fields: Fields) -> Fields:
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    if fields.get("top_p") == 1:  # it takes less than one; one is no cut at all
        del fields["top_p"]
    if "seed" in fields:
        fields["seed"] %= 2**63
    form = fields.pop("response_format", {"type": "text"})
    if form["type"] != "text":
        schema = (form.get("json_schema") or {}).get("schema", {"type": "object"})
        fields["response_format"] = {"type": "json_object", "value": schema}
    return {**fields, "stream_options": {"include_usage": True}}


def _lmi_inputs(fields: Fields) -> Fields:
    """Put the messages' texts together, for a model without a chat template."""
    parameters: Fields = {"details": True}
    names = {"max_tokens": "max_new_tokens", "frequency_penalty": "frequency_penalty"}
    names |= {name: name for name in ("temperature", "top_p", "seed", "presence_penalty")}
    parameters |= {theirs: fields[ours] for ours, theirs in names.items() if ours in fields}
    if (stop := fields.get("stop")) is not None:
        parameters["stop"] = [stop] if isinstance(stop, str) else stop
    texts = (_text(message.get("content")) for message in fields["messages"])
    return {"inputs": "\n\n".join(text for text in texts if text), "parameters": parameters}


def _text(content: str | list[Fields] | None) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content or [])


OPENAI = Foreign("vLLM or SGLang", _openai, refused=(), done=True)
LMI = Foreign("LMI", _openai, refused=(), done=False)
LMI_INPUTS = Foreign(
    "LMI, `inputs`",
    _lmi_inputs,
    refused=("n", "tools", "tool_choice", "response_format", "logprobs", "logit_bias"),
    done=False,
)
TGI = Foreign("TGI", _tgi, refused=("n", "logit_bias"), done=False)
