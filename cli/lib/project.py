"""Where things are, and what a command may assume."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
"""The local cloud's folder: its state, its logs, and what is known of the stack in it."""

LOGS = LOCAL / "logs"


class CommandError(Exception):
    """A command cannot go on. The message is for the user: what failed and why."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        """Say it; `log` is the file that says more."""
        super().__init__(message)
        self.log = log
