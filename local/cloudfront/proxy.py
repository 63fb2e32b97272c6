"""Passes the requests of one distribution to their origins, and streams the responses back.

CloudFront's own errors are short HTML pages. If an origin falls silent after the response has
begun, the viewer's connection is cut.
"""

import base64
import logging
import os
from collections.abc import Callable, Collection, Mapping
from ipaddress import ip_address
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

from local import trust
from local.cloudfront import admission, s3
from local.cloudfront.answers import POP, ErrorPage, apply_policy
from local.cloudfront.behaviours import Behaviour, Origin, choose, target, to_origin, via
from local.cloudfront.compression import compressor, is_compressible
from local.limits import Limits
from local.listeners import late, target_of

log = logging.getLogger("local.cloudfront")

# These headers belong to one connection, or are the edge's own.
_NOT_BACK = {
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-amz-cf-id",
}
_FAILURES = {
    400: "Bad request. We can't connect to the server for this app or website at this time.",
    408: "Request Timeout: the request's body did not come in time.",
    413: "Request Entity Too Large: the URL or the header fields are too long.",
    502: "The local cloud could not handle the request; its log is logs/cloud.log.",
}
# CloudFront's default connection timeout, in seconds.
_CONNECT_S = 10.0


class Proxy:
    """Serves one distribution.

    `behaviours`, `error_pages` (by status) and `root` (the default object) may be replaced at any
    time.
    """

    def __init__(
        self,
        distribution: str,
        session: aiohttp.ClientSession,
        function_port: Callable[[], int],
        s3_url: Callable[[], str],
        limits: Limits,
        *,
        hop: str,
        s3_headers: Mapping[str, str],
        names: Collection[str],
    ) -> None:
        """`distribution` is the id.

        Function URLs are at `function_port` of loopback, buckets at `s3_url`. `hop` is the secret
        by which function URLs know the edge. `s3_headers` are the headers that S3 requires. `names`
        are host names in addition to those of loopback.
        """
        self._names = names
        self._hop = hop
        self._s3_headers = s3_headers
        self._limits = limits
        self._distribution = distribution
        self._session = session
        self._function_port = function_port
        self._s3_url = s3_url
        self.behaviours: list[Behaviour] = []
        self.error_pages: dict[int, ErrorPage] = {}
        self.root = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of a viewer."""
        request_id = _new_id()
        if not (
            trust.is_for_own_host(request)
            or trust.is_called(request.headers.get("Host", ""), self._names)
        ):
            return self._error(
                403, "Bad request: no distribution has the name of its Host header.", request_id
            )
        if not self.behaviours:
            return self._error(503, "The distribution is not deployed.", request_id)
        if refusal := admission.refuse(request):
            response = self._error(*refusal, request_id)
            response.force_close()
            return response
        path, query = target_of(request)
        path = f"/{self.root}" if path == "/" and self.root else path
        behaviour = choose(self.behaviours, path)
        if request.method not in behaviour.methods:
            message = (
                "This distribution is not configured to allow the HTTP request method that "
                "was used for this request. "
                "The distribution supports only cachable requests."
            )
            return self._error(403, message, request_id)
        base = self._address(behaviour.origin)
        if base is None:
            return self._error(
                502,
                f"The local cloud cannot reach the origin {behaviour.origin.domain}.",
                request_id,
            )
        raw_path = f"{path}?{query}" if query else path
        if await self._is_denied(behaviour.origin, request.method, path):
            return await self._page(403, request_id) or self._denied(request_id)
        return await self._forward(request, behaviour, base, raw_path, request_id)

    def failed(self, status: int) -> web.Response:
        """Return CloudFront's response for a request that could not be read or handled."""
        return self._error(status, _FAILURES[status], _new_id())

    def _address(self, origin: Origin) -> str | None:
        """Return the address here of an origin, or None if the local cloud cannot reach it.

        An origin is a function URL, a bucket, or a server on loopback over HTTP.
        """
        if s3.bucket_of(origin) is not None:
            return self._s3_url()  # the bucket is in the Host header
        if _is_function_url(origin):
            return f"http://127.0.0.1:{self._function_port()}"
        if origin.port is not None and _is_loopback(origin.domain):
            return f"http://{origin.domain}:{origin.port}"
        return None

    async def _forward(
        self, request: web.Request, behaviour: Behaviour, base: str, raw_path: str, request_id: str
    ) -> web.StreamResponse:
        headers = to_origin(
            behaviour,
            list(request.headers.items()),
            request.remote or "",
            request_id,
            self._distribution,
        )
        if behaviour.origin.kind == "s3":  # the distribution signs the request itself
            headers = [(name, value) for name, value in headers if name.lower() != "authorization"]
            headers.extend(self._s3_headers.items())
        if _is_function_url(behaviour.origin):
            headers = [(name, value) for name, value in headers if name.lower() != trust.HOP]
            headers.append((trust.HOP, self._hop))
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=_CONNECT_S,
            sock_read=self._limits.real(behaviour.origin.timeout),
        )
        response: web.StreamResponse | None = None
        try:
            async with self._session.request(
                request.method,
                URL(base + target(behaviour, raw_path), encoded=True),
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
                timeout=timeout,
            ) as upstream:
                if admission.too_long(upstream):
                    page = await self._page(502, request_id)
                    return page or self._error(
                        502, "The origin's response headers are too long.", request_id
                    )
                if (page := await self._page(upstream.status, request_id)) is not None:
                    return page
                response = self._begin(upstream, behaviour, request_id, request.headers)
                deflate = None
                if behaviour.compresses and is_compressible(
                    upstream.status, upstream.headers, request.headers
                ):
                    deflate = compressor(response.headers)
                await response.prepare(request)
                if request.method != "HEAD":
                    async for chunk in upstream.content.iter_any():
                        if part := chunk if deflate is None else deflate.compress(chunk):
                            await response.write(part)
                    if deflate is not None:
                        await response.write(deflate.flush())
                await response.write_eof()
                return response
        except (TimeoutError, aiohttp.ClientError) as error:
            if response is None or not response.prepared:
                if late(request):
                    refused = self._error(408, _FAILURES[408], request_id)
                    refused.force_close()
                    return refused
                status = 504 if isinstance(error, TimeoutError) else 502
                log.warning("%s %s: %d: %r", request.method, request.path, status, error)
                page = await self._page(status, request_id)
                return page or self._error(
                    status,
                    "The origin did not answer in time or closed the connection.",
                    request_id,
                )
            log.warning(
                "%s %s: cut after the answer had begun: %r", request.method, request.path, error
            )
            if request.transport is not None:
                request.transport.abort()
            return response

    async def _is_denied(self, origin: Origin, method: str, path: str) -> bool:
        """Return whether S3 answers 403 to the distribution's request for an object.

        It does so for a method that does not read, for an object that the bucket's policy does not
        allow, and for a missing object if the policy does not allow to list the bucket.
        """
        bucket = s3.bucket_of(origin)
        if bucket is None:
            return False
        policy = await s3.policy_of(self._session, self._s3_url(), self._s3_headers, bucket)

        def allowed(action: str, resource: str) -> bool:
            return s3.allows(
                policy, action, resource, distribution=self._distribution, signed=origin.signed
            )

        arn = f"arn:aws:s3:::{bucket}"
        key = unquote(origin.path + path)
        if method not in s3.READING or not allowed("s3:GetObject", arn + key):
            return True
        if allowed("s3:ListBucket", arn):
            return False
        address = URL(f"{self._s3_url()}/{bucket}{origin.path}{path}", encoded=True)
        async with self._session.head(address, headers=self._s3_headers) as response:
            return response.status == 404

    async def _page(self, status: int, request_id: str) -> web.Response | None:
        """Return the error page for a status, or None if there is none or it cannot be fetched."""
        if (page := self.error_pages.get(status)) is None:
            return None
        behaviour = choose(self.behaviours, page.path)
        base = self._address(behaviour.origin)
        if base is None or await self._is_denied(behaviour.origin, "GET", page.path):
            return None
        timeout = aiohttp.ClientTimeout(total=self._limits.real(behaviour.origin.timeout))
        headers = to_origin(behaviour, [], "", request_id, self._distribution)
        headers += self._s3_headers.items() if behaviour.origin.kind == "s3" else ()
        address = URL(base + behaviour.origin.path + page.path, encoded=True)
        try:
            async with self._session.get(address, headers=headers, timeout=timeout) as upstream:
                if upstream.status != 200:
                    return None
                response = web.Response(status=page.status, body=await upstream.read())
                response.headers["Content-Type"] = upstream.headers.get(
                    "Content-Type", "application/octet-stream"
                )
        except (TimeoutError, aiohttp.ClientError):
            return None
        apply_policy(behaviour.answers, response.headers)
        self._mark(response, request_id, "Error from cloudfront")
        return response

    def _denied(self, request_id: str) -> web.Response:
        """Return S3's response to a caller that may not read an object."""
        response = web.Response(status=403, text=s3.DENIED, content_type="application/xml")
        response.headers["Server"] = "AmazonS3"
        self._mark(response, request_id, "Error from cloudfront")
        return response

    def _begin(
        self,
        upstream: aiohttp.ClientResponse,
        behaviour: Behaviour,
        request_id: str,
        viewer: Mapping[str, str],
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        response.headers.extend(
            (name, value)
            for name, value in upstream.headers.items()
            if name.lower() not in _NOT_BACK
        )
        apply_policy(behaviour.answers, response.headers, viewer)
        self._mark(
            response,
            request_id,
            "Miss from cloudfront" if upstream.status < 400 else "Error from cloudfront",
        )
        return response

    def _error(self, status: int, message: str, request_id: str) -> web.Response:
        page = (
            "<!DOCTYPE HTML><HTML><HEAD><TITLE>ERROR: The request could not be "
            "satisfied</TITLE></HEAD><BODY>"
            f"<H1>{status} ERROR</H1><H2>The request could not be satisfied.</H2><P>{message}</P>"
            "<PRE>Generated by cloudfront (CloudFront)\nRequest ID: "
            f"{request_id}</PRE></BODY></HTML>\n"
        )
        response = web.Response(status=status, text=page, content_type="text/html")
        response.headers["Server"] = "CloudFront"
        self._mark(response, request_id, "Error from cloudfront")
        return response

    def _mark(self, response: web.StreamResponse, request_id: str, cache: str) -> None:
        response.headers["X-Cache"] = cache
        response.headers["Via"] = via(self._distribution)
        response.headers["X-Amz-Cf-Pop"] = POP
        response.headers["X-Amz-Cf-Id"] = request_id


def _new_id() -> str:
    return base64.urlsafe_b64encode(os.urandom(42)).decode()


def _is_function_url(origin: Origin) -> bool:
    return ".lambda-url." in origin.domain and origin.domain.endswith(".on.aws")


def _is_loopback(domain: str) -> bool:
    if domain == "localhost":
        return True
    try:
        return ip_address(domain).is_loopback
    except ValueError:
        return False
