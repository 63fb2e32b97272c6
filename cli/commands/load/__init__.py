"""`sluice load URL`: an open-loop load test that is made for streams."""

import argparse
import re
from pathlib import Path

from cli.lib import values

HELP = (
    "Load an API with streams at planned moments, and tell how each ended; exit with 1 where "
    "too few were good, with 2 where this client was the bottleneck."
)
FORMS = ("chat", "completions", "messages", "responses", "websocket", "text")
"""The forms of `cli.commands.load.forms`, which is slow to import."""
_RATE = re.compile(r"(\d{1,5}(?:\.\d{1,6})?)(?:-(\d{1,5}(?:\.\d{1,6})?))?")
_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s|m|h)")
_TIMES = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="the base URL that clients use (the stage's own)"
    )
    values.add_stack(parser)
    text = "a host that you may load; needed except for loopback and the stage's own; repeatable"
    parser.add_argument("--allow-host", metavar="HOST", action="append", default=[], help=text)
    text = "an API key of URL (OPENAI_API_KEY); a stage gets keys of its own for the run"
    parser.add_argument("--key", help=text)
    parser.add_argument("--model", help="the model (the stage's, or the first of the API's list)")
    parser.add_argument("--form", choices=FORMS, default="chat", help="the form (chat)")

    load = parser.add_argument_group("what is sent")
    text = "requests a second, or FROM-TO for a ramp (1)"
    load.add_argument("--rate", type=rate, default=(1.0, 1.0), metavar="N", help=text)
    text = "how long requests are sent (30s)"
    load.add_argument("--duration", type=duration, default=30.0, metavar="TIME", help=text)
    text = "when requests are sent: as independent users do, or evenly (poisson)"
    load.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson", help=text)
    text = "the same seed plans the same requests (0)"
    load.add_argument("--seed", type=int, default=0, metavar="N", help=text)
    text = "prompts, one a line; *.jsonl: objects with prompt and max_tokens"
    load.add_argument("--prompts", type=Path, metavar="FILE", help=text)
    text = "without --prompts: random words of each prompt, about a token each (64)"
    load.add_argument("--prompt-tokens", type=whole, default=64, metavar="N", help=text)
    text = "tokens of an answer, at most (128)"
    load.add_argument("--max-tokens", type=whole, default=128, metavar="N", help=text)
    text = "the share of clients that read slowly (0%%)"
    load.add_argument("--slow-readers", type=share, default=0.0, metavar="P", help=text)
    text = "bytes a second that these read (256)"
    load.add_argument("--slow-pace", type=whole, default=256, metavar="N", help=text)
    text = "the share of clients that leave within an answer (0%%)"
    load.add_argument("--droppers", type=share, default=0.0, metavar="P", help=text)
    text = "the share of clients that leave likewise, and resume their answer at once (0%%)"
    load.add_argument("--resumers", type=share, default=0.0, metavar="P", help=text)
    text = "streams at once, at most; requests over it are not sent (500)"
    load.add_argument("--max-open", type=whole, default=500, metavar="N", help=text)
    text = "give a request up after this time (600s)"
    load.add_argument("--timeout", type=duration, default=600.0, metavar="TIME", help=text)
    text = "give a request up after this time without a byte (60s)"
    load.add_argument("--silence", type=duration, default=60.0, metavar="TIME", help=text)

    goals = parser.add_argument_group("what a good request is: complete, and")
    text = "its first token within this time of its planned moment, such as 500ms"
    goals.add_argument("--ttft", type=duration, metavar="TIME", help=text)
    text = "its tokens no further apart than this on average, such as 50ms"
    goals.add_argument("--itl", type=duration, metavar="TIME", help=text)
    text = "its end within this time of its planned moment"
    goals.add_argument("--within", type=duration, metavar="TIME", help=text)
    text = "the share of requests that must be good (95%%)"
    goals.add_argument("--good", type=share, default=0.95, metavar="P", help=text)

    output = parser.add_argument_group("what is written")
    output.add_argument("--json", action="store_true", help="print the report for programs")
    output.add_argument(
        "--html", type=Path, metavar="FILE", help="write the report with plots, as one file"
    )
    output.add_argument(
        "--aiperf", type=Path, metavar="FILE", help="write the figures in AIPerf's JSON form"
    )
    text = "how long to wait for the ledger to settle the last requests (30s)"
    output.add_argument("--settle", type=duration, default=30.0, metavar="TIME", help=text)
    text = "do not ask before a run on AWS; required without a terminal"
    output.add_argument("--yes", action="store_true", help=text)
    parser.set_defaults(run=run)


def rate(text: str) -> tuple[float, float]:
    """Parse a rate: requests a second, such as `5`, `0.5` or, for a ramp, `1-20`."""
    match = _RATE.fullmatch(text)
    if match is not None:
        first, last = float(match[1]), float(match[2] or match[1])
        if first + last > 0:
            return first, last
    raise argparse.ArgumentTypeError(f"{text!r} is not a rate such as 5, 0.5 or 1-20")


def duration(text: str) -> float:
    """Parse a time above 0, such as `500ms`, `30s`, `2m` or `1h`, into seconds."""
    match = _TIME.fullmatch(text)
    if match is None or not (seconds := float(match[1]) * _TIMES[match[2]]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 500ms, 30s, 2m or 1h")
    return seconds


def share(text: str) -> float:
    """Parse a share, such as `5%` or `0.05`, from 0 to 1."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)(%?)", text)
    if match is None or not 0 <= (found := float(match[1]) / (100 if match[2] else 1)) <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share such as 5% or 0.05")
    return found


def whole(text: str) -> int:
    """Parse a whole number from 1 to a million."""
    if not re.fullmatch(r"[0-9]{1,7}", text) or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1,000,000")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Send the load, print the report, and exit by its verdict."""
    from cli.commands.load.command import load

    load(args)
