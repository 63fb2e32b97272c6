"""Translates requests for llama.cpp, and its chunks into events.

Pure; the shapes are those of llama.cpp's OpenAI server.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from model.engines import chat_template, forced_call, guided, reasoning, tool_patterns
from model.errors import (
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    ModelError,
    NotReadyError,
)
from model.events import Delta, Event, Finish, FinishReason, Start, Usage
from schema_guard import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.schema import ChatRequest
    from model.tools import Tool

_RANDOM_SEED = 2**32 - 1  # with this seed llama.cpp chooses one itself
_PASSED_ON = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
)
TAKEN = {
    "repetition_penalty": "repeat_penalty",
    **{
        name: name
        for name in (
            *("top_k", "min_p", "typical_p", "top_n_sigma", "repeat_last_n", "min_keep"),
            *("xtc_probability", "xtc_threshold", "dynatemp_range", "dynatemp_exponent"),
            *("mirostat", "mirostat_tau", "mirostat_eta", "ignore_eos"),
            *("add_generation_prompt", "continue_final_message"),
        )
    },
}
"""Parameters beyond OpenAI's, and llama.cpp's names of them."""


def request_bodies(request: ChatRequest) -> list[dict[str, Any]]:
    """Return a body for each choice. They share the grammar, which takes time to write."""
    body = request_body(request)
    if request.seed is None:
        return [body] * request.n
    return [{**body, "seed": (request.seed + choice) % _RANDOM_SEED} for choice in range(request.n)]


def request_body(request: ChatRequest) -> dict[str, Any]:
    """Return the body for a choice without a seed.

    Values that the request leaves open have llama.cpp's defaults (temperature 0.8, min_p 0.05).

    Raises InvalidRequestError for a parameter that llama.cpp does not take.
    """
    extras = request.extras(TAKEN, "llama.cpp")
    body: dict[str, Any] = {
        "messages": [message.for_template() for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        # The first chunk then has the length of the prompt, before anything is sampled.
        "return_progress": True,
        "timings_per_token": True,  # every chunk has the number of tokens sampled so far
        "stop": list(request.stops),
    }
    body.update(
        {name: value for name in _PASSED_ON if (value := getattr(request, name)) is not None}
    )
    body.update({TAKEN[name]: value for name, value in extras.items()})
    last = request.messages[-1]
    if body.get("continue_final_message"):
        body["add_generation_prompt"] = False
    elif last.role == "assistant" and not last.tool_calls and not body.get("add_generation_prompt"):
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.limit is not None:
        body["max_tokens"] = request.limit
    if request.logprobs:
        # With 0, llama.cpp would send no candidates at all.
        body |= {"logprobs": True, "top_logprobs": max(1, request.top_logprobs or 0)}
    schema = guided.schema_of(request)
    if tools := request.visible_tools:
        # llama.cpp cannot force a tool by name. A forced tool is the only visible one, and the
        # grammar forces the call.
        body["tools"] = [_tool(tool, guides=schema is None) for tool in tools]
        # The prompt has the tools either way.
        body["tool_choice"] = "auto" if schema is None else "none"
        body["parallel_tool_calls"] = request.parallel_tool_calls
    if schema is not None:
        body["grammar"] = guided.grammar_of(schema)
    if request.structured_outputs is not None:
        body["grammar"] = guided.text_grammar_of(request.structured_outputs)
    # A guided answer is guided from its first token on, so it cannot begin with reasoning.
    return body | reasoning.fields(request, guided="grammar" in body)


def _tool(tool: Tool, *, guides: bool) -> dict[str, Any]:
    """Return a tool for the prompt.

    If its schema guides the call, it is written as llama.cpp reads it.
    """
    found = tool.model_dump(exclude_none=True)
    if guides and tool.function.parameters is not None:
        parameters = plain(tool.function.parameters, by="llama.cpp")
        found["function"]["parameters"] = tool_patterns.rewritten(parameters)
    return found


def guiding(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fields of a body from which llama.cpp makes a grammar; None if it makes none.

    The grammar is tried with these fields.
    """
    if "grammar" in body:
        return {"grammar": body["grammar"]}
    if "tools" not in body:
        return None
    # Descriptions are not part of the grammar.
    tools = [
        {
            "type": "function",
            "function": {**tool["function"], "description": ""},
        }
        for tool in body["tools"]
    ]
    return {
        "tools": tools,
        "tool_choice": "required",
        "parallel_tool_calls": body["parallel_tool_calls"],
    }


# The unfinished constant or number at the end of truncated JSON.
_CUT = re.compile(r"\s*(?:-|\.|[eE][-+]?|t|tr|tru|f|fa|fal|fals|n|nu|nul)?")


class ChunkReader:
    """Turns the chunks of one choice, in order, into events."""

    def __init__(
        self,
        choice: int,
        top_logprobs: int,
        *,
        must_call: bool = False,
        guided: bool = False,
        choices: Sequence[str] | None = None,
        stops: bool = False,
    ) -> None:
        self._choice = choice
        self._text: list[str] | None = [] if guided or choices else None
        self._choices = choices
        self._stops = stops
        self._call = forced_call.CallReader() if must_call else None
        self._top_logprobs = top_logprobs
        self._started = False
        self._tokens = 0
        self._finish: FinishReason | None = None
        self.whole = False

    def events(self, chunk: Mapping[str, Any]) -> list[Event]:
        """Return the events of a chunk.

        Raises the error that an error chunk reports.
        """
        if (error := chunk.get("error")) is not None:
            raise error_of(error)
        if (progress := chunk.get("prompt_progress")) is not None:
            if self._started:
                return []
            self._started = True
            return [Start(progress["total"])]
        if (usage := chunk.get("usage")) is not None:
            self.whole = self._finish is not None
            return [Usage(usage["prompt_tokens"], usage["completion_tokens"])]
        return [
            event for choice in chunk["choices"] for event in self._choice_events(choice, chunk)
        ]

    def _choice_events(self, choice: Mapping[str, Any], chunk: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        delta = choice["delta"]
        content = delta.get("content") or ""
        thoughts = delta.get("reasoning_content") or ""
        calls = tuple(delta.get("tool_calls") or ())
        if self._text is not None:
            self._text.append(content)
            if choice.get("finish_reason") == "stop":
                text = "".join(self._text)
                if self._choices is None:
                    _check_guided(text, cut=self._stops)
                elif text not in self._choices and not self._stops:
                    raise EngineError("the engine could not hold the answer to the choices")
        if self._call is not None:
            content, calls = "", tuple(self._call.feed(content))
        if content or thoughts or calls:
            sampled = chunk.get("timings", {}).get("predicted_n", self._tokens)
            tokens, self._tokens = sampled - self._tokens, sampled
            events.append(
                Delta(self._choice, tokens, content, thoughts, calls, self._logprobs(choice))
            )
        if (said := choice.get("finish_reason")) is not None:
            reason: FinishReason = (
                "tool_calls" if self._call is not None and said == "stop" else said
            )
            self._finish = reason
            events.append(Finish(self._choice, reason))
        return events

    def _logprobs(self, choice: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...] | None:
        logprobs = choice.get("logprobs")
        if logprobs is None:
            return None
        return tuple(
            {
                **_logprob(entry),
                "top_logprobs": [
                    _logprob(top) for top in entry["top_logprobs"][: self._top_logprobs]
                ],
            }
            for entry in logprobs["content"]
        )


def _check_guided(text: str, *, cut: bool) -> None:
    """Raise EngineError for an answer that ended by itself and is not JSON.

    llguidance may give up within an answer. It reports that only in its log, and llama.cpp then
    samples freely. With `cut`, the request has stop strings, which may have ended the answer at any
    place.
    """
    try:
        json.loads(text, parse_int=str, parse_float=str)  # numbers may be longer than Python reads
    except RecursionError:
        return
    except json.JSONDecodeError as error:
        in_string = error.msg.startswith(("Unterminated string", "Invalid \\"))
        if cut and (in_string or _CUT.fullmatch(text, error.pos)):
            return
        raise EngineError(
            "the answer was ended: the engine could not hold it to its schema to the end, so "
            "it is not JSON; "
            "simplify the schema (patterns and bounds first), or try again"
        ) from None


def _logprob(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("token", "logprob", "bytes")}


def error_of(error: Mapping[str, Any] | Exception) -> ModelError:
    """Return the container's error for a failed request.

    `error` is an error object of llama.cpp or an exception of its binding.
    """
    text = str(error) if isinstance(error, Exception) else str(error.get("message"))
    if (raised := chat_template.sentence(text)) is not None:
        # Each start tries the template, so it works, and these messages do not fit it.
        return InvalidRequestError(
            f"messages: the model's chat template does not accept them: {raised}", "messages"
        )
    if isinstance(error, ValueError):
        return InvalidRequestError(str(error))  # a schema, template or tool that it cannot compile
    if str(error).startswith("Failed to parse tool call arguments"):
        return InvalidRequestError(
            "messages: the engine cannot read the arguments of an earlier call", "messages"
        )
    if isinstance(error, Exception):
        return EngineError(f"llama.cpp: {error}")
    if error.get("type") == "exceed_context_size_error":
        return ContextLengthError.of(error["n_prompt_tokens"], error["n_ctx"])
    message, code = str(error.get("message")), error.get("code")
    if code == 400:
        return InvalidRequestError(message)
    return NotReadyError(message) if code == 503 else EngineError(f"llama.cpp: {message}")
