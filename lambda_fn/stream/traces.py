"""The trace of a request: its context, and its spans when it is settled.

One span is the request, with events at the moments that a stream has: `admitted`, `invoked`,
`first_token`, `last_token` and `settled`. If Sluice's container answered to the end, its own span
is a child of it. The span is made from the times in the container's last record, because a
container without a network can send nothing. Attributes are those of OpenTelemetry's conventions
for generative AI, where these have one, and never have any content. Source:
https://github.com/open-telemetry/semantic-conventions-genai.
"""

import os
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec

from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.runtime.loop import trace_id
from lambda_fn.settings import Settings
from lambda_fn.stream.usage_counter import UsageCounter
from lambda_fn.tracing.context import TraceContext, begin

if TYPE_CHECKING:
    import asyncio

    from lambda_fn.metering.ledger import Opening, Settlement
    from lambda_fn.settings.traces import Traces
    from lambda_fn.tracing.exporter import Exporter
    from lambda_fn.tracing.otlp import Resource, Span, Value

_OPERATIONS = {
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
_PROVIDER = "sluice"


class Tracer:
    """Makes the traces of one process."""

    def __init__(
        self, settings: Settings, client: Client, credentials: Callable[[], Credentials]
    ) -> None:
        """Take what all requests share. Nothing is sent, and no more is imported, before the first
        request that is sampled has ended.
        """
        assert settings.traces is not None  # noqa: S101 (there is no tracer without)
        self._settings: Traces = settings.traces
        self._region = settings.region
        self._client = client
        self._credentials = credentials
        self._exporter: Exporter | None = None
        self._resources: tuple[Resource, Resource] | None = None

    def begin(
        self,
        headers: Mapping[str, str],
        path: str,
        in_background: Callable[[Coroutine[None, None, object]], None],
    ) -> "Trace":
        """Return the trace of a request.

        Args:
            headers: The request's, by their names in lower case.
            path: The path of the endpoint.
            in_background: Runs what sends the spans.

        """
        context = begin(
            headers.get("traceparent", ""),
            headers.get("tracestate", ""),
            ratio=self._settings.ratio,
            callers=self._settings.callers,
            lambda_header=trace_id.get(),
        )
        return Trace(self, context, path, in_background)

    def resources(self) -> "tuple[Resource, Resource]":
        """Return what made the spans: this function, and the model's container."""
        if self._resources is None:
            from lambda_fn.tracing.otlp import Resource

            place: dict[str, Value] = {"cloud.provider": "aws", "cloud.region": self._region}
            name = self._settings.service
            function: dict[str, Value] = {
                "service.name": name,
                **place,
                "cloud.platform": "aws_lambda",
                "faas.name": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
                "faas.version": os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
            }
            self._resources = (
                Resource(function),
                Resource({"service.name": f"{name}-model", **place}),
            )
        return self._resources

    def send(self, spans: "list[tuple[Resource, Span]]") -> "asyncio.Future[None] | None":
        """Send spans. See `Exporter.add`."""
        if self._exporter is None:
            from lambda_fn.tracing.exporter import Exporter  # not at a cold start

            signed = not self._settings.authorization and self._settings.signed
            self._exporter = Exporter(
                self._client,
                url=self._settings.url,
                region=self._region,
                credentials=self._credentials if signed else None,
                authorization=self._settings.authorization,
            )
        return self._exporter.add(spans)


class Trace:
    """The trace of one request."""

    def __init__(
        self,
        tracer: Tracer,
        context: TraceContext,
        path: str,
        in_background: Callable[[Coroutine[None, None, object]], None],
    ) -> None:
        """Keep what the request's span will tell."""
        self.context = context
        self.named = ""
        """The model that the request names."""
        self.streamed: bool | None = None
        """Whether the client gets a stream. None: that is no question."""
        self.decoder: object = None
        """The response's decoder. That of our container keeps its last record."""
        self._tracer = tracer
        self._path = path
        self._in_background = in_background

    def settled(
        self, counter: UsageCounter, opening: "Opening", settlement: "Settlement", cause: str
    ) -> None:
        """Send the request's spans, if it is sampled. `cause` says why it ended.

        Nothing waits for it but the next invocation, and nothing is raised.
        """
        if not self.context.sampled:
            return
        try:
            spans = self._spans(counter, opening, settlement, cause)
            sent = self._tracer.send(spans)
        except Exception as error:  # noqa: BLE001 (the boundary: a trace fails no request)
            log("fault", request_id=opening.request_id, error=type(error).__name__)
            return
        if sent is not None:
            self._in_background(_wait_for(sent))

    def _spans(
        self, counter: UsageCounter, opening: "Opening", settlement: "Settlement", cause: str
    ) -> "list[tuple[Resource, Span]]":
        from lambda_fn.stream.metrics import FAILED
        from lambda_fn.tracing.otlp import Span, SpanEvent

        now, end = time.monotonic(), time.time_ns()

        def unix(moment: float) -> int:
            return end - int((now - moment) * 1e9)

        moments = sorted({**counter.moments, "settled": now}.items(), key=lambda item: item[1])
        operation = _OPERATIONS.get(self._path, "chat")
        if "token" in self._path.rpartition("/")[2]:
            operation = "count_tokens"
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": self.named or opening.model,
            "gen_ai.response.model": opening.model,
            "gen_ai.response.id": opening.request_id,
            "gen_ai.usage.input_tokens": settlement.prompt_tokens,
            "gen_ai.usage.output_tokens": settlement.completion_tokens,
            "http.request.method": "POST",
            "http.route": self._path,
            "sluice.request_id": opening.request_id,
            "sluice.key": opening.key_id,
            "sluice.outcome": settlement.outcome,
            "sluice.cause": cause,
            "sluice.cost_usd": opening.prices.cost(settlement.tokens) / 1e9,
        }
        if settlement.cached_tokens:
            attributes["gen_ai.usage.cache_read.input_tokens"] = settlement.cached_tokens
        if settlement.reasoning_tokens:
            attributes["gen_ai.usage.reasoning.output_tokens"] = settlement.reasoning_tokens
        if self.streamed is not None:
            attributes["gen_ai.request.stream"] = self.streamed
        if settlement.finish_reason is not None:
            attributes["gen_ai.response.finish_reasons"] = [settlement.finish_reason]
        if settlement.ttft_ms is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = settlement.ttft_ms / 1000
        error = cause if cause in FAILED else None
        if error is not None:
            attributes["error.type"] = error
        context = self.context
        function, container = self._tracer.resources()
        own = Span(
            context.trace_id,
            context.span_id,
            context.parent_id,
            f"{operation} {opening.model}",
            unix(counter.started),
            end,
            attributes,
            [SpanEvent(name, unix(at)) for name, at in moments],
            error,
            context.state,
        )
        below = container_span(getattr(self.decoder, "last_record", b""), own, opening.model)
        return [(function, own)] + ([] if below is None else [(container, below)])


async def _wait_for(sent: "asyncio.Future[None]") -> None:
    await sent


_SpanId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
_Microseconds = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _Timing(msgspec.Struct):
    span_id: _SpanId
    began: _Microseconds
    started: _Microseconds | None = None
    first_token: _Microseconds | None = None
    ended: _Microseconds | None = None


class _LastRecord(msgspec.Struct):
    trace: _Timing | None = None


_last_record = msgspec.json.Decoder(_LastRecord)


def container_span(record: bytes, above: "Span", model: str) -> "Span | None":
    """Return the container's span from its last record. None if the record has no times.

    The span lies within its parent, whatever the container's clock says.
    """
    from lambda_fn.tracing.otlp import Span, SpanEvent

    try:
        timing = _last_record.decode(record).trace if record else None
    except msgspec.MsgspecError:
        return None
    if timing is None:
        return None

    def within(microseconds: int) -> int:
        return max(above.start, min(above.end, microseconds * 1000))

    events = [("started", timing.started), ("first_token", timing.first_token)]
    return Span(
        above.trace_id,
        timing.span_id,
        above.span_id,
        f"generate {model}",
        within(timing.began),
        above.end if timing.ended is None else within(timing.ended),
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": model},
        [SpanEvent(name, within(at)) for name, at in events if at is not None],
        None,
        above.state,
    )
