"""`sluice playground`."""

import stat
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from cli.commands.playground import is_served, link_of, open_page
from cli.lib.project import CommandError
from cli.lib.stack import LocalStack
from tests.support.answers_once import answering

KEY = "sk-abc-d+e"


def stack(key: str = KEY) -> LocalStack:
    """Return a stack with a key."""
    return LocalStack("http://localhost:8787/v1", key, "m", usage_table="t")


def test_the_key_is_in_the_fragment() -> None:
    """Browsers send no fragment. Without a key, the page asks for one."""
    assert link_of(stack()) == "http://localhost:8787/#key=sk-abc-d%2Be"
    assert link_of(stack("")) == "http://localhost:8787/"


def test_no_process_has_the_key_in_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser gets a file that only the user can read, and that leads to the link."""
    opened: list[str] = []

    class Browser:
        def open(self, url: str) -> bool:
            opened.append(url)
            return True

    monkeypatch.setattr(webbrowser, "get", Browser)
    assert open_page(link_of(stack()), tmp_path / "state")
    (url,) = opened
    assert url.startswith("file://")
    assert KEY not in url
    file = tmp_path / "state/playground.html"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "#key=sk-abc-d%2Be" in file.read_text()


def test_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is written then."""

    def none() -> Any:
        raise webbrowser.Error("none")

    monkeypatch.setattr(webbrowser, "get", none)
    assert not open_page("http://localhost/", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n"])
def test_a_page_that_is_not_served(answer: bytes) -> None:
    """What does not answer is an error. What answers with an error has no page."""
    with answering(answer) as url, pytest.raises(CommandError, match="does not answer"):
        is_served(stack(), url)
    with answering(b"HTTP/1.1 404 No\r\n\r\n") as url:
        assert not is_served(stack(), url)
