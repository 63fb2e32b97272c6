"""Invokes the functions of custom resources, as CloudFormation does.

An event has the presigned address of the object that the function's answer becomes.
"""

import json
import logging
from collections.abc import Callable
from typing import Any

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local.cloud import REGION
from local.lambda_.aliases import Target
from local.lambda_.response import FunctionError
from local.trust import Keys

log = logging.getLogger("local.lambda_")

_VALID_S = 7200


class CustomResources:
    """The requests of stacks to functions that make resources."""

    def __init__(
        self,
        target: Callable[[str], Target],
        invoke: Callable[[str, bytes], None],
        *,
        endpoint_url: str,
        keys: Keys,
    ) -> None:
        """Take `target`, which finds a function by its ARN, and `invoke`, which queues events.

        `endpoint_url` is the address of S3 for functions. `keys` sign the addresses of answers.
        """
        self._target = target
        self._invoke = invoke
        self._endpoint_url = endpoint_url
        self._credentials = Credentials(keys.access_key, keys.secret_key)
        self._asked: set[str] = set()

    def apply(self, requests: tuple[dict[str, Any], ...]) -> None:
        """Invoke the functions of requests that are new."""
        new = [it for it in requests if it["id"] not in self._asked]
        self._asked = {it["id"] for it in requests}
        for request in new:
            event = {**request["event"], "ResponseURL": self._address(request)}
            try:
                self._target(request["arn"])  # raises if there is none
                self._invoke(request["arn"], json.dumps(event).encode())
            except FunctionError as error:
                log.warning("custom resource %s: %s", event["LogicalResourceId"], error)

    def _address(self, request: dict[str, Any]) -> str:
        put = AWSRequest("PUT", f"{self._endpoint_url}/{request['bucket']}/{request['key']}")
        S3SigV4QueryAuth(self._credentials, "s3", REGION, expires=_VALID_S).add_auth(put)
        return str(put.url)
