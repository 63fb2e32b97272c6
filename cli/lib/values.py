"""Types of arguments: stacks, durations, moments, limits and key ids; and times as text."""

import argparse
import math
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_KEY = re.compile(r"(?:sk-)?([a-z2-7]{12})(?:-[A-Za-z0-9_-]{43})?")
STACK_NAME = r"[a-z][a-z0-9-]{0,23}"
"""What the setting `name` accepts."""
NONE = "none"
STAGES = ("local", "dev", "prod")


def add_stack(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Add `--stage` and `--stack-name`.

    Without them on the command line, an `inner` parser keeps what the outer one has read.
    """
    default = argparse.SUPPRESS if inner else "local"
    parser.add_argument(
        "--stage", default=default, choices=STAGES, help="the stack's stage (local)"
    )
    add_stack_name(parser, inner=inner)


def add_stack_name(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Add `--stack-name`."""
    default = argparse.SUPPRESS if inner else "sluice"
    text = "the stack's setting `name` (sluice)"
    parser.add_argument("--stack-name", type=stack_name, default=default, help=text)


def add_stage(
    parser: argparse.ArgumentParser, *, default: str, choices: Sequence[str] = STAGES
) -> None:
    """Add `--stage`."""
    parser.add_argument("--stage", default=default, choices=choices, help=f"the stage ({default})")


def stack_name(text: str) -> str:
    """Parse the setting `name` of a stack."""
    if re.fullmatch(STACK_NAME, text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the name of a stack: a lower-case letter, then lower-case letters, "
            "digits and hyphens, 24 characters at most"
        )
    return text


def exports(variables: Mapping[str, str]) -> str:
    """Return lines that set variables in a POSIX shell, whatever their values contain."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def seconds(text: str) -> int:
    """Parse a duration, such as `90s`, `45m`, `24h`, `30d` or `2w`, into seconds."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration such as 90s, 45m, 24h, 30d or 2w"
        )
    return int(match[1]) * _UNITS[match[2]]


def moment(text: str) -> int | None:
    """Parse a moment in the future, and return Unix seconds.

    It is a duration from now, a date or time in UTC, or `none`, which becomes None.
    """
    if text == NONE:
        return None
    if re.fullmatch(r"\d+[smhdw]", text):
        return int(time.time()) + seconds(text)
    try:
        at = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a moment such as 30d, 2026-12-31 or none"
        ) from None
    if at <= time.time():
        raise argparse.ArgumentTypeError(f"{text!r} is not in the future")
    return at


def count(text: str) -> int | None:
    """Parse a limit: a whole number, optionally followed by `k` or `M`, or `none`."""
    if text == NONE:
        return None
    match = re.fullmatch(r"(\d{1,15})([kM]?)", text.replace("_", ""))
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a whole number such as 5000, 50k or 2M, nor none"
        )
    return int(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2]]


def amount(text: str) -> str | None:
    """Parse a limit of cost: a decimal number, or `none`."""
    if text == NONE:
        return None
    try:
        if Decimal(text).is_finite() and Decimal(text) >= 0:
            return text
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is neither an amount such as 12.50, nor none")


def port_number(text: str) -> int:
    """Parse a port to listen on."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port between 1 and 65535")
    return int(text)


def entries(text: str) -> int:
    """Parse how many entries are wanted: a whole number, 1 or more."""
    if re.fullmatch(r"[0-9]{1,9}", text) is None or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def factor(text: str) -> float:
    """Parse a factor: a number over 0."""
    try:
        if 0 < float(text) < math.inf:
            return float(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number over 0")


def key_id(text: str) -> str:
    """Parse a key's id. From a whole key, only the id is returned; the secret is dropped."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError("this is not a key's id; `sluice keys list` shows the ids")
    return match[1]


def pasted_key_id(text: str) -> str:
    """Parse a key or its id, also in quotes or blanks. `-` reads it from standard input."""
    if text == "-":
        text = sys.stdin.readline()
    return key_id(text.strip().strip("'\"`"))


def when(seconds: float | None) -> str:
    """Return a moment (Unix seconds) as text, in UTC."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def shown(name: str, value: object) -> str:
    """Return the value of a field of the admin API as text. Fields that end in `_at` are times."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int() | float() if name.endswith("_at"):
            return f"{when(value)} UTC"
        case int():
            return f"{value:,}"
        case list():
            return " ".join(map(str, value))
        case _:
            return str(value)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `no requests`, `1 request`, `1,200 requests`."""
    return f"{number or 'no':{',' if number else ''}} {noun}{'' if number == 1 else 's'}"


def ago(seconds: float | None) -> str:
    """Return the time since a moment (Unix seconds) as text."""
    if seconds is None:
        return "never"
    age = max(0, int(time.time() - seconds))
    for unit, length, least in (("d", 86_400, 172_800), ("h", 3600, 6000), ("m", 60, 100)):
        if age >= least:
            return f"{age // length}{unit} ago"
    return f"{age}s ago"
