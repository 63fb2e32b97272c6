"""`sluice completion`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cli.commands.completion import SHELLS
from cli.main import COMMANDS, main


@pytest.mark.parametrize("shell", SHELLS)
def test_each_command_is_completed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script of a shell has every command."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert not [name for name in COMMANDS if name not in script]


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real bash completes a command, the command below it, and an option's value."""
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    bash = shutil.which("bash")
    assert bash is not None
    for words, found in (("do", "doctor"), ("keys cr", "create"), ("doctor --stage pr", "prod")):
        line = ["sluice", *words.split()]
        script = (
            f"source {tmp_path / 'script'}; COMP_WORDS=({' '.join(line)}); "
            f"COMP_CWORD={len(line) - 1}; $(complete -p sluice | sed 's/.*-F //; s/ .*//') "
            "sluice; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run([bash, "-c", script], capture_output=True, text=True)
        assert found in done.stdout.split(), done.stderr
