"""The container's HTTP application: routes only."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from model import output
from model.answers import StreamResponse, Timing, WholeResponse, error_response
from model.bodies import BodyReader
from model.errors import EngineError, ModelError, RouteError
from model.events import Start
from model.lines import LineEncoder
from model.metrics import MEDIA_TYPE
from model.schema import CancelRequest, TokensRequest, parse_chat, parse_invocation
from model.schema_checks import SchemaChecks
from model.sse import SseEncoder, WholeAnswer
from model.traced_lines import HEADER, TracedLines, is_traced

if TYPE_CHECKING:
    from model.generation import Generation


def create_app(
    generation: Generation, models: tuple[str, ...], timing: Timing | None = None
) -> FastAPI:
    """Return the application over a started engine.

    `models` are the names of the model and of its adapters.
    """
    timing = timing or Timing()
    started = int(time.time())
    lines = LineEncoder()
    bodies = BodyReader(timing.body)
    checks = SchemaChecks(lambda: generation.engine.vocabulary)
    # There is no middleware and no generated documentation: this API has one caller.
    app = FastAPI(title="Sluice inference container", openapi_url=None)

    @app.get("/ping")
    async def ping() -> Response:
        """Answer SageMaker's health check from a flag in memory."""
        output.trim()  # SageMaker calls it every few seconds
        return Response() if generation.healthy else error_response(generation.not_ready())

    @app.get("/metrics")
    async def metrics() -> Response:
        """Return the metrics.

        A scraper must run beside the container: SageMaker routes no other request to it.
        """
        own, engine = generation.metrics.text(), b""
        if generation.engine.healthy:
            engine = await generation.engine.metrics()
        return Response(own + engine, media_type=MEDIA_TYPE)

    @app.get("/v1/models")
    async def list_models() -> Response:
        """Return the loaded model and its adapters."""
        shared = {"object": "model", "created": started, "owned_by": "sluice"}
        return JSONResponse({"object": "list", "data": [{"id": name, **shared} for name in models]})

    @app.post("/invocations")
    async def invocations(request: Request) -> Response:
        """Answer SageMaker's one route: generate, always streamed as lines, cancel, count, or
        tokenize.
        """
        asked = parse_invocation(await bodies.read(request))
        if isinstance(asked, CancelRequest):
            return JSONResponse(
                {"cancelled": await generation.cancel(asked.request_id, timing.cancel)}
            )
        if isinstance(asked, TokensRequest):
            return JSONResponse(await generation.tokens(asked))
        await checks.check(asked)
        if asked.sluice.count:
            start = Start(await generation.count(asked))
            return Response(lines.event(start) + lines.end(), media_type="application/jsonlines")
        encoder = lines
        if is_traced(request.headers.get(HEADER, "")):
            encoder = TracedLines()
        return StreamResponse(generation, asked, encoder, timing)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        """Answer OpenAI's route, for callers that reach the container itself."""
        asked = parse_chat(await bodies.read(request))
        await checks.check(asked)
        answer_id, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        model_name = asked.model if asked.model in models else models[0]
        if not asked.stream:
            return WholeResponse(
                generation, asked, WholeAnswer(answer_id, created, model_name, choices=asked.n)
            )
        usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        encoder = SseEncoder(answer_id, created, model_name, choices=asked.n, include_usage=usage)
        return StreamResponse(generation, asked, encoder, timing)

    @app.exception_handler(ModelError)
    async def model_error(request: Request, error: ModelError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return error_response(
            RouteError(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
        )

    @app.exception_handler(Exception)
    async def failure(request: Request, error: Exception) -> Response:
        return error_response(EngineError("the container failed"))

    return app
