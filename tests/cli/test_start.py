"""The entry point of the command. `tests.cli.lib.test_signals` tests signals of a command."""

import signal
import subprocess
import sys

import pytest

INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, {before})
import cli.start

class Importing:
    def find_spec(self, name, *_):
        if name == {at!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Importing())
sys.argv = ["sluice", "--version"]
sys.exit(cli.start.main())
"""


@pytest.mark.parametrize("at", ["cli.main", "cli.lib.terminal", "cli.commands.up"])
def test_ctrl_c_while_modules_are_imported_prints_nothing(at: str) -> None:
    """The process ends by the signal, which a shell reports as 130."""
    code = INTERRUPTED.format(before="signal.default_int_handler", at=at)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")


def test_what_ignores_ctrl_c_goes_on_to_ignore_it() -> None:
    """A command in the background of a script is not ended by the Ctrl-C of another one."""
    code = INTERRUPTED.format(before="signal.SIG_IGN", at="cli.commands.up")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout[:7], ended.stderr) == (0, "sluice ", "")
