"""Stage 2: may it. The key is checked and the reservation taken in one conditional write, beside it the ledger item
is opened; both are awaited before anything is spent.
"""

import asyncio
import time

from lambda_fn import accounts, ledger
from lambda_fn.authenticate import Caller, wrong_key
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.errors import APIError, PermissionDenied, Unavailable

_KEEP_GUESSES = 86_400.0  # seconds that the ledger keeps requests with keys that nobody has


async def admit(table: Table, caller: Caller, *, request_id: str, model: str, reserved: int) -> None:
    """Open a request.

    Raises:
        AuthenticationFailed: nobody has the key.
        PermissionDenied: the key is disabled or expired.
        Unavailable: DynamoDB does not answer; whatever was written is the sweeper's to settle.

    """
    reservation, opening = await asyncio.gather(
        accounts.reserve(table, caller.key_hash, request_id=request_id, tokens=reserved, now=int(time.time())),
        ledger.open_request(table, request_id, key_hash=caller.key_hash, model=model, reserved=reserved),
        return_exceptions=True,
    )
    if opening is None and isinstance(reservation, accounts.KeyUnknown | accounts.KeyRefused):
        unknown = isinstance(reservation, accounts.KeyUnknown)
        await _close_refused(table, request_id, keep=_KEEP_GUESSES if unknown else None)
    for result in (reservation, opening):
        if result is not None:
            raise _public(result)


async def check_key(table: Table, caller: Caller) -> None:
    """Authenticate a call that spends nothing. Raises as `admit`."""
    try:
        await accounts.touch(table, caller.key_hash, now=int(time.time()))
    except (accounts.KeyUnknown, accounts.KeyRefused, MeterUnavailable) as error:
        raise _public(error) from None


async def _close_refused(table: Table, request_id: str, *, keep: float | None) -> None:
    nothing = ledger.Settlement(
        outcome="refused", prompt_tokens=0, completion_tokens=0, finish_reason=None, ttft_ms=None, duration_ms=0
    )
    try:
        await ledger.settle_request(table, request_id, nothing, now=time.time(), keep=keep)
    except MeterUnavailable:
        return  # stays OPEN, and the sweeper settles it


def _public(error: BaseException) -> APIError | BaseException:
    match error:
        case accounts.KeyUnknown():
            return wrong_key()
        case accounts.KeyRefused():
            return PermissionDenied(f"This API key is {error.reason}.", code=f"key_{error.reason}")
        case MeterUnavailable():
            return Unavailable(
                "The usage meter does not answer. Nothing was generated or billed; try again.", retry_after=1
            )
        case _:
            return error
