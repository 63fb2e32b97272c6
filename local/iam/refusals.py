"""Refusals: error responses in the shape of each protocol, with AWS's messages.

Their codes are those of each API's common errors.
"""

import json
import uuid
from enum import Enum
from xml.sax.saxutils import escape

from aiohttp import web


class Kind(Enum):
    """The reason of a refusal.

    Each has its error code in JSON protocols, in query responses and in S3's responses, and its
    message.
    """

    DENIED = ("AccessDeniedException", "AccessDenied", "AccessDenied", "")
    UNSIGNED = (
        "MissingAuthenticationTokenException",
        "MissingAuthenticationToken",
        "AccessDenied",
        "Request is missing Authentication Token",
    )
    UNKNOWN_KEY = (
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "The security token included in the request is invalid.",
    )
    WRONG_TOKEN = (
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidToken",
        "The security token included in the request is invalid.",
    )
    EXPIRED_TOKEN = (
        "ExpiredTokenException",
        "ExpiredToken",
        "ExpiredToken",
        "The security token included in the request is expired",
    )
    WRONG_SERVICE = (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "SignatureDoesNotMatch",
        "Credential should be scoped to correct service.",
    )
    INCOMPLETE = (
        "IncompleteSignatureException",
        "IncompleteSignature",
        "AuthorizationHeaderMalformed",
        "",
    )
    MISMATCH = (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "SignatureDoesNotMatch",
        (
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        ),
    )
    EXPIRED = (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    )
    EXPIRED_ADDRESS = (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "AccessDenied",
        "Request has expired",
    )
    OTHER_BODY = (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
    TOO_LARGE = (
        "RequestEntityTooLarge",
        "RequestEntityTooLarge",
        "EntityTooLarge",
        "The request is too large.",
    )
    MALFORMED = (
        "SerializationException",
        "MalformedInput",
        "MalformedXML",
        "The request could not be read.",
    )


def refuse(request: web.Request, service: str, kind: Kind, message: str = "") -> web.Response:
    """Return the refusal in the protocol of the request: JSON, REST-JSON, S3's XML, or query."""
    rest, query, s3, usual = kind.value
    text = message or usual
    request_id = str(uuid.uuid4())
    headers = {"x-amzn-RequestId": request_id}
    if "X-Amz-Target" in request.headers:
        version = request.content_type.removeprefix("application/x-amz-json-")
        # JSON 1.0 names the whole shape.
        name = f"com.amazon.coral.service#{rest}" if version == "1.0" else rest
        body = json.dumps({"__type": name, "Message": text, "message": text})
        return web.Response(
            status=400, text=body, content_type=request.content_type, headers=headers
        )
    if service in {
        "bedrock",
        "execute-api",
        "sagemaker",
        "lambda",
        "xray",
    } or request.path.startswith("/endpoints/"):
        headers["x-amzn-ErrorType"] = rest
        body = json.dumps({"Message": text, "message": text})
        return web.Response(status=403, text=body, content_type="application/json", headers=headers)
    if service == "s3" or not (
        request.content_type.endswith("form-urlencoded") or "Action" in request.query
    ):
        headers = {"x-amz-request-id": request_id}
        body = (
            '<?xml version="1.0" '
            f'encoding="UTF-8"?>\n<Error><Code>{s3}</Code><Message>{escape(text)}</Message>'
            f"<RequestId>{request_id}</RequestId><HostId>local</HostId></Error>"
        )
        return web.Response(status=403, text=body, content_type="application/xml", headers=headers)
    body = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{query}</Code><Message>{escape(text)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return web.Response(status=403, text=body, content_type="text/xml", headers=headers)
