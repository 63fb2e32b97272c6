"""`sluice chat`. The tests of `cli.lib.completions` cover what it prints."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import openai
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
    """Replace the stack by one whose answers Ctrl-C stops after a word.

    Return the messages, and the paths of the cancels, which have no answer.
    """
    asked: list[Any] = []

    def chunks() -> Iterator[Any]:
        delta = SimpleNamespace(content="Once")
        choices = [SimpleNamespace(delta=delta)]
        yield SimpleNamespace(id="chatcmpl-1", usage=None, choices=choices)
        raise KeyboardInterrupt

    @contextmanager
    def create(*, messages: list[Any], **_: object) -> Iterator[Iterator[Any]]:
        asked.append(list(messages))
        yield chunks()

    def post(path: str, **_: object) -> None:
        asked.append(path)
        raise openai.APIConnectionError(request=request)  # what Ctrl-C has stopped is stopped

    request: Any = httpx.Request("POST", "http://localhost:1/v1/")
    completions = SimpleNamespace(create=create)
    stack = SimpleNamespace(api_key="sk", model="m", name="sluice", warn_of_other_key=lambda: None)
    monkeypatch.setattr(LocalStack, "of", lambda *_: stack)
    monkeypatch.setattr(
        chat,
        "client",
        lambda _: SimpleNamespace(
            chat=SimpleNamespace(completions=completions),
            with_options=lambda **_: SimpleNamespace(post=post),
        ),
    )
    return asked


def test_ctrl_c_in_the_one_answer(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    """It ends the command with 130, and the model's work: the answer is not whole."""
    assert main(["chat", "Tell", "me"]) == 130
    assert capsys.readouterr().out.startswith("Once …\n")
    assert asked == [
        [{"role": "user", "content": "Tell me"}],
        "/sluice/streams/chatcmpl-1/cancel",
    ]


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
    assert [it["content"] for it in asked[2]] == ["one", "Once", "two"]
    capsys.readouterr()


def test_a_failed_answer_in_a_conversation(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal the conversation goes on, with what came, once an answer has begun."""
    fails = iter([("begun",), ("half",), None, ()])

    def complete(*_: object, messages: list[Any], parts: list[str], **__: object) -> None:
        asked.append([it["content"] for it in messages])
        if (pieces := next(fails, ())) is None:
            raise Refused("The API says: slow down", http_status=429)
        parts.extend(pieces)
        if pieces:
            raise Refused("The API says: it broke")

    lines = iter(["one", "two", "three", "four"])
    monkeypatch.setattr(chat, "complete", complete)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    with pytest.raises(StopIteration):
        main(["chat"])
    assert asked[2:] == [
        ["one", "begun", "two", "half", "three"],
        ["one", "begun", "two", "half", "four"],
    ]
    broke = "✗ The API says: it broke\n"
    assert capsys.readouterr().err == f"{broke}{broke}✗ The API says: slow down\n"
    fails, lines = iter([None]), iter(["one", "two"])
    assert main(["chat"]) == 1


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
    api = SimpleNamespace(models=SimpleNamespace(list=lambda **_: models))
    monkeypatch.setattr(chat, "complete", refuse)
    monkeypatch.setattr(chat, "client", lambda _: api)
    assert main(["chat", *line]) == said[0]
    assert said[1] in capsys.readouterr().err
    assert asked == []


class Models(BaseHTTPRequestHandler):
    """An API whose answer to each GET is the server's: a status and a body, half of it for 0."""

    def do_GET(self) -> None:
        """Answer."""
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status or 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body) + (status == 0)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b'{"error": {"message": "slow down"}}'),
        (404, b"<html>"),
        (0, b'{"data": ['),
        (200, b"[]"),
        (200, b""),
        (200, b'{"data": null}'),
        (200, b'{"data": ["a"]}'),
        (200, b'{"data": ' + b"1" * 5000 + b"}"),
        (200, b"[" * 100_000),
    ],
    ids=["limit", "none", "lost", "array", "empty", "null", "no objects", "number", "deep"],
)
def test_a_list_of_models_that_fails_leaves_the_refusal_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: int, body: bytes
) -> None:
    """The list only adds to the message, so no failure of it may hide the message."""

    def refuse(*_: object, **__: object) -> None:
        raise Refused("The API says: no such model", http_status=404, code="model_not_found")

    monkeypatch.setattr(chat, "complete", refuse)
    with ThreadingHTTPServer(("127.0.0.1", 0), Models) as server:
        server.answer = (status, body)  # type: ignore[attr-defined]
        stack = LocalStack(f"http://127.0.0.1:{server.server_port}/v1", "sk", "m", "t")
        monkeypatch.setattr(LocalStack, "of", lambda *_: stack)
        monkeypatch.setattr(LocalStack, "warn_of_other_key", lambda _: None)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert main(["chat", "--model", "x", "hi"]) == 2
        server.shutdown()
    assert capsys.readouterr().err == "✗ The API says: no such model\n"
