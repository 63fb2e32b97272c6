"""Page tokens: where a list goes on. They are opaque, bound to what was asked, and of nobody's making but ours."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.errors import InvalidRequest

_MAC = 16
_MOST = 1024


class Pages:
    """Makes and reads tokens with one secret."""

    def __init__(self, secret: bytes) -> None:
        """Take the secret; a token of another one is refused."""
        self._secret = secret

    def token(self, query: Mapping[str, Any], position: Any) -> str:
        """Give the token by which `query` goes on behind `position`, which is any JSON value."""
        data = msgspec.json.encode(position)
        return base64.urlsafe_b64encode(self._mac(query, data) + data).rstrip(b"=").decode()

    def position(self, query: Mapping[str, Any], token: str) -> Any:
        """Give the position of a token.

        Raises:
            InvalidRequest: it is not a token of ours, or one of another query.

        """
        try:
            if len(token) > _MOST:
                raise ValueError
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
            mac, data = raw[:_MAC], raw[_MAC:]
            if not hmac.compare_digest(mac, self._mac(query, data)):
                raise ValueError
            return msgspec.json.decode(data)
        except (ValueError, binascii.Error):
            message = "This page token is not of this list: give the one that came with the page before it, unchanged."
            raise InvalidRequest(message, param="after", code="invalid_page_token") from None

    def _mac(self, query: Mapping[str, Any], data: bytes) -> bytes:
        asked = msgspec.json.encode(dict(sorted(query.items())))
        return hmac.digest(self._secret, hashlib.sha256(asked).digest() + data, "sha256")[:_MAC]
