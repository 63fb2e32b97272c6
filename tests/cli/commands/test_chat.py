"""`sluice chat`. The tests of `cli.lib.completions` cover what it prints."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from cli.commands import chat
from cli.lib.stack import LocalStack
from cli.main import main


@pytest.mark.usefixtures("account")
def test_a_stage_on_aws_needs_a_key(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key, the error names the variable to set and the command that makes a key."""
    deploy(outputs={"DistributionDomain": "d1.cloudfront.net", "ModelName": "m"})
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["chat", "--stage", "dev", "Hello"]) == 1
    errors = capsys.readouterr().err
    assert "export OPENAI_API_KEY" in errors
    assert "sluice keys create --stage dev" in errors


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replace the stack by one whose answers Ctrl-C stops after a word; return the messages."""
    asked: list[Any] = []

    def chunks() -> Iterator[Any]:
        delta = SimpleNamespace(content="Once")
        yield SimpleNamespace(usage=None, choices=[SimpleNamespace(delta=delta)])
        raise KeyboardInterrupt

    @contextmanager
    def create(*, messages: list[Any], **_: object) -> Iterator[Iterator[Any]]:
        asked.append(list(messages))
        yield chunks()

    completions = SimpleNamespace(create=create)
    stack = SimpleNamespace(api_key="sk", model="m", name="sluice", warn_of_other_key=lambda: None)
    monkeypatch.setattr(LocalStack, "of", lambda *_: stack)
    monkeypatch.setattr(
        chat, "client", lambda _: SimpleNamespace(chat=SimpleNamespace(completions=completions))
    )
    return asked


def test_ctrl_c_in_the_one_answer(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """It ends the command with 130: the answer is not whole."""
    assert main(["chat", "Tell", "me"]) == 130
    assert capsys.readouterr().out.startswith("Once …\n")
    assert asked == [[{"role": "user", "content": "Tell me"}]]


def test_ctrl_c_in_a_conversation(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an answer it stops that, and the words that came stay; at the prompt it ends with 130."""
    lines = iter(["one", "two"])

    def line(_prompt: str) -> str:
        for text in lines:
            return text
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", line)
    assert main(["chat"]) == 130
    assert [it["content"] for it in asked[1]] == ["one", "Once", "two"]
    capsys.readouterr()
