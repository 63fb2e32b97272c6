"""Programs whose output goes to a log."""

import os
import sys
import urllib.error
from pathlib import Path

import pytest

from cli.lib.process import run_logged
from cli.lib.project import CommandError, why


def test_the_output_is_logged_and_its_last_lines_are_the_error(tmp_path: Path) -> None:
    """Each line reaches the log and the detail.

    The message of a failure has the last lines, without escape sequences.
    """
    log, details = tmp_path / "logs" / "x.log", list[str]()
    script = "print('\\x1b[31mfirst\\x1b[0m'); [print(n) for n in range(20)]; raise SystemExit(3)"
    with pytest.raises(CommandError) as caught:
        run_logged(
            [sys.executable, "-c", script], name="the program", log=log, detail=details.append
        )
    assert str(caught.value).startswith("the program failed:\n    8\n    9\n")
    assert caught.value.log == log
    assert details[0] == "first"
    assert log.read_text().startswith("\x1b[31mfirst")
    assert log.stat().st_mode & 0o077 == 0


def test_the_environment_is_the_given_one(tmp_path: Path) -> None:
    """A program gets only the variables that are passed."""
    details: list[str] = []
    script = "import os; print(os.environ.get('HOME'), os.environ['ONLY'])"
    command = [sys.executable, "-c", script]
    run_logged(
        command,
        name="x",
        log=tmp_path / "x.log",
        detail=details.append,
        environment={"ONLY": "this"},
    )
    assert details == ["None this"]


@pytest.mark.parametrize(
    "script",
    [
        "exec 3>{pipe}; echo started; exec sleep 1000",
        "(exec 3>{pipe}; echo started; exec sleep 1000) & wait",
        "(trap '' TERM; exec 3>{pipe}; echo started; exec sleep 1000) & wait",
    ],
    ids=["itself", "child", "deaf child"],
)
def test_an_interrupted_program_ends(tmp_path: Path, script: str) -> None:
    """When the command is interrupted, neither the program nor its children go on without it."""
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    alive = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(alive, True)

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    command = ["bash", "-c", script.format(pipe=pipe)]
    with pytest.raises(KeyboardInterrupt):
        run_logged(command, name="x", log=tmp_path / "x.log", detail=interrupt)
    assert os.read(alive, 1) == b""  # nobody has the other end any more
    os.close(alive)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(111, "Connection refused"), "Connection refused"),
        (urllib.error.URLError(OSError(111, "Connection refused")), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_is_told_in_words(error: Exception, words: str) -> None:
    """The reason has no numbers of the operating system."""
    assert why(error) == words
