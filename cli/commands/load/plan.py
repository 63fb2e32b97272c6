"""What a load test sends and when: arrivals, prompts and readers, all drawn from one seed. Pure."""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.lib.project import UsageError

Arrivals = Literal["poisson", "constant"]
Reader = Literal["normal", "slow", "dropper", "resumer"]
MAX_REQUESTS = 200_000
"""The most requests of one run. The record of a request takes about half a kilobyte."""
_MAX_FILE = 64 * 1024 * 1024
_TEXT = (
    "time way day thing man world life hand part child eye woman place work week case point "
    "company number group problem fact harbour lamp river stone letter garden window paper road "
    "winter summer morning evening night island boat signal keeper storm cloud silver copper "
    "walk carry build write read speak listen follow answer open close begin wait turn bring "
    "small large early late quiet bright heavy light green red cold warm long short new old"
)
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class Rate:
    """Arrivals a second, from `first` at the start to `last` at the end, changing evenly."""

    first: float
    last: float

    def expected(self, seconds: float) -> float:
        """Return how many arrivals there are in `seconds`, on average."""
        return (self.first + self.last) / 2 * seconds

    def moment(self, count: float, seconds: float) -> float:
        """Return when `count` arrivals are expected to have come, in a run of `seconds`.

        It solves `first * t + (last - first) / (2 * seconds) * t**2 = count` for t.
        """
        slope = (self.last - self.first) / seconds
        root = math.sqrt(max(0.0, self.first**2 + 2 * slope * count))
        # this form of the solution is exact for a slope of 0, too
        return 2 * count / (self.first + root) if count else 0.0


@dataclass(frozen=True)
class Ask:
    """What a request asks for: its prompt, and the most tokens of its answer."""

    prompt: str
    max_tokens: int


@dataclass(frozen=True)
class Planned:
    """One request: its number from 0, and the seconds after the start at which it is sent.

    A dropper leaves after `leave_after` chunks with output. A resumer does, too, and comes back for
    the rest.
    """

    number: int
    at: float
    ask: Ask
    reader: Reader = "normal"
    leave_after: int = 0


@dataclass(frozen=True)
class Plan:
    """All that decides what is sent. The same plan sends the same requests at the same moments."""

    rate: Rate
    seconds: float
    asks: Sequence[Ask] | None
    """Those of a file, in turn; None makes a prompt of `prompt_tokens` words for each request."""
    arrivals: Arrivals = "poisson"
    seed: int = 0
    prompt_tokens: int = 64
    max_tokens: int = 128
    slow: float = 0.0
    droppers: float = 0.0
    resumers: float = 0.0
    """The shares of slow readers, droppers and resumers, 0 to 1."""

    def __iter__(self) -> Iterator[Planned]:
        """Yield the requests in the order of their moments.

        No two made prompts begin alike, so that a cache of prefixes does not answer them.
        """
        for number, at in enumerate(self.moments()):
            draw = random.Random(f"{self.seed} {number}")  # noqa: S311 (not for secrets)
            if self.asks is None:
                words = " ".join(draw.choices(_WORDS, k=self.prompt_tokens))
                ask = Ask(words, self.max_tokens)
            else:
                ask = self.asks[number % len(self.asks)]
            kind = draw.random()
            reader: Reader = "normal"
            if kind < self.slow:
                reader = "slow"
            elif kind < self.slow + self.droppers:
                reader = "dropper"
            elif kind < self.slow + self.droppers + self.resumers:
                reader = "resumer"
            yield Planned(number, at, ask, reader, draw.randint(1, max(1, ask.max_tokens)))

    def moments(self) -> Iterator[float]:
        """Yield the seconds after the start at which requests are sent, rising."""
        draw = random.Random(self.seed)  # noqa: S311 (not for secrets)
        whole = self.rate.expected(self.seconds)
        count = draw.expovariate(1.0) if self.arrivals == "poisson" else 0.0
        sent = 0
        while count < whole and sent < MAX_REQUESTS:
            yield self.rate.moment(count, self.seconds)
            sent += 1
            count = count + draw.expovariate(1.0) if self.arrivals == "poisson" else float(sent)

    def check(self) -> None:
        """Raise UsageError if the plan is too large."""
        expected = self.rate.expected(self.seconds)
        if expected > MAX_REQUESTS:
            raise UsageError(
                f"The plan has some {expected:,.0f} requests. One run sends at most "
                f"{MAX_REQUESTS:,}: choose a lower --rate or a shorter --duration."
            )


def read_asks(path: Path, max_tokens: int) -> list[Ask]:
    r"""Return the requests of a file.

    Each line is a prompt. Each line of a file that is named `*.jsonl` is an object with `prompt`,
    and `max_tokens` if it differs: `{"prompt": "Hello\nthere", "max_tokens": 20}`.

    Raises:
        UsageError: the file cannot be read, is larger than 64 MB, or a line is wrong.

    """
    try:
        with path.open("rb") as file:
            body = file.read(_MAX_FILE + 1)  # a device has no size
        if len(body) > _MAX_FILE:
            raise UsageError(f"{path}: a file of prompts has at most {_MAX_FILE >> 20} MB")
        lines = body.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path}: {reason}") from None
    asks = [
        _ask(line, max_tokens, f"{path}, line {number}") if path.suffix == ".jsonl" else
        Ask(line, max_tokens)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]  # fmt: skip
    if not asks:
        raise UsageError(f"{path}: there is no prompt in it")
    return asks


def _ask(line: str, max_tokens: int, where: str) -> Ask:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: this is not JSON") from None
    prompt = found.get("prompt") if isinstance(found, dict) else None
    tokens = found.get("max_tokens", max_tokens) if isinstance(found, dict) else None
    if not isinstance(prompt, str) or not prompt:
        raise UsageError(f'{where}: must be an object with a text "prompt"')
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        raise UsageError(f'{where}: half a character of UTF-16 in "prompt" cannot be sent')
    if type(tokens) is not int or not 0 < tokens <= 1_000_000:
        raise UsageError(f'{where}: "max_tokens" must be a whole number from 1 to 1,000,000')
    return Ask(prompt, tokens)
