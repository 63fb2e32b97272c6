"""`sluice keys revoke`: what of a key that was found leaves the machine."""

import io
from typing import Any

import pytest

from cli.commands import keys
from cli.main import main
from tests.support.hostile_admin import FACTS

KEY = "sk-abcdefghijkl-" + "Aa0_-" * 8 + "xyz"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Give the calls of the admin API that are made."""
    calls: list[tuple[Any, ...]] = []

    def api(*call: Any, **query: Any) -> dict[str, Any]:
        calls.append((*call, query))
        return {**FACTS, "status": "revoked", "cancelled": 3}

    monkeypatch.setattr(keys, "admin", lambda _: api)
    return calls


@pytest.mark.parametrize("given", [KEY, KEY[3:15], KEY[:15], f" '{KEY}'\n", f'"{KEY}"', "-"])
def test_only_the_id_is_sent(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    """The whole key, in quotes or from standard input, is as good as its id, and is neither sent nor printed."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    assert main(["keys", "revoke", given]) == 0
    assert asked == [("POST", f"/keys/{KEY[3:15]}/revoke", {})]
    printed = "".join(capsys.readouterr())
    assert "3 running" in printed
    assert KEY[16:] not in printed


@pytest.mark.parametrize("given", [KEY + "x", KEY[:-1], "sk-nothing", "-"])
def test_what_is_no_key_is_not_repeated(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    """A text that is not a key ends the command, which does not print it: it may be most of one."""
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "x"))
    with pytest.raises(SystemExit) as ended:
        main(["keys", "revoke", given])
    assert ended.value.code == 2
    assert not asked
    assert KEY[16:-1] not in "".join(capsys.readouterr())
