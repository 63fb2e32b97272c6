"""The cost of filters: CPU time of a token with and without them, and how long text is held.

    python -m bench.filters [--rounds 15]

Each row carries the same answer from the container's lines to the chunks of a chat. `off` has no
filter. The others have all kinds of patterns and two of the deployment's own, over a text without a
match and over one in which one word of a hundred is a match. Rows run in turn, and the minimum of
each counts. The results go to bench/results/filters.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.encode.base import Head
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.events import Delta
from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import machine_of
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.transform import Transform
from lambda_fn.transform.moderation import Screen, rules_of
from lambda_fn.transform.redaction import Redact, label

RESULTS = Path("bench/results/filters.json")
HEAD = Head("01h00000000000000000000000", 1_700_000_000, "model", fingerprint="fp_0123456789")
_WORDS = [
    "The",
    "stream",
    "of",
    "a",
    "model",
    "comes",
    "in",
    "tokens,",
    "and",
    "each",
    "of",
    "them",
    "is",
    "sent",
    "when",
    "it",
    "is",
    "sampled;",
    "so",
    "a",
    "person",
    "reads",
    "on",
    "while",
    "the",
    "rest",
    "is",
    "made.",
    "In",
    "2026",
    "some",
    "40",
    "tokens",
    "a",
    "second",
    "were",
    "usual,",
    "which",
    "is",
    "faster",
    "than",
    "people",
    "read.",
    "A",
    "filter",
    "between",
    "them",
    "must",
    "neither",
    "wait",
    "for",
    "the",
    "end",
    "nor",
    "let",
    "the",
    "first",
    "half",
    "of",
    "a",
    "secret",
    "out:",
    "it",
    "holds",
    "back",
    "what",
    "may",
    "still",
    "become",
    "one,",
    "and",
    "no",
    "more",
    "than",
    "that.",
]
_SECRETS = ("ada@example.com", "4111 1111 1111 1111", "DE89370400440532013000", "+49 170 1234567")
TOKENS = 2_000


def lines(*, matches: bool) -> bytes:
    """Return the container's lines of an answer of `TOKENS` tokens of five characters."""
    words = [_WORDS[number % len(_WORDS)] for number in range(2 * TOKENS)]
    if matches:
        words[50::100] = [_SECRETS[number % 4] for number in range(len(words[50::100]))]
    text = " ".join(words)
    pieces = [text[place : place + 5] for place in range(0, TOKENS * 5, 5)]
    records: list[dict[str, Any]] = [{"type": "start", "prompt_tokens": 10}]
    records += [{"type": "delta", "delta": {"content": it}, "tokens": 1} for it in pieces]
    records += [
        {"type": "finish", "finish_reason": "stop"},
        {"type": "usage", "prompt_tokens": 10, "completion_tokens": len(pieces)},
        {"type": "end"},
    ]
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def redact() -> Transform:
    """Return a redaction with all kinds and two patterns of the deployment's own."""
    own = (("order", r"\bORD-[0-9]{8}\b"), ("ticket", r"(?i)\bticket-[a-z]{2,6}-[0-9]{3,6}\b"))
    words = (("project", ("Falcon", "Blue Heron", "Project Kestrel")),)
    return Redact(1, machine_of(frozenset(KINDS), own, words), label)


def screen(*, blocks: bool) -> Transform:
    """Return a moderation with two patterns and a list of words, none of which is in the texts."""
    patterns = {"weapons": r"(?i)\bpipe ?bombs?\b", "drugs": r"(?i)\bcook(ing)? meth\b"}
    words = {"violence": ("nerve agent", "kill yourself", "car bomb")}
    return Screen(1, rules_of(patterns, words), blocks=blocks)


ROWS: dict[str, tuple[Callable[[], Transform | None], bool]] = {
    "off": (lambda: None, False),
    "redaction, no match": (redact, False),
    "off, 1 % matches": (lambda: None, True),
    "redaction, 1 % matches": (redact, True),
    "moderation that blocks, no match": (partial(screen, blocks=True), False),
    "moderation that scores, no match": (partial(screen, blocks=False), False),
}


def carry(transform: Transform | None, parts: list[bytes]) -> None:
    """Carry an answer from the container's lines to a chat's chunks, one line at a time."""
    decoder, counter, encoder = LineDecoder(), UsageCounter(), ChatStream(HEAD)
    for part in parts:
        events = decoder.feed(part)
        counter.count(events)
        if transform is not None:
            events = transform.feed(events)
        encoder.encode(events)


def held(transform: Transform, parts: list[bytes]) -> list[int]:
    """Return, for each token, how many further tokens came before its delta went out."""
    decoder, waiting, late = LineDecoder(), 0, []
    for part in parts:
        events = decoder.feed(part)
        waiting += sum(event.tokens for event in events if type(event) is Delta)
        out = sum(it.tokens for it in transform.feed(events) if type(it) is Delta)
        if out:
            late += [waiting - 1 - number for number in range(out)]
            waiting -= out
    return late


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return the rows."""
    texts = {it: lines(matches=it).splitlines(keepends=True) for it in (False, True)}
    least = dict.fromkeys(ROWS, float("inf"))
    for _ in range(rounds):
        for name, (make, matches) in ROWS.items():
            transform = make()
            began = time.thread_time_ns()
            carry(transform, texts[matches])
            least[name] = min(least[name], (time.thread_time_ns() - began) / len(texts[matches]))
    rows = []
    for name, (make, matches) in ROWS.items():
        row: dict[str, Any] = {"row": name, "us_per_token": round(least[name] / 1_000, 2)}
        transform = make()
        if transform is not None:
            off = least["off, 1 % matches" if matches else "off"]
            late = held(transform, texts[matches])
            row["added_us_per_token"] = round((least[name] - off) / 1_000, 2)
            row["tokens_late_mean"] = round(statistics.fmean(late), 2)
            row["tokens_late_most"] = max(late)
        rows.append(row)
    return rows


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description="The cost of filters.")
    parser.add_argument("--rounds", type=int, default=15)
    rows = measure(parser.parse_args().rounds)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    table = Table("row", "CPU of a token, us", "added, us", "late by tokens, mean", "most")
    for row in rows:
        table.add_row(
            *(
                str(row.get(name, ""))
                for name in (
                    "row",
                    "us_per_token",
                    "added_us_per_token",
                    "tokens_late_mean",
                    "tokens_late_most",
                )
            )
        )
    Console().print(table)


if __name__ == "__main__":
    main()
