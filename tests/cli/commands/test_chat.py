"""`sluice chat`. The tests of `cli.lib.completions` cover what it prints."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from cli.commands import chat
from cli.lib.completions import Refused
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


@pytest.mark.parametrize(
    ("status", "code", "line", "said"),
    [
        (404, "model_not_found", ["--model", "x", "hi"], (2, "`--model` may be: a, b.")),
        (404, "model_not_found", ["hi"], (2, "The API says: no")),
        (400, "context_length_exceeded", ["hi"], (2, "The API says: no")),
        (429, "rate_limit_exceeded", ["--model", "x", "hi"], (1, "The API says: no")),
    ],
)
def test_what_the_api_does_not_take_is_wrong_input(
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    code: str,
    line: list[str],
    said: tuple[int, str],
) -> None:
    """A question or model that is refused is status 2, with the models there are; a limit is 1."""

    def refuse(*_: object, **__: object) -> None:
        raise Refused("The API says: no", http_status=status, code=code)

    models = [SimpleNamespace(id=name) for name in ("b", "a")]
    api = SimpleNamespace(models=SimpleNamespace(list=lambda: models))
    monkeypatch.setattr(chat, "complete", refuse)
    monkeypatch.setattr(chat, "client", lambda _: api)
    assert main(["chat", *line]) == said[0]
    assert said[1] in capsys.readouterr().err
    assert asked == []
