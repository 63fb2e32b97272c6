"""The standard streams of a command, whatever the caller made of them.

A stream that is closed, as by `>&-`, reads and writes nothing, as in git and all programs of Rust.
The command's output that cannot be written ends the command: its reader has left, as `head` does,
or a disk is full. A message to standard error that cannot be written changes nothing.
"""

import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

from cli.lib.project import why


class OutputLostError(Exception):
    """Standard output cannot be written. It is no OSError, which commands expect of other files."""

    def __init__(self, cause: OSError) -> None:
        """Take the error of the call that wrote."""
        super().__init__(f"The output cannot be written: {why(cause)}.")
        self.has_reader_left = isinstance(cause, BrokenPipeError)
        """Whether it is a pipe that nobody reads any more."""
        self.status = 128 + signal.SIGPIPE if self.has_reader_left else 1
        """The exit status of the command."""


class _Output(io.FileIO):
    """Standard output."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputLostError(error) from None


class _Messages(io.FileIO):
    """Standard error. What cannot be written is dropped."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare() -> None:
    """Make the three standard streams usable, and tell lost output apart from other errors."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # it is closed, and the next file that is opened would take its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 (as long as the process)
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, before: Any) -> io.TextIOWrapper:
    """Return a text stream as Python had made it, which escapes what its encoding lacks."""
    unbuffered = getattr(before, "write_through", False)  # python -u
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),  # as Python does
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(before, "line_buffering", True),
        write_through=unbuffered,
    )


def discard_output() -> None:
    """Send what is still to be printed nowhere."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
