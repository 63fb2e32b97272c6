"""An AWS service that is called by signed requests, each answered by one whole body.

DynamoDB's calls (`dynamodb.py`) are made on the way of each request and have code of their own.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.http.client import Client


class Reply(NamedTuple):
    """What a service answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def error_type(self) -> str:
        """The name of the error, for services that send it in a header. Empty without one."""
        return self.headers.get("x-amzn-errortype", "").partition(":")[0]


class Service:
    """One service in one region."""

    def __init__(
        self,
        client: Client,
        *,
        name: str,
        url: str,
        region: str,
        credentials: Callable[[], Credentials],
        max_response: int = 100_000,
    ) -> None:
        """Set how to reach it.

        Args:
            client: The HTTP client.
            name: The service's name in signatures.
            url: Its address, without a path.
            region: The region of signatures.
            credentials: Called for each call.
            max_response: The maximum size of a response in bytes.

        """
        self._client = client
        self._name = name
        self._url = url
        self._host = url.partition("://")[2]
        self._region = region
        self._credentials = credentials
        self._max_response = max_response

    async def post(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        path: str = "/",
        signed_path: str = "",
        seconds: float | None = None,
    ) -> Reply:
        """Make one call, and return its response. It is not repeated.

        Args:
            headers: Those beside the ones that a signature adds.
            body: The whole body.
            path: The path as it is sent.
            signed_path: The path in the signature, if its escaping differs.
            seconds: The time for the call; by default `limits.META_TIMEOUT`.

        Raises:
            TransportError: there was no response.

        """
        signed = sign(
            credentials=self._credentials(),
            region=self._region,
            service=self._name,
            host=self._host,
            path=signed_path or path,
            headers=headers,
            body=body,
        )
        timeout = limits.META_TIMEOUT if seconds is None else seconds
        response = await self._client.request(
            "POST", self._url, path, signed, body, seconds=timeout
        )
        try:
            content = await response.read_all(self._max_response)
        finally:
            response.close()
        return Reply(response.status, response.headers, content)
