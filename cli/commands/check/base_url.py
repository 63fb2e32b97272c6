"""Whether a URL is the base URL of an API, and which model the API lists first."""

from dataclasses import replace
from urllib.parse import urlsplit

from cli.commands.check.wire import NoResponse, Response, Server
from cli.lib.project import CommandError, UsageError

_REFUSALS = (401, 403, 429, 503)
"""With these and a JSON object an API refuses to list its models."""


def model_of(server: Server, named: str | None) -> str:
    """Return the model to ask for: the one that was named, else the first of the API's list.

    Raises:
        NoResponse: the server sent no status.
        UsageError: the URL lacks the /v1 at its end, with which the API answers.
        CommandError: no model was named, and the API lists none.

    """
    whole = urlsplit(server.base).path.endswith("/v1")
    if named is not None and whole:
        return named
    response = server.send("GET", "/models")
    if not (whole or _is_api(response)) and _answers(f"{server.base}/v1", server):
        raise UsageError(
            f"{server.base} lacks /v1: the API answers at {server.base}/v1. Give that URL."
        )
    if named is not None:
        return named
    try:
        return str(response.json()["data"][0]["id"])
    except (TypeError, KeyError, IndexError):
        raise CommandError(f"{server.base}/models {_why(response.status)}.") from None


def _answers(url: str, server: Server) -> bool:
    """Return whether an API is at a URL."""
    try:
        return _is_api(replace(server, base=url).send("GET", "/models"))
    except NoResponse:
        return False


def _is_api(response: Response) -> bool:
    """Return whether a response to GET /models is an API's: its list, or its refusal."""
    found = response.json()
    if not isinstance(found, dict):
        return False
    return (
        isinstance(found.get("data"), list)
        if response.status == 200
        else (response.status in _REFUSALS)
    )


def _why(status: int) -> str:
    """Return why there is no list of models, and what to do, as the end of a sentence."""
    if status == 200:
        return "lists no model; name one with --model"
    if status in {401, 403}:
        return f"answers {status}; give a --key that is valid there"
    if status == 404:
        return "answers 404; is the URL the one that clients use? If it is, name a --model"
    return f"answers {status}; name a --model"
