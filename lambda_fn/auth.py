"""Stage 1: authentication.

Check the origin secret, then read the API key. Neither is ever logged.
"""

import hmac
from collections.abc import Mapping, Sequence

import msgspec

from lambda_fn import limits
from lambda_fn.errors import AuthenticationFailed, PermissionDenied
from lambda_fn.ids import hash_key, key_id_of
from lambda_fn.networks import viewer

ORIGIN_HEADER = "x-sluice-origin-secret"
KEY_HEADERS = ("x-api-key", "api-key")
"""Headers of a key beside `Authorization`: of Anthropic's clients, and of Azure's."""


class Caller(msgspec.Struct, frozen=True):
    """The caller that a request's key names. `read_key` does not verify the key; `Gate` does."""

    key_id: str
    key_hash: str
    address: str = ""
    """The address that the request came from. Empty if it is unknown."""


def check_origin(headers: Mapping[str, str], secrets: Sequence[str]) -> None:
    """Accept only requests that came through the distribution, which adds a secret header.

    Raises:
        PermissionDenied: the header is missing or wrong.

    """
    presented = headers.get(ORIGIN_HEADER, "").encode("latin-1")
    # Every secret is compared, so that the time taken does not reveal which one matched.
    if not any([hmac.compare_digest(presented, secret.encode()) for secret in secrets]):  # noqa: C419 (see above)
        raise PermissionDenied(
            "This address accepts requests only through its distribution.", code="origin_denied"
        )


def read_key(headers: Mapping[str, str], client: tuple[str, int] | None = None) -> Caller:
    """Return the caller: its key and its address. `client` is the peer in the ASGI scope.

    The key is the bearer token, or that of a header of `KEY_HEADERS`. Some clients send a key of
    another service beside it, so the first one that has the form of our keys counts.

    Raises:
        AuthenticationFailed: the key is missing, or does not have the form of a key.

    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    sent = [token if scheme.lower() == "bearer" else ""]
    sent += [headers.get(name, "") for name in KEY_HEADERS]
    keys = [key for text in sent if (key := text.strip())]
    if not keys:
        raise AuthenticationFailed(
            "The request has no API key. Send it as 'Authorization: Bearer sk-...' or as "
            "'x-api-key: sk-...'."
        )
    for key in keys:
        key_id = key_id_of(key) if len(key) <= limits.MAX_KEY else None
        if key_id is not None:
            address = viewer(headers.get("x-forwarded-for", ""), client[0] if client else "")
            return Caller(key_id=key_id, key_hash=hash_key(key), address=address)
    raise wrong_key()  # without a read of DynamoDB


def wrong_key() -> AuthenticationFailed:
    """Return the error for an unknown key. It is the same for every cause."""
    return AuthenticationFailed(
        "The API key is incorrect. Check that all of it is sent, and that it belongs to this "
        "deployment."
    )
