"""Amazon SNS's `Publish`, which sends a message to a topic.

Source: the API reference of SNS: a query with a form as its body, and XML as its answer.
"""

import asyncio
import random
import re
from collections.abc import Callable
from urllib.parse import urlencode

from lambda_fn import limits
from lambda_fn.aws.service import Service
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

_HEADERS = {"content-type": "application/x-www-form-urlencoded"}
_MAX_SUBJECT = 100
_SECONDS = 10.0
_CODE = re.compile(rb"<Code>([A-Za-z.]{1,60})</Code>")


class NotPublished(Exception):
    """A message was not sent, as far as is known. The text says why, without the message."""


class Topic:
    """A topic."""

    def __init__(
        self,
        client: Client,
        *,
        arn: str,
        url: str,
        credentials: Callable[[], Credentials],
    ) -> None:
        """Set how to reach SNS; `credentials` is called for each call."""
        self._arn = arn
        region = arn.split(":")[3]
        self._sns = Service(client, name="sns", url=url, region=region, credentials=credentials)

    async def publish(self, subject: str, message: str) -> None:
        """Send a message. A call that failed without an answer is repeated, so it may come twice.

        Args:
            subject: ASCII without line breaks; SNS takes 100 characters, and the rest is cut off.
            message: The text.

        Raises:
            NotPublished: SNS rejected it, or does not answer.

        """
        form = {
            "Action": "Publish",
            "Version": "2010-03-31",
            "TopicArn": self._arn,
            "Subject": subject[:_MAX_SUBJECT],
            "Message": message,
        }
        body = urlencode(form).encode()
        reason = ""
        for attempt in range(limits.META_MAX_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, limits.META_BACKOFF * 2**attempt))  # noqa: S311 (spreads load, hides nothing)
            try:
                reply = await self._sns.post(_HEADERS, body, seconds=_SECONDS)
            except TransportError as error:
                reason = type(error).__name__
                continue
            if reply.status == 200:
                return
            code = _CODE.search(reply.content)
            reason = f"status {reply.status} {code[1].decode() if code else ''}".rstrip()
            if reply.status < 500 and reply.status != 429:
                break
        raise NotPublished(reason)
