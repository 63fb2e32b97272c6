"""Which URL is the base URL of an API, and its first model."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from cli.commands.check.base_url import model_of
from cli.commands.check.wire import NoResponse, Response, Server
from cli.lib.project import CommandError, UsageError
from cli.main import main

URL = "http://localhost:8787"
LIST = (200, {"data": [{"id": "m"}]})
NOT_FOUND = (404, {"error": {"message": "There is no such path."}})


@pytest.fixture
def asked() -> list[str]:
    """Return the URLs that were asked."""
    return []


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Callable[..., None]:
    """Return a function that makes these the answers of base URLs; others do not answer."""

    def serve(answers: Mapping[str, tuple[int, Any]]) -> None:
        def send(self: Server, method: str, path: str) -> Response:
            assert (method, path, self.key) == ("GET", "/models", "k")
            asked.append(self.base)
            if self.base not in answers:
                raise NoResponse("Connection refused")
            status, body = answers[self.base]
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            return Response(status, {}, [(0.0, data)])

        monkeypatch.setattr(Server, "send", send)

    return serve


@pytest.mark.parametrize("named", [None, "x"])
@pytest.mark.parametrize(
    "here", [NOT_FOUND, (403, b"<Error>"), (200, b"<html>"), (405, b""), (200, {"hello": 1})]
)
@pytest.mark.parametrize("there", [LIST, (401, {"error": {}}), (403, {"detail": "x"})])
def test_a_url_without_its_v1_is_told(
    serve: Callable[..., None], here: tuple[int, Any], there: tuple[int, Any], named: str | None
) -> None:
    """The API answers at the URL with /v1, if only by a refusal of the key."""
    serve({URL: here, f"{URL}/v1": there})
    with pytest.raises(UsageError, match=f"^{URL} lacks /v1: the API answers at {URL}/v1"):
        model_of(Server(URL, "k"), named)


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (NOT_FOUND, "answers 404; is the URL the one that clients use? If it is, name a --model."),
        ((401, {"error": {}}), "answers 401; give a --key that is valid there."),
        ((200, {"data": []}), "lists no model; name one with --model."),
        ((200, b"<html>"), "lists no model; name one with --model."),
        ((500, b""), "answers 500; name a --model."),
    ],
)
@pytest.mark.parametrize("url", [URL, f"{URL}/v1"])
@pytest.mark.parametrize("there", [None, NOT_FOUND, (200, b"<html>")])
def test_no_list_is_told_by_its_cause(
    serve: Callable[..., None], url: str, here: tuple[int, Any], said: str, there: Any
) -> None:
    """The key is not the cause of a 404, and a model is not that of a 401."""
    serve({url: here} | ({f"{url}/v1": there} if there else {}))
    with pytest.raises(CommandError) as caught:
        model_of(Server(url, "k"), None)
    assert str(caught.value) == f"{url}/models {said}"


def test_the_model(serve: Callable[..., None], asked: list[str]) -> None:
    """It is the named one, else the first. Of a URL with /v1 no list is asked for in vain."""
    serve({URL: LIST, f"{URL}/v1": LIST, f"{URL}/api": NOT_FOUND})
    assert model_of(Server(f"{URL}/v1", "k"), "x") == "x"
    assert asked == []
    assert model_of(Server(f"{URL}/v1", "k"), None) == model_of(Server(URL, "k"), None) == "m"
    assert model_of(Server(f"{URL}/api", "k"), "x") == "x"  # an API without a list
    assert asked == [f"{URL}/v1", URL, f"{URL}/api", f"{URL}/api/v1"]


@pytest.mark.parametrize("command", ["check", "load", "load --form websocket"])
def test_both_commands_tell_it(
    serve: Callable[..., None], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line is wrong, so the status is 2. Nothing else is sent."""
    serve({URL: NOT_FOUND, f"{URL}/v1": LIST})
    name, *options = command.split()
    assert main([name, f"{URL}/", "--key", "k", *options]) == 2
    assert f"✗ {URL} lacks /v1" in capsys.readouterr().err
