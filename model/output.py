"""Writes the container's log: only its own lines, each on one line for any content.

Native libraries write to file descriptors 1 and 2, and may quote what callers sent. After `capture`
these descriptors no longer lead to the log. While the engine loads, their output is passed on,
escaped and labelled. From `loaded` on it goes into a file of bounded size, whose path is in the
log, to help find out why the process died.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import sys
import tempfile
import threading
import traceback
from typing import TYPE_CHECKING, Any, TextIO

from model.errors import printable

if TYPE_CHECKING:
    import asyncio

    from model.errors import ModelError
    from model.metrics import Observation

MAX_FILE = 1024 * 1024  # in bytes; the file is emptied when a check finds more
MAX_LINE = 2000


class _Captured:
    """The original log, and the new destination of the descriptors."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
        self.err = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
        self.file: int | None = None
        self._read, write = os.pipe()
        for number in (1, 2):
            os.dup2(write, number)
        os.close(write)
        threading.Thread(target=self._forward, name="output", daemon=True).start()

    def _forward(self) -> None:
        """Pass on what comes through the pipe.

        It is read to the end, because processes that an engine has started keep it open.
        """
        with os.fdopen(self._read, "rb", buffering=0) as pipe:
            rest = b""
            while part := pipe.read(65536):
                if self.file is not None:
                    with contextlib.suppress(OSError):  # the disk may be full
                        os.write(self.file, part)
                    continue
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    _line(self.err, f"model: engine: {line.decode('utf-8', 'replace')}")
                rest = rest[-MAX_LINE:]


_captured: _Captured | None = None


def say(line: str) -> None:
    """Write a line of the container on standard error."""
    _line(_captured.err if _captured else sys.stderr, f"model: {line}")


def record(line: str) -> None:
    """Write a line for programs on standard output."""
    _line(_captured.out if _captured else sys.stdout, line)


def log_usage(request_id: str | None, observation: Observation, error: ModelError | None) -> None:
    """Write the line of a request that has ended; `error` is what it failed with.

    The line has the container's own token counts, to compare the meter with, and neither prompt nor
    completion.
    """
    line = {
        "event": "generated",
        "request_id": request_id,
        "prompt_tokens": observation.prompt_tokens,
        "completion_tokens": observation.completion_tokens,
        "error": error.code if error is not None else None,
    }
    # JSON allows this control character, a log line does not
    record(json.dumps(line).replace("\x7f", r"\u007f"))


def _line(stream: TextIO, line: str) -> None:
    stream.write(printable(line) + "\n")
    stream.flush()


def capture() -> None:
    """Keep the log for `say`, `record` and Python's loggers.

    Call it once in a process, before an engine is loaded.
    """
    global _captured
    _captured = _Captured()
    faulthandler.enable(_captured.err)  # the location of a crash: files and lines, no values
    handler = logging.StreamHandler(_captured.err)
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def loaded() -> str | None:
    """Send all further native output to a file. Return the path of that file, if there is one."""
    if _captured is None:
        return None
    file, path = tempfile.mkstemp(prefix="sluice-native-", suffix=".log")
    os.set_blocking(file, True)
    appending = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.close(file)
    _captured.file = appending
    for number in (1, 2):
        os.dup2(appending, number)
    return path


def trim() -> None:
    """Empty the file if it has grown too large."""
    if (
        _captured is not None
        and _captured.file is not None
        and os.fstat(_captured.file).st_size > MAX_FILE
    ):
        os.ftruncate(_captured.file, 0)


def remove(path: str | None) -> None:
    """Remove the file when the process ends normally."""
    if path is not None:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - a path of `loaded`


class OneLine(logging.Formatter):
    """Formats a record as one line.

    Of an exception it shows the type and the location only, because its text may quote a request.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without control characters."""
        text = f"model: {record.levelname.lower()}: {record.getMessage().strip()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {_origin(record.exc_info[1])}"
        return printable(text)[:MAX_LINE]


def _origin(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    where = " < ".join(
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames)
    )
    return f"{type(error).__name__} at {where}"


def log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error of the event loop. asyncio's own handler would write the exception's text."""
    error = context.get("exception")
    logging.getLogger("model").error(
        "%s%s", context["message"], f": {_origin(error)}" if error else ""
    )
