"""InvokeEndpoint and InvokeEndpointWithResponseStream.

Errors have the status and shape of the API reference, which botocore reads. What AWS does when the
caller disconnects is unconfirmed; here the container's request is closed.
"""

import asyncio
import contextlib
import json
import logging
import random
from typing import Final

import aiohttp
from aiohttp import web

from local import bodies
from local.faults import container
from local.faults.parts import cutting
from local.faults.plan import Plan, Strike
from local.limits import Limits, value
from local.sagemaker import eventstream
from local.sagemaker.parts import Cutter
from local.sagemaker.serving import Instance, Serving

log = logging.getLogger("local.sagemaker")

_MAX_BODY: Final = value("sagemaker_body")
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review "
    "the latency metrics for "
    "each container in Amazon CloudWatch, resolve the issue, and try again."
)
# The next two messages are as users report them.
_NO_COMPONENT = (
    "Inference Component Name header is required for endpoints to which you plan to deploy "
    "inference components. "
    "Please include Inference Component Name header or consider using SageMaker models."
)
_NO_CAPACITY = (
    "Inference Component has no capacity to process this request. ApplicationAutoScaling may "
    "be in-progress (if "
    "configured) or try to increase the capacity by invoking "
    "UpdateInferenceComponentRuntimeConfig API."
)
# The maximum number of bytes that are read of a container's error. AWS's OriginalMessage is bounded
# too.
_ERROR_BYTES: Final = 65_536
_unread: Final[set[asyncio.Task[None]]] = set()


class ApiError(Exception):
    """An error response of the runtime API."""

    def __init__(self, status: int, code: str, message: str, **members: object) -> None:
        """`code` is the error's name in the API; `members` are those of its shape."""
        super().__init__(message)
        self.status, self.code, self.message, self.members = status, code, message, members

    def response(self) -> web.Response:
        """Return the error as an HTTP response."""
        body = json.dumps({"Message": self.message, **self.members}).encode()
        headers = {"x-amzn-ErrorType": self.code}
        return web.Response(
            status=self.status, body=body, content_type="application/json", headers=headers
        )


async def invoke(
    request: web.Request,
    serving: Serving | None,
    session: aiohttp.ClientSession,
    faults: Plan,
    limits: Limits,
) -> web.StreamResponse:
    """Answer a call. `serving` is None if no endpoint of that name is in service."""
    name = request.match_info["name"]
    try:
        body = await _body(request)
        if serving is None:
            component = request.headers.get("X-Amzn-SageMaker-Inference-Component")
            missing = (
                f"Inference Component {component} of endpoint {name}"
                if component
                else f"Endpoint {name} of account"
            )
            raise ApiError(400, "ValidationError", f"{missing} was not found.")
        if serving.endpoint.hosts_components:
            raise ApiError(400, "ValidationError", _NO_COMPONENT)
        instance = serving.least_busy()
        if instance is None:
            if serving.endpoint.component and not serving.instances:
                raise ApiError(400, "ValidationError", _NO_CAPACITY)
            raise ApiError(503, "ServiceUnavailable", "The service is currently unavailable.")
        instance.outstanding += 1
        began = asyncio.get_running_loop().time()
        try:
            text = body.decode(errors="replace") if faults.watches("endpoint") else ""
            strike = faults.strike("endpoint", name, text=text)
            return await _call(request, body, instance, serving, session, strike, limits)
        except ApiError as error:
            seconds = asyncio.get_running_loop().time() - began
            serving.invoked(
                instance.variant, int(str(error.members.get("OriginalStatusCode", 500))), seconds
            )
            raise
        finally:
            instance.outstanding -= 1
    except ApiError as error:
        log.info("invoke %s: %d %s: %s", name, error.status, error.code, error.message)
        return error.response()


async def _body(request: web.Request) -> bytes:
    content = await bodies.read(request, _MAX_BODY)
    if content is None:
        raise ApiError(
            413,
            "RequestEntityTooLarge",
            f"Request body is larger than the limit of {_MAX_BODY} bytes.",
        )
    return content


async def _call(
    request: web.Request,
    body: bytes,
    instance: Instance,
    serving: Serving,
    session: aiohttp.ClientSession,
    strike: Strike | None,
    limits: Limits,
) -> web.StreamResponse:
    began = asyncio.get_running_loop().time()
    first_by = began + limits.seconds("sagemaker_first_byte")
    headers = {
        **instance.headers,
        "Content-Type": request.headers.get("Content-Type", "application/octet-stream"),
        "Accept": request.headers.get(
            "X-Amzn-SageMaker-Accept", request.headers.get("Accept", "*/*")
        ),
    }
    if attributes := request.headers.get("X-Amzn-SageMaker-Custom-Attributes"):
        headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
    try:
        async with asyncio.timeout_at(first_by):
            await container.before(strike, instance.kill)
            answer = await session.post(
                f"http://127.0.0.1:{instance.port}/invocations",
                data=body,
                headers=headers,
                allow_redirects=False,
            )
    except TimeoutError:
        raise _model_error(serving, instance, 0, _TIMED_OUT) from None
    except container.ErrorAnswer as error:
        raise _model_error(serving, instance, error.status, error.body) from None
    except container.CallerCut:
        return _cut(request, web.StreamResponse())
    except aiohttp.ClientConnectorError as error:
        raise ApiError(
            500, "InternalFailure", "The request could not reach the container."
        ) from error
    except aiohttp.ClientError as error:
        raise _model_error(
            serving, instance, 500, "The container closed the connection without an answer."
        ) from error
    async with contextlib.AsyncExitStack() as open_answer:
        await open_answer.enter_async_context(answer)
        if answer.status >= 400:
            text = (await _some(answer, first_by)).decode(errors="replace")
            raise _model_error(serving, instance, answer.status, text)
        serving.invoked(instance.variant, answer.status, asyncio.get_running_loop().time() - began)
        if not request.path.endswith("-response-stream"):
            return await _whole(answer, instance, serving, first_by)
        ends = began + limits.seconds("sagemaker_total")
        try:
            return await _stream(request, answer, instance, ends, strike)
        except container.CallerCut as cut:
            if not cut.notify_container:
                _unread.add(
                    task := asyncio.create_task(
                        _read_out(answer, open_answer.pop_all(), instance, ends)
                    )
                )
                task.add_done_callback(_unread.discard)
            return _cut(request, web.StreamResponse())
        except aiohttp.ClientConnectionResetError:
            log.info("the caller left before the end of the stream")
            return _cut(request, web.StreamResponse())


async def _some(answer: aiohttp.ClientResponse, ends: float) -> bytes:
    try:
        async with asyncio.timeout_at(ends):
            return await answer.content.read(_ERROR_BYTES)
    except (aiohttp.ClientError, TimeoutError):
        return b""


async def _whole(
    answer: aiohttp.ClientResponse, instance: Instance, serving: Serving, ends: float
) -> web.StreamResponse:
    try:
        async with asyncio.timeout_at(ends):
            body = await answer.read()
    except TimeoutError:
        raise _model_error(serving, instance, 0, _TIMED_OUT) from None
    except aiohttp.ClientError as error:
        raise _model_error(
            serving, instance, 500, "The container closed the connection within its answer."
        ) from error
    headers = {
        "Content-Type": answer.headers.get("Content-Type", "application/octet-stream"),
        "x-Amzn-Invoked-Production-Variant": instance.variant.name,
    }
    return web.Response(body=body, headers=headers)


async def _stream(
    request: web.Request,
    answer: aiohttp.ClientResponse,
    instance: Instance,
    ends: float,
    strike: Strike | None,
) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": "application/vnd.amazon.eventstream",
            "X-Amzn-SageMaker-Content-Type": answer.headers.get(
                "Content-Type", "application/octet-stream"
            ),
            "x-Amzn-Invoked-Production-Variant": instance.variant.name,
        }
    )
    response.enable_chunked_encoding()
    await response.prepare(request)
    cutter = cutting(strike) or Cutter(random.getrandbits(64))
    try:
        async with asyncio.timeout_at(ends):
            async for data in container.spoil(strike, answer.content.iter_any(), instance.kill):
                await response.write(
                    b"".join(eventstream.payload_part(piece) for piece in cutter.cut(data))
                )
        if rest := cutter.rest():
            await response.write(eventstream.payload_part(rest))
    except TimeoutError:
        message = (
            "Your model primary did not complete sending the inference response in the allotted "
            "time."
        )
        await response.write(_broken("ModelInvocationTimeExceeded", message))
    except (
        aiohttp.ClientPayloadError,
        aiohttp.ServerDisconnectedError,
        aiohttp.ClientOSError,
    ) as error:
        log.warning("the container's stream broke: %r", error)
        await response.write(
            _broken("StreamBroken", "The connection to the model container was closed or reset.")
        )
    await response.write_eof()
    return response


async def _read_out(
    answer: aiohttp.ClientResponse,
    open_answer: contextlib.AsyncExitStack,
    instance: Instance,
    ends: float,
) -> None:
    """Read a response to its end and drop it.

    So the container does not notice that its caller has left.
    """
    instance.outstanding += 1
    try:
        async with open_answer, asyncio.timeout_at(ends):
            async for _ in answer.content.iter_any():
                pass
    except (aiohttp.ClientError, TimeoutError) as error:
        log.info("an answer without a reader ended: %r", error)
    finally:
        instance.outstanding -= 1


def _cut(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return response


def _broken(code: str, message: str) -> bytes:
    return eventstream.exception("ModelStreamError", message, ErrorCode=code)


def _model_error(serving: Serving, instance: Instance, status: int, original: str) -> ApiError:
    endpoint = serving.endpoint
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    kind = "client" if 400 <= status < 500 else "server"
    return ApiError(
        424,
        "ModelError",
        f'Received {kind} error ({status}) from primary with message "{original}". '
        f"See logs/{instance.log.name} of the local cloud for more information.",
        OriginalStatusCode=status,
        OriginalMessage=original,
        LogStreamArn=f"arn:aws:logs:{endpoint.region}:{endpoint.account}:log-group:{group}",
    )
