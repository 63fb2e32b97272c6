"""The application of the public API with a container that reads what it is sent, in this process.

The gate lets one key in, and counts what it admits. The endpoint is our container's own parser: it
answers two tokens for each choice, or refuses as the container does. Nothing is written or sent, so
a call takes a fraction of a millisecond.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar
from unittest.mock import patch

import msgspec

from lambda_fn.auth import Caller
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError
from lambda_fn.metering.ledger import Opening
from lambda_fn.settings import Model, Settings
from lambda_fn.stream import app as application
from lambda_fn.stream import pipeline
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.endpoints import single_calls
from lambda_fn.stream.endpoints.openapi import document
from lambda_fn.stream.rate_limit_errors import no_model
from local.sagemaker.eventstream import payload_part
from model.errors import ModelError
from model.schema import ChatRequest, parse_invocation
from tests.support import worst_bodies
from tests.support.function import END, FINISH, HELLO, START, USAGE, WORLD, lines

DOCUMENT: dict[str, Any] = json.loads(document(["m"], keeps=True))
COMPONENTS: dict[str, Any] = DOCUMENT["components"]["schemas"]
_USER = [{"role": "user", "content": "x"}]
_MEMBER = {"stream_id": "a", "endpoint": "/v1/responses", "body": {"model": "m", "input": "x"}}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": _USER},
    "/v1/completions": {"model": "m", "prompt": "x"},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": _USER},
    "/v1/messages/count_tokens": {"model": "m", "messages": _USER},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/responses/input_tokens": {"model": "m", "input": "x"},
    "/v1/responses/compact": {"model": "m", "input": "x"},
    "/v1/embeddings": {"model": "m", "input": "x"},
    "/v1/tokenize": {"model": "m", "prompt": "x"},
    "/v1/detokenize": {"model": "m", "tokens": [1]},
    "/v1/sluice/multiplex": {"requests": [_MEMBER]},
}
"""The least body of each path that takes one."""
_TOKENS = {"tokenize": b'{"tokens":[1]}', "detokenize": b'{"text":"x"}'}


def schema_of(path: str) -> Mapping[str, Any]:
    """Return the schema of the body of a path."""
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    found: Mapping[str, Any] = content["application/json"]["schema"]
    return found


class Books:
    """What was admitted and is not settled, and what the container refused."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.open: set[str] = set()
        self.refused: list[str] = []


class _Gate(worst_bodies.Gate):
    books: Books

    async def no_model(self, caller: Caller, name: str, _: Mapping[str, str]) -> APIError:
        """Return the error for a model that is not served."""
        await self.authenticate(caller)
        return no_model(name)

    async def admit(self, caller: Caller, opening: Opening, **named: object) -> Admission:
        """Admit a request, and note it."""
        admission = await super().admit(caller, opening, **named)
        self.books.open.add(opening.request_id)
        return admission


class _Container:
    """The endpoint's client, and one exchange with the container behind it."""

    headers: ClassVar[dict[str, str]] = {}
    connected = True

    def __init__(self, books: Books, status: int = 0, parts: Sequence[bytes] = ()) -> None:
        self._books = books
        self._parts = iter(parts)
        self.status = status
        self.loop = asyncio.get_running_loop()

    def send(self, *sent: Any) -> "_Container":
        """Answer a request."""
        return _Container(self._books, *self._answer(sent[-1]))

    def _answer(self, body: bytes) -> tuple[int, list[bytes]]:
        control = msgspec.json.decode(body).get("sluice", {})
        try:
            asked = parse_invocation(body)
            if not isinstance(asked, ChatRequest):
                name = next((name for name in _TOKENS if name in control), "tokenize")
                return 200, [payload_part(_TOKENS[name])]
            asked.check_schemas()
        except ModelError as error:
            self._books.refused.append(str(error))
            told = {"code": "invalid_request", "message": str(error), "param": error.param}
            return 424, [
                json.dumps(
                    {"OriginalStatusCode": 400, "OriginalMessage": json.dumps({"error": told})}
                ).encode()
            ]
        choices = range(asked.n or 1)
        records = [{**each, "index": at} for at in choices for each in (HELLO, WORLD, FINISH)]
        usage = {**USAGE, "completion_tokens": 2 * len(choices)}
        return 200, [payload_part(lines(START, *records, usage, END))]

    async def head(self) -> bool:
        """Return the head at once."""
        return True

    async def read(self, take: object = None) -> bytes:
        """Return the next part."""
        return next(self._parts, b"")

    async def read_all(self, limit: int) -> bytes:
        """Return all parts."""
        return b"".join(self._parts)

    def wake(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@contextlib.contextmanager
def hostile_app() -> Iterator[tuple[Any, Books]]:
    """Yield the real application over this file's gate and container, and its books."""
    books = Books()

    async def settle(_: object, admission: Admission, *__: object, **___: object) -> None:
        books.open.discard(admission.opening.request_id)

    settings = Settings(
        region="eu-west-1",
        usage_table="t",
        models={"m": Model(endpoint="e", context_tokens=1000)},
        origin_secrets=("o",),
        dynamodb_url="http://d",
        sagemaker_url="http://s",
    )
    gate = type("_", (_Gate,), {"books": books})
    with (
        patch.object(application, "Gate", gate),
        patch.object(pipeline, "settle", settle),
        patch.object(single_calls, "settle", settle),
    ):
        yield (
            application.create_app(
                settings,
                _Container(books),  # type: ignore[arg-type]
                lambda: Credentials("AKID", "SECRET", ""),
            ),
            books,
        )


def complaint(path: str, status: int, said: bytes) -> str:
    """Return what is wrong with a response, empty if it is what the API's documents promise."""
    if status >= 500:
        return f"status {status}"
    if b"internal_error" in said or b'"status":5' in said:
        return "a fault within the response"
    if status == 200:
        return ""
    found = json.loads(said)
    error = found["error"]
    if path.startswith("/v1/messages"):
        good = found.keys() == {"type", "error", "request_id"} and found["type"] == "error"
        good = good and error.keys() == {"type", "message"}
    else:
        good = error.keys() == {"message", "type", "param", "code"}
        good = good and isinstance(error["param"], str | None)
    good = good and isinstance(error["message"], str) and 0 < len(error["message"]) <= 2000
    return "" if good else f"status {status} without the error's form"
