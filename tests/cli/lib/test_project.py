"""Errors of commands."""

import os
from pathlib import Path

import pytest

from cli.lib.project import owner


def test_the_owner_of_a_forbidden_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that cannot be looked at, it is the owner of the folder that it is in."""
    file = tmp_path / "gone" / "file"
    error = PermissionError(13, "Permission denied", str(file))
    assert owner(error) == ""  # the folder is this user's, who can help himself
    me = tmp_path.owner()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert owner(error) == f". {tmp_path} belongs to {me}; run the command as that user."
    assert owner(FileNotFoundError(2, "No such file or directory", str(file))) == ""
    assert owner(PermissionError(13, "Permission denied")) == ""
