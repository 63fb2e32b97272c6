"""The numbered tokens that the endpoint sends and the client checks.

Their numbers reveal any loss, repetition or change. An answer is encoded once and sent many times,
so that the benchmark does not measure the endpoint.
"""

import json
import re
from functools import cache

from local.sagemaker.eventstream import payload_part

TOKEN = re.compile(rb'" ?w(\d{5}) ?"')
"""A token as it looks in every adapter's JSON; the group is its number. A filter that holds words
back sends a space with the word before it.
"""
_MERGED = re.compile(rb" w(\d{5})")
_ASKED = re.compile(rb"bench (\d+) tokens at (\d+) per second")


def prompt(tokens: int, rate: int) -> str:
    """Return a prompt that requests `tokens` tokens at a rate a second; 0 means no limit."""
    return f"bench {tokens} tokens at {rate} per second"


def parse_prompt(body: bytes) -> tuple[int, int]:
    """Return the number of tokens and the rate that the `prompt` in a body requests.

    Raises:
        ValueError: the body has no such prompt.

    """
    match = _ASKED.search(body)
    if match is None:
        raise ValueError("the body names no benchmark")
    return int(match[1]), int(match[2])


def numbers(answer: bytes, *, merged: bool = False) -> list[int]:
    """Return the numbers of an answer's tokens, in order.

    If `merged`, a record may have several.
    """
    return [int(number) for number in (_MERGED if merged else TOKEN).findall(answer)]


@cache
def answer(dialect: str, tokens: int) -> tuple[tuple[bytes, ...], bytes]:
    """Return an answer as chunks of the HTTP body: one for each token or record, and the end.

    Args:
        dialect: `lines` (our container's), `merged` (the same, four tokens a record), `thinking`
            (the same, and half of the tokens are reasoning) or `openai` (chunk JSON, as SageMaker
            containers with the messages API send).
        tokens: The number of tokens.

    """
    makers = {"lines": _lines, "merged": _merged, "thinking": _thinking, "openai": _openai}
    pieces = makers[dialect](tokens)
    *parts, ending = [_chunk(payload_part(piece)) for piece in pieces]
    return tuple(parts), ending + b"0\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _line(value: object) -> bytes:
    return _dump(value) + b"\n"


def _word(number: int) -> str:
    return f" w{number:05d}"


def _lines(tokens: int) -> list[bytes]:
    return _records([(_word(number), 1) for number in range(tokens)])


def _merged(tokens: int) -> list[bytes]:
    groups = [range(first, min(first + 4, tokens)) for first in range(0, tokens, 4)]
    return _records([("".join(_word(number) for number in group), len(group)) for group in groups])


def _thinking(tokens: int) -> list[bytes]:
    return _records([(_word(number), 1) for number in range(tokens)], reasoning=tokens // 2)


def _records(texts: list[tuple[str, int]], reasoning: int = 0) -> list[bytes]:
    deltas = [
        {
            "type": "delta",
            "index": 0,
            "delta": {"reasoning_content" if place < reasoning else "content": text},
            "tokens": count,
        }
        for place, (text, count) in enumerate(texts)
    ]
    start = _line({"type": "start", "prompt_tokens": 12})
    count = sum(count for _, count in texts)
    ending = [
        {"type": "finish", "index": 0, "finish_reason": "stop"},
        {"type": "usage", "prompt_tokens": 12, "completion_tokens": count},
        {"type": "end"},
    ]
    records = [_line(delta) for delta in deltas]
    return [start + records[0], *records[1:], b"".join(map(_line, ending))]


def _openai(tokens: int) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas = [
        {
            **head,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": _word(number)}}],
        }
        for number in range(tokens)
    ]
    ending = {**head, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]}
    return [b"data: " + _dump(value) + b"\n\n" for value in (*deltas, ending)]
