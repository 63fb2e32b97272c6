"""Stage 2: admission control.

One conditional write checks the key and takes the reservation. The ledger item is put beside it,
and both are awaited before anything is spent. A secret that this environment has not verified is
first compared by a read, so that a wrong secret or a key that does not exist writes nothing.

When DynamoDB does not answer, the request is rejected. A setting makes the meter fail open: then a
key that this environment has admitted recently is served all the same, and its usage is recorded at
the end.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from lambda_fn import limits
from lambda_fn.auth import Caller, wrong_key
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterError, MeterUnavailable, Table, Throttled
from lambda_fn.errors import NO_RETRY, APIError, InsufficientQuota, Unavailable
from lambda_fn.ids import request_time
from lambda_fn.log import log
from lambda_fn.metering import holds, hours, ledger
from lambda_fn.metering.accounts import NO_FILTERS, Account, Hold, KeyFilters
from lambda_fn.metering.holds import HoldRequest
from lambda_fn.metering.keys import SERVICE_KEY, account_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.rejections import (
    Contended,
    KeyUnknown,
    LimitReached,
    Rejection,
    key_rejection,
    rejection,
    running_repeat,
)
from lambda_fn.metering.windows import expired
from lambda_fn.networks import ANYWHERE, admits
from lambda_fn.stream.key_cache import KeyCache
from lambda_fn.stream.rate_limit_errors import (
    model_unreadable,
    no_model,
    public,
    rate_headers,
    wrong_network,
)

if TYPE_CHECKING:
    from lambda_fn.metering.budget_alerts import Noted


class Admission(msgspec.Struct, frozen=True):
    """A request that was admitted.

    `account` is the account with this request in flight, and `entry` is the request's hold there.
    Both are None if the request is served because the meter fails open. `opened` tells whether the
    ledger item was written. `stale` names the windows that the settlement can remove. `filters`
    are what the key adds to those of the deployment.
    """

    opening: Opening
    account: Account | None = None
    entry: Hold | None = None
    opened: bool = True
    headers: Mapping[str, str] = {}  # msgspec makes a new dict for each
    stale: tuple[str, ...] = ()
    filters: KeyFilters = NO_FILTERS


class Switch:
    """The operator's switch, as this environment last read it. The first request after
    `limits.CHECKPOINT` reads it again, beside its writes. While the service is stopped, each
    request reads it before it writes. So refused requests write nothing, and requests are served as
    soon as the service resumes.
    """

    def __init__(self, table: Table) -> None:
        """Take the usage table. Nothing is read yet."""
        self._table = table
        self._read_at = -limits.CHECKPOINT
        self.reason: str | None = None
        """The reason for which the service is stopped, or None."""
        self.exhausted: str | None = None
        """The month whose ceiling was reached, or None."""

    @property
    def is_due(self) -> bool:
        """Whether the item has to be read again."""
        return time.monotonic() - self._read_at >= limits.CHECKPOINT

    async def read(self) -> None:
        """Read the item. When DynamoDB does not answer, the last state stays."""
        self._read_at = time.monotonic()  # concurrent requests do not read it as well
        try:
            item = await self._table.get(SERVICE_KEY, consistent=False)
        except MeterUnavailable:
            return
        except asyncio.CancelledError:
            self._read_at -= limits.CHECKPOINT
            raise
        self.reason = str(item["reason"]) if item is not None and "stopped" in item else None
        self.exhausted = None if item is None else item.get("exhausted")

    @property
    def is_closed(self) -> bool:
        """Whether requests are refused, as far as this environment knows."""
        return self.reason is not None or (
            self.exhausted is not None and self.exhausted == hours.hour_at(time.time())[:7]
        )

    def check(self) -> None:
        """Raise the error of each request, if there is a reason to refuse requests.

        Raises:
            Unavailable: an operator has stopped the service.
            InsufficientQuota: the deployment has spent what its month may cost.

        """
        if self.reason is not None:
            raise Unavailable(
                f"The operator has stopped this service: {self.reason} Nothing was generated or "
                "billed. Try again later.",
                code="service_stopped",
                retry_after=60,
            )
        if self.is_closed:
            raise InsufficientQuota(
                f"This service has spent its budget for {self.exhausted}. Nothing was generated or "
                "billed. It serves again next month (UTC), or within 5 minutes after its operator has "
                "raised monthly_ceiling.",
                code="monthly_ceiling_reached",
                headers=NO_RETRY,
            )


class Gate:
    """Authenticates and admits requests."""

    def __init__(self, table: Table, *, meter_open: bool = False) -> None:
        """Take the usage table. With `meter_open` the meter fails open."""
        self._table = table
        self._fail_open = meter_open
        self._keys = KeyCache()
        self._switch = Switch(table)
        self._alerts: Noted | None = None

    async def authenticate(self, caller: Caller) -> None:
        """Check a key before the body of its request is read.

        It costs one read, unless this environment has verified the secret before and the key's
        networks contain the caller's address. So the size of a body makes no difference if its
        caller has no valid key. For a secret that was verified before, `admit` compares it again in
        the write that places the hold.

        Raises:
            AuthenticationFailed, PermissionDenied, Unavailable: as `check_key`.

        """
        if not self._keys.is_verified(caller) or not self._keys.admits(caller):
            await self.check_key(caller)

    async def filters(self, caller: Caller) -> KeyFilters:
        """Return the key's filters as they are now, by one read.

        While DynamoDB does not answer, they are what they were when its last request was admitted
        here. Raises AuthenticationFailed and PermissionDenied as `check_key`.
        """
        try:
            return (await self.check_key(caller)).filters
        except Unavailable:
            return self._keys.filters(caller)

    async def check_key(self, caller: Caller) -> Account:
        """Authenticate a call that spends nothing, and return the account.

        It makes one read. It uses none of the writes per second that the key's item can take.

        Raises:
            AuthenticationFailed: the key does not exist, or its secret is wrong.
            PermissionDenied: the key is disabled, expired or replaced, or may not be used from the
                caller's address.
            Unavailable: DynamoDB does not answer.

        """
        return Account.of(await self._read(caller))

    async def _read(self, caller: Caller) -> Item:
        """Return the item of a key that may be used. Raises as `check_key`."""
        now = int(time.time())
        try:
            item = await self._table.get(account_key(caller.key_id))
        except MeterUnavailable:
            raise _unavailable() from None
        wrong = key_rejection(item, caller.key_hash, now=now)
        if item is None or wrong is not None:
            self._keys.forget(caller)
            raise public(wrong or KeyUnknown(), model="", when=now, now=now)
        self._keys.authenticated(caller)
        networks = item.get("networks", ANYWHERE)
        self._keys.set_networks(caller, networks)
        if not admits(networks, caller.address):
            raise wrong_network()
        return item

    async def foresee(self, caller: Caller, opening: Opening) -> Account:
        """Check a request that is admitted later as if it were admitted now, by one read.

        It reserves nothing. Return the account. Raises as `admit`, but for RequestRunning.
        """
        if self._switch.is_closed or self._switch.is_due:
            await self._switch.read()
            self._switch.check()
        item = await self._read(caller)
        asked = HoldRequest(
            opening.request_id,
            opening.reserved,
            opening.reserved_cost,
            opening.model,
            "",
            opening.overdue,
            opening.priced,
            item.get("networks", ANYWHERE),
        )
        wrong = rejection(item, caller.key_hash, asked, now=int(time.time()))
        if wrong is not None:
            await self._alert(wrong)
            raise self._public(wrong, opening)
        return Account.of(item)

    async def caller_of(self, key_id: str, address: str) -> Caller:
        """Return the caller of a request that the key made before, from an address.

        The key may have been given another secret since. Whether it may still be used is checked
        by the admission.

        Raises:
            AuthenticationFailed: the key does not exist any more.
            Unavailable: DynamoDB does not answer.

        """
        try:
            item = await self._table.get(account_key(key_id))
        except MeterUnavailable:
            raise _unavailable() from None
        if item is None:
            raise wrong_key()
        return Caller(key_id, item["secret_hash"] or "", address)

    async def no_model(self, caller: Caller, name: str, unreadable: Mapping[str, str]) -> APIError:
        """Return the error for a model that is not served.

        `unreadable` has the models whose settings cannot be read, with the reasons. Only a key that
        may use such a model learns of it. Raises as `check_key`.
        """
        reason = unreadable.get(name)
        if reason is None or not (await self.check_key(caller)).may_use(name):
            return no_model(name)
        return model_unreadable(name, reason)

    async def admit(
        self, caller: Caller, opening: Opening, *, fingerprint: str = "", repeat: bool = False
    ) -> Admission:
        """Admit a request.

        A `repeat` is rejected while another request with the same fingerprint is in flight.

        Raises:
            RequestRunning: the request that is repeated is still running.
            AuthenticationFailed, PermissionDenied, Unavailable: as `check_key`.
            NotFound: the key may not use the model.
            PermissionDenied: also if the key has a budget of cost, and the model has no price.
            Unavailable: also while an operator has stopped the service.
            InsufficientQuota: also when the deployment has spent its month's ceiling.
            RateLimited, InsufficientQuota: a limit of the key does not allow the request.

        """
        await self.authenticate(caller)
        if self._switch.is_closed:
            await self._switch.read()
            self._switch.check()
        reading = asyncio.ensure_future(self._switch.read()) if self._switch.is_due else None
        # This task begins at the next await, so the write that places the hold is sent first.
        in_ledger = asyncio.ensure_future(self._open_ledger(opening))
        try:
            account = await self._reserve(caller, opening, fingerprint, repeat=repeat)
            opened = await in_ledger
            if reading is not None:
                await reading
        except BaseException:
            in_ledger.cancel()
            if reading is not None:
                reading.cancel()
            raise
        if isinstance(account, Account):
            self._keys.admitted(caller, account.filters)
            entry = account.in_flight[opening.request_id]
            if self._switch.is_closed:
                await self._undo(opening, entry)
                if opened:
                    await self._close_refused(opening)
                self._switch.check()
            if (
                repeat
                and (same := running_repeat(account, opening.request_id, fingerprint)) is not None
            ):
                await self._undo(opening, entry)
                if opened:
                    await self._close_refused(opening)
                raise self._public(same, opening)
            if opened or self._fail_open:
                now = time.time()
                return Admission(
                    opening,
                    account,
                    entry,
                    opened,
                    headers=rate_headers(account, when=request_time(opening.request_id), now=now),
                    stale=tuple(expired(account.balance, now)),
                    filters=account.filters,
                )
            await self._undo(opening, entry)
            raise _unavailable()
        if account is None:
            if self._fail_open and self._keys.is_recent(caller):
                log("admitted_open", request_id=opening.request_id, key=opening.key_id)
                return Admission(opening, opened=opened, filters=self._keys.filters(caller))
            raise _unavailable()
        if opened:
            await self._close_refused(opening)
        await self._alert(account)
        raise self._public(account, opening)

    async def _reserve(
        self,
        caller: Caller,
        opening: Opening,
        fingerprint: str,
        *,
        repeat: bool,
        attempts_before: int = 0,
    ) -> Account | Rejection | None:
        """Place the hold.

        Returns:
            The account with the hold, the reason if it was rejected, or None if DynamoDB does not
            answer.

        """
        request_id, now = opening.request_id, int(time.time())
        reservation = HoldRequest(
            request_id,
            opening.reserved,
            opening.reserved_cost,
            opening.model,
            fingerprint,
            opening.overdue,
            opening.priced,
            self._keys.networks(caller),
        )
        try:
            update = holds.place(
                caller.key_id,
                caller.key_hash,
                reservation,
                now=now,
                attempts_before=attempts_before,
            )
            # If the key is throttled, its captures must come first, so this write is not retried.
            item = await self._table.update(update, return_item=True, retry_on_throttle=False)
        except ConditionFailed as failed:
            if failed.item is not None and request_id in failed.item["in_flight"]:
                item = failed.item  # our own write: its response was lost, and it was sent again
            else:
                wrong = key_rejection(failed.item, caller.key_hash, now=now)
                if wrong is None:
                    self._keys.refused(caller)
                else:
                    self._keys.forget(caller)
                networks = (
                    ANYWHERE if failed.item is None else failed.item.get("networks", ANYWHERE)
                )
                if (
                    wrong is None
                    and networks != reservation.networks
                    and admits(networks, caller.address)
                ):
                    # The networks have changed since they were cached: try once more with these.
                    self._keys.set_networks(caller, networks)
                    return await self._reserve(
                        caller,
                        opening,
                        fingerprint,
                        repeat=repeat,
                        attempts_before=attempts_before + limits.META_MAX_ATTEMPTS,
                    )
                if repeat and wrong is None and failed.item is not None:
                    same = running_repeat(Account.of(failed.item), request_id, fingerprint)
                    if same is not None:
                        # This reason is clearer than the limit that the running request uses up.
                        return same
                return rejection(failed.item, caller.key_hash, reservation, now=now)
        except Throttled:
            return Contended()
        except MeterUnavailable:
            return None
        return Account.of(item)

    async def _open_ledger(self, opening: Opening) -> bool:
        try:
            await self._table.put(ledger.opening_item(opening), condition=ledger.NEW)
        except ConditionFailed:
            return True  # ids are unique: this is our own write, which was sent again
        except MeterUnavailable:
            return False
        return True

    async def _undo(self, opening: Opening, entry: Hold) -> None:
        """Void a hold at once. The sweeper does it if that fails, or if it has claimed the hold."""
        if entry.claimed:
            return
        update = holds.void(opening.key_id, opening.request_id, entry, now=time.time())
        with contextlib.suppress(MeterError):
            await self._table.update(update, max_attempts=1)

    async def _close_refused(self, opening: Opening) -> None:
        """Settle a request that was rejected. If that fails, the sweeper does it."""
        update = ledger.settle(
            opening.request_id, ledger.REFUSED, prices=opening.prices, attempt=None, now=time.time()
        )
        with contextlib.suppress(MeterError):
            await self._table.update(update)

    async def _alert(self, wrong: Rejection) -> None:
        """Note that a month's budget is used up, once. If that fails, the next refusal does it."""
        if not isinstance(wrong, LimitReached):
            return
        if self._alerts is None:
            from lambda_fn.metering.budget_alerts import Noted  # not at a cold start

            self._alerts = Noted()
        with contextlib.suppress(MeterError):
            await self._alerts.refused(self._table, wrong, now=time.time())

    def _public(self, wrong: Rejection, opening: Opening) -> APIError:
        return public(
            wrong, model=opening.model, when=request_time(opening.request_id), now=time.time()
        )


def _unavailable() -> Unavailable:
    return Unavailable(
        "The usage meter does not answer. Nothing was generated or billed; try again.",
        retry_after=5,
    )
