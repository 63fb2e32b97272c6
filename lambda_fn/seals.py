"""Seals texts that a client keeps and sends back: only the key that got one can have it opened.

The text is encrypted, and then authenticated (encrypt-then-MAC). The key stream is SHAKE-256 over a
key and a random number; the MAC is HMAC-SHA256. Both keys are derived from a secret of the
deployment and the id of the caller's key. All of it is in Python's standard library: a package with
AES would be larger than the rest of the function's.

    base64url( version | nonce | ciphertext | MAC )

Nothing is compressed, so a sealed text is longer than what it opens to.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence

_VERSION = b"\x01"
_NONCE = 16
_MAC = 32
_HEAD = len(_VERSION) + _NONCE


class Forged(ValueError):
    """A sealed text was changed, or was sealed for another key or in another deployment."""


class Seals:
    """Seals and opens the texts of one key."""

    def __init__(self, secrets: Sequence[str], key_id: str) -> None:
        """Take the deployment's secrets, of which the first one seals and each one opens."""
        self._keys = [
            tuple(
                hmac.digest(secret.encode(), f"{use} of {key_id}".encode(), "sha256")
                for use in ("sealed texts", "marks of sealed texts")
            )
            for secret in secrets
        ]

    def seal(self, text: str) -> str:
        """Return a text sealed. The same text is sealed differently each time."""
        stream_key, mac_key = self._keys[0]
        nonce = os.urandom(_NONCE)
        sealed = _VERSION + nonce + _crypted(stream_key, nonce, text.encode("utf-8", "replace"))
        mac = hmac.digest(mac_key, sealed, "sha256")
        return _text(sealed + mac)

    def open(self, sealed: str) -> str:
        """Return the text that was sealed. Raises Forged."""
        try:
            raw = base64.b64decode(
                sealed.encode("ascii") + b"=" * (-len(sealed) % 4), altchars=b"-_", validate=True
            )
        except ValueError:  # no base64, or no ASCII
            raise Forged from None
        if _text(raw) != sealed:
            raise Forged  # there is one way to write each sealed text
        body, mac = raw[:-_MAC], raw[-_MAC:]
        for stream_key, mac_key in self._keys:
            if hmac.compare_digest(mac, hmac.digest(mac_key, body, "sha256")):
                nonce = body[len(_VERSION) : _HEAD]
                return _crypted(stream_key, nonce, body[_HEAD:]).decode()
        raise Forged


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _crypted(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Return data combined with its key stream: this encrypts, and decrypts again."""
    stream = hashlib.shake_256(key + nonce).digest(len(data))
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(len(data), "big")
