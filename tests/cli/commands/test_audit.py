"""`sluice audit`."""

import pytest

from cli.lib.admin_api import Admin
from cli.main import main


def test_a_right_names_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--right` selects the function of that right, and `--iam` the function of all rights."""
    rights: list[str | None] = []

    def of(*_: str, right: str | None) -> Admin:
        rights.append(right)
        return Admin("local", {}, None)

    monkeypatch.setattr(Admin, "of", of)
    monkeypatch.setattr(Admin, "pages", lambda *_, **__: iter(()))
    for options in (["--right", "audit"], ["--iam"], []):
        assert main(["audit", *options]) == 0
    assert rights == ["audit", "all", None]
