"""Runs the stand-in of a server: `python -m local.third_party SERVER serve`.

It listens on the port in SAGEMAKER_BIND_TO_PORT.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
from typing import Any

from aiohttp import web

from local.third_party.pictures import describe
from local.third_party.shapes import FAILURES, SERVERS, Body, refusal, reply
from local.trust import callers

# Seconds between two records, so that responses are streams.
_GAP_S = 0.002
_GREEDY_BELOW = 1e-5
_KNOWN = {
    "frequency_penalty", "inputs", "logit_bias", "logprobs", "max_tokens", "messages", "n", "parallel_tool_calls",
    "parameters", "presence_penalty", "response_format", "seed", "stop", "stream", "stream_options", "temperature",
    "tool_choice", "tools", "top_k", "top_logprobs", "top_p",
}  # fmt: skip
_OF_VLLM = {
    "add_generation_prompt", "allowed_token_ids", "bad_words", "cache_salt", "chat_template_kwargs",
    "continue_final_message", "guided_choice", "guided_regex", "ignore_eos", "include_stop_str_in_output", "min_p",
    "min_tokens", "reasoning_effort", "repetition_penalty", "return_tokens_as_token_ids", "skip_special_tokens",
    "spaces_between_special_tokens", "stop_token_ids", "structured_outputs", "top_k", "truncate_prompt_tokens",
    "truncation_side",
}  # fmt: skip
_OF_SGLANG = {*_OF_VLLM, "extra_key", "no_stop_trim", "regex"}  # it ignores those of vLLM
_MORE = {"vllm": {*_OF_VLLM, "no_stop_trim", "regex"}, "lmi": _OF_VLLM, "sglang": _OF_SGLANG}


class Server:
    """The stand-in of one server."""

    def __init__(self, name: str) -> None:
        """`name` is one of SERVERS."""
        self._name = name

    async def ping(self, request: web.Request) -> web.Response:
        """Return 200: the server is healthy."""
        return web.Response()

    async def invoke(self, request: web.Request) -> web.StreamResponse:
        """Answer, or refuse an unknown field or a wrong value as the server does."""
        body: Body = json.loads(await request.read())
        if wrong := self._wrong(body):
            status = 422 if self._name == "tgi" else 400
            return web.json_response(refusal(self._name, status, wrong), status=status)
        lines = self._name == "lmi"
        kind = "application/jsonlines" if lines else "text/event-stream"
        response = web.StreamResponse(headers={"Content-Type": kind})
        response.enable_chunked_encoding()
        await response.prepare(request)
        answer = reply(_prompt(body), _limit(body), _tool(body))
        with contextlib.suppress(ConnectionResetError):  # the caller needs no more
            for number, record in enumerate(SERVERS[self._name](answer, body)):
                if number == answer.die_after:
                    os._exit(9)
                if number == answer.fail_after:
                    await response.write(FAILURES[self._name])
                    break
                await response.write(record)
                await asyncio.sleep(_GAP_S)
            await response.write_eof()
        return response

    def _wrong(self, body: Body) -> str | None:
        if unknown := sorted(set(body) - _KNOWN - _MORE.get(self._name, set())):
            return f"unknown field `{unknown[0]}`"
        if ("inputs" in body) == ("messages" in body) or ("inputs" in body and self._name != "lmi"):
            return "missing field `messages`"
        if body.get("stream") is not True:
            return "this stand-in only streams"
        if (
            self._name in ("vllm", "lmi")
            and body.get("n", 1) > 1
            and body.get("temperature", 1) < _GREEDY_BELOW
        ):
            return f"n must be 1 when using greedy sampling, got {body['n']}."
        if self._name == "tgi" and isinstance(body.get("stop"), str):
            return "invalid type: string, expected a sequence"
        for url in _images(body):
            if not url.startswith("data:image/"):
                return f"cannot fetch {url[:80]}"
        return reply(_prompt(body), None).refuse


def _prompt(body: Body) -> str:
    if "inputs" in body:
        return str(body["inputs"])
    content: Any = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(
        part["text"] if part["type"] == "text" else f" ({describe(part['image_url']['url'])}) "
        for part in content
    )


def _tool(body: Body) -> Body | None:
    """Return the function to call: the first one that is offered to a message of the user."""
    messages: list[Body] = body.get("messages") or [{}]
    if not body.get("tools") or body.get("tool_choice") == "none":
        return None
    function: Body = body["tools"][0]["function"]
    return function if messages[-1].get("role") == "user" else None


def _images(body: Body) -> list[str]:
    contents = [message.get("content") for message in body.get("messages", ())]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def _limit(body: Body) -> int | None:
    limit = body.get("max_tokens", body.get("parameters", {}).get("max_new_tokens"))
    return None if limit is None else int(limit)


def main() -> None:
    """Serve until SIGTERM."""
    # aiohttp logs a request that is no HTTP with a traceback, which would look like a failure here.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    server = Server(sys.argv[1])
    app = web.Application(
        client_max_size=8 * 2**20, middlewares=[callers(os.environ["SLUICE_CALLER_TOKEN"])]
    )
    app.add_routes([web.get("/ping", server.ping), web.post("/invocations", server.invoke)])
    web.run_app(app, host="127.0.0.1", port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]), print=None)


if __name__ == "__main__":
    main()
