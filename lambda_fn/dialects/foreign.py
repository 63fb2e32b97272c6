"""The dialects of other servers: their request bodies, and the ends of their responses.

A request body has no `sluice` member. It has no model name, because each server serves one model
under another name. It always has `stream`. Only `max_tokens` and the context length bound the work
of such a server. At the deadline, the function closes the stream.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from lambda_fn.dialects import Decoder, samplers
from lambda_fn.dialects.sse import StreamDecoder
from lambda_fn.errors import APIError, InvalidRequest, from_container
from lambda_fn.schema import ChatRequest, Control, plain_body
from lambda_fn.schema.reasoning import SENT, for_server, refused, wanted
from lambda_fn.schema.structured import sent_name

Fields = dict[str, Any]
_json = msgspec.json.Encoder()


class Foreign:
    """The dialect of a server that is not our container."""

    def __init__(
        self,
        name: str,
        shape: Callable[[Fields], Fields],
        *,
        taken: tuple[str, ...],
        rejected: tuple[str, ...] = (),
        stops: int = 32,
        done: bool,
        switches: bool = True,
    ) -> None:
        """Describe how the server differs from OpenAI.

        Args:
            name: The name of the server in rejections.
            shape: Turns the members of OpenAI's body into those of the server's.
            taken: The parameters of `Extras` that the server takes.
            rejected: Parameters that the server cannot honour. `n` is rejected over 1.
            stops: The maximum number of stop strings.
            done: Whether the server's streams end in `[DONE]`.
            switches: Whether the server takes parameters about reasoning, and that of earlier
                responses.

        """
        self._name = name
        self._shape = shape
        self._taken = taken
        self._rejected = rejected
        self._stops = stops
        self._done = done
        self.switches = switches
        self.prefills = "continue_final_message" in taken

    def check(self, request: ChatRequest) -> None:
        """Reject parameters that the server cannot honour, unless they are at their default."""
        for name in self._rejected:
            value = getattr(request, name)
            is_default = value == 1 if name == "n" else value is False
            if name == "response_format":
                is_default = value is not None and msgspec.to_builtins(value)["type"] == "text"
            if value is not None and not is_default:
                raise self._cannot(sent_name(request, name), "that cannot do it")
        if (untaken := samplers.untaken(request, self._taken)) is not None:
            which = "; set dialect=vllm or dialect=sglang" if self._taken is samplers.BOTH else ""
            raise self._cannot(sent_name(request, untaken), f"that does not take it{which}")
        if isinstance(request.stop, list) and len(request.stop) > self._stops:
            raise self._cannot("stop", f"that takes at most {self._stops} of them")
        if not (self.switches or wanted(request).off) and any(for_server(request).values()):
            raise refused(
                wanted(request).param,
                f"this model runs on a server ({self._name}) that takes nothing about reasoning",
            )

    def _cannot(self, name: str, why: str) -> InvalidRequest:
        return InvalidRequest(
            f"'{name}' is not supported: this model runs on a server ({self._name}) {why}.",
            param=name,
            code="unsupported_parameter",
        )

    def body(self, request: ChatRequest, control: Control) -> bytes:
        """Return the server's body."""
        fields: Fields = msgspec.to_builtins(plain_body(request))
        fields.pop("model")
        for message in fields["messages"]:
            if message["role"] == "developer":  # chat templates know only the older name
                message["role"] = "system"
            if not self.switches:
                message.pop("reasoning_content", None)
        if not self.switches:  # what turns reasoning off has no effect
            for name in SENT:
                fields.pop(name, None)
        _write_schemas(fields)
        fields = samplers.shaped(fields, self._taken)
        return _json.encode({**self._shape(fields), "stream": True})

    def count(self, request: ChatRequest, control: Control) -> bytes:
        """Return the body of an answer of one token: these servers count only what they answer.

        Their `/tokenize` has another path, and SageMaker reaches one path only.
        """
        limits = {"max_tokens": 1, "max_completion_tokens": None}
        return self.body(msgspec.structs.replace(request, **limits), control)

    def cancel(self, request_id: str) -> None:
        """Return None: these servers end a request when its connection closes."""

    def decoder(self, choices: int, limit: int | None = None) -> Decoder:
        """Return a new decoder of the server's stream."""
        return StreamDecoder(choices, done=self._done, limit=limit)

    def rejection(self, status: int, body: str) -> APIError:
        """Return the public error for an HTTP error of the server."""
        from lambda_fn.dialects.failures import failure_of  # not at a cold start

        failure = failure_of(body, status)
        return from_container(failure.code, failure.message, failure.param)


def _write_schemas(fields: Fields) -> None:
    """Rewrite in place what clients write in schemas and these servers refuse in their own words.

    `properties: null` is such a member. Every schema has been checked as it is rewritten.
    """
    holders = [tool["function"] for tool in fields.get("tools") or () if "function" in tool]
    form = fields.get("response_format") or {}
    if form.get("json_schema"):
        holders.append(form["json_schema"])
    names = ("parameters", "schema")
    found = [(it, name) for it in holders for name in names if it.get(name) is not None]
    if not found:
        return
    from schema_guard import plain  # not at a cold start

    for holder, name in found:
        holder[name] = plain(holder[name], by="llguidance")


_GREEDY_BELOW = 1e-5
_LEAST_TEMPERATURE = 0.01


def _openai(fields: Fields) -> Fields:
    if fields.get("n", 1) > 1 and fields.get("temperature", 1) < _GREEDY_BELOW:
        # vLLM accepts n > 1 for random sampling only. With top_k 1 the choices are still greedy.
        fields |= {"temperature": _LEAST_TEMPERATURE, "top_k": 1}
    # With running counts, a response that is truncated or abandoned is metered exactly.
    return {**fields, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}


def _tgi(fields: Fields) -> Fields:
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    if fields.get("top_p") == 1:  # TGI takes values below 1; 1 has no effect
        del fields["top_p"]
    if "seed" in fields:
        fields["seed"] %= 2**63
    form = fields.pop("response_format", {"type": "text"})
    if form["type"] != "text":
        schema = (form.get("json_schema") or {}).get("schema", {"type": "object"})
        fields["response_format"] = {"type": "json_object", "value": schema}
    return {**fields, "stream_options": {"include_usage": True}}


def _lmi_inputs(fields: Fields) -> Fields:
    """Return one prompt of the messages' texts, for a model without a chat template."""
    parameters: Fields = {"details": True}
    names = {"max_tokens": "max_new_tokens", "frequency_penalty": "frequency_penalty"}
    names |= {name: name for name in ("temperature", "top_p", "seed", "presence_penalty")}
    names |= {name: name for name in samplers.LMI_INPUTS}
    parameters |= {theirs: fields[ours] for ours, theirs in names.items() if ours in fields}
    if (stop := fields.get("stop")) is not None:
        parameters["stop"] = [stop] if isinstance(stop, str) else stop
    texts = (_text(message.get("content")) for message in fields["messages"])
    return {"inputs": "\n\n".join(text for text in texts if text), "parameters": parameters}


def _text(content: str | list[Fields] | None) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content or [])


OPENAI = Foreign("vLLM or SGLang", _openai, taken=samplers.BOTH, done=True)
VLLM = Foreign("vLLM", _openai, taken=samplers.VLLM, done=True)
SGLANG = Foreign("SGLang", _openai, taken=samplers.SGLANG, done=True)
LMI = Foreign("LMI", _openai, taken=samplers.VLLM, done=False)
LMI_INPUTS = Foreign(
    "LMI, `inputs`",
    _lmi_inputs,
    taken=samplers.LMI_INPUTS,
    rejected=("n", "tools", "tool_choice", "response_format", "logprobs", "logit_bias"),
    done=False,
    switches=False,
)
TGI = Foreign(
    "TGI", _tgi, taken=(), rejected=("n", "logit_bias"), stops=4, done=False, switches=False
)
