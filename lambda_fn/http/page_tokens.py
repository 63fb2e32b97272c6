"""Page tokens: where the next page of a list begins.

They are opaque, signed, and valid for one query only.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.errors import InvalidRequest

_MAC = 16
_MAX_TOKEN = 1024


class Pages:
    """Encodes and decodes page tokens with one secret."""

    def __init__(self, secret: bytes) -> None:
        """Take the secret. Tokens of another secret are rejected."""
        self._secret = secret

    def token(self, query: Mapping[str, Any], position: Any) -> str:
        """Return the token with which `query` continues after `position`, which is a JSON value."""
        data = msgspec.json.encode(position)
        return base64.urlsafe_b64encode(self._mac(query, data) + data).rstrip(b"=").decode()

    def position(self, query: Mapping[str, Any], token: str) -> Any:
        """Return the position in a token.

        Raises:
            InvalidRequest: the token is malformed or forged, or belongs to another query.

        """
        try:
            if len(token) > _MAX_TOKEN:
                raise ValueError
            raw = base64.b64decode(
                token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
            mac, data = raw[:_MAC], raw[_MAC:]
            if not hmac.compare_digest(mac, self._mac(query, data)):
                raise ValueError
            return msgspec.json.decode(data)
        except (ValueError, binascii.Error):
            message = (
                "This page token does not belong to this list. Send the token of the preceding "
                "page unchanged."
            )
            raise InvalidRequest(message, param="after", code="invalid_page_token") from None

    def _mac(self, query: Mapping[str, Any], data: bytes) -> bytes:
        canonical = msgspec.json.encode(dict(sorted(query.items())))
        return hmac.digest(self._secret, hashlib.sha256(canonical).digest() + data, "sha256")[:_MAC]
