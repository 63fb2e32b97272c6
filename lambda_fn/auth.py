"""Stage 1: who calls. The origin secret first, then the key. Neither is ever logged."""

import hmac
from collections.abc import Mapping, Sequence

import msgspec

from lambda_fn import limits
from lambda_fn.errors import AuthenticationFailed, PermissionDenied
from lambda_fn.ids import hash_key, key_id_of
from lambda_fn.networks import viewer

ORIGIN_HEADER = "x-sluice-origin-secret"


class Caller(msgspec.Struct, frozen=True):
    """Who presents a key. Whether the key is good, `admit` finds out in the same write that takes the reservation."""

    key_id: str
    key_hash: str
    address: str = ""
    """Where the request came from; empty when that is not known."""


def check_origin(headers: Mapping[str, str], secrets: Sequence[str]) -> None:
    """Let through only what came by the distribution, which adds a secret header.

    Raises:
        PermissionDenied: the header is missing or wrong.

    """
    given = headers.get(ORIGIN_HEADER, "").encode("latin-1")
    # every secret is compared, so that the time does not tell which one matched
    if not any([hmac.compare_digest(given, secret.encode()) for secret in secrets]):  # noqa: C419 (see above)
        raise PermissionDenied("This address takes requests only through its distribution.", code="origin_denied")


def read_key(headers: Mapping[str, str], client: tuple[str, int] | None = None) -> Caller:
    """Read the bearer key, and where it comes from; `client` is the connection's own address, as in an ASGI scope.

    Raises:
        AuthenticationFailed: there is none, or none that could be ours.

    """
    scheme, _, key = headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise AuthenticationFailed("No API key given. Send it as 'Authorization: Bearer sk-...'.")
    key_id = key_id_of(key) if len(key) <= limits.MAX_KEY else None
    if key_id is None:
        raise wrong_key()  # without asking DynamoDB: what has not the form of a key is none
    address = viewer(headers.get("x-forwarded-for", ""), client[0] if client else "")
    return Caller(key_id=key_id, key_hash=hash_key(key), address=address)


def wrong_key() -> AuthenticationFailed:
    """Give the one answer to every key that is not known."""
    return AuthenticationFailed("Incorrect API key given.")
