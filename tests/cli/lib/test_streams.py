"""The standard streams of the command, as callers leave them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SLUICE = "import sys; from cli.start import main; sys.exit(main())"

_TRACEBACK = "import os, sys; sys.excepthook = lambda *_: os._exit(99)"
"""Ends a traceback with a status of its own, which is seen where standard error is closed."""


def run(
    words: str, streams: str = "", code: str = SLUICE, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run `sluice`, or other code, by a shell that redirects its streams."""
    script = f'exec "$@" {streams}'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, "-c", code, *words.split()],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("--help", 0),
        ("verify --list", 0),
        ("nonsense", 2),
        ("check http://127.0.0.1:1/v1 --key sk-none", 1),
    ],
)
def test_a_closed_stream_changes_no_status(words: str, status: int, streams: str) -> None:
    """A command whose streams are closed ends as it does otherwise, without a traceback."""
    ended = run(words, streams, f"{_TRACEBACK}; {SLUICE}")
    assert (ended.returncode, "Traceback" in ended.stderr) == (status, False)


def test_a_closed_stream_is_no_place_for_a_file() -> None:
    """What a command opens never gets the number of a stream that is closed."""
    code = (
        "from cli.lib.streams import prepare; prepare(); import sys; "
        "file = open('/dev/null'); print(file.fileno() > 2, sys.stdin.read(), file=sys.stderr)"
    )
    ended = run("", "<&- >&-", code)
    assert (ended.returncode, ended.stderr) == (0, "True \n")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [("--help", ""), ("verify --list", ""), ("verify --list", "1"), ("verify --list --json", "")],
)
def test_output_that_cannot_be_written_is_told(words: str, unbuffered: str) -> None:
    """On a full disk a command fails with one line, whatever wrote its output."""
    ended = run(words, f">{FULL}", PYTHONUNBUFFERED=unbuffered)
    assert ended.returncode == 1
    assert ended.stderr == "✗ The output cannot be written: No space left on device.\n"


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
def test_a_message_that_cannot_be_written_changes_nothing() -> None:
    """Where standard error is full, the exit status still is the command's."""
    assert run("nonsense", f"2>{FULL}").returncode == 2
    ended = run("verify --list", f"2>{FULL}")
    assert ended.returncode == 0
    assert ended.stdout


@pytest.mark.parametrize(
    ("words", "unbuffered"),
    [
        ("--help", ""),
        ("verify --list", ""),
        ("verify --list", "1"),
        ("verify --list --json", ""),
        ("check http://127.0.0.1:1/v1 --key sk-a", ""),
    ],
)
def test_a_reader_that_leaves_ends_the_command_without_a_word(words: str, unbuffered: str) -> None:
    """`sluice … | head` prints no error when `head` has seen enough.

    A command that fails before it prints has its own status and message.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", SLUICE, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate()
    if words.startswith("check"):
        assert (process.returncode, b"Traceback" in error) == (1, False)
    else:
        assert (process.returncode, error) == (128 + signal.SIGPIPE, b"")


def test_output_is_escaped_where_its_encoding_lacks_a_character() -> None:
    """A mark that a terminal's encoding lacks is no traceback."""
    ended = run("nonsense", PYTHONIOENCODING="ascii")
    assert ended.returncode == 2
    assert ended.stderr.startswith("\\u2717 sluice has no command")
    code = "from cli.lib.streams import prepare; prepare(); print('✓')"
    assert run("", code=code, PYTHONIOENCODING="latin-1").stdout == "\\u2713\n"
