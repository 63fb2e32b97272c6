"""The cost of guessed secrets, and of calls that spend nothing."""

import hmac

import pytest

from lambda_fn import ids
from lambda_fn.auth import Caller
from lambda_fn.errors import (
    APIError,
    AuthenticationFailed,
    PermissionDenied,
    RateLimited,
    Unavailable,
)
from lambda_fn.metering import accounts
from lambda_fn.metering.accounts import Limits
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.stream import key_cache
from lambda_fn.stream.admit import Gate, Switch
from tests.support.function import KEY, KEY_ID
from tests.support.network import Fate, Network, create_table
from tests.support.one_request import CALLER

ADMITTED = ["UpdateItem", "PutItem"]
FIRST = ["GetItem", *ADMITTED]
"""The calls of the first request with a key in an environment."""


class Place:
    """One environment's gate, and the calls that it makes."""

    def __init__(self) -> None:
        """Create the table."""
        self.throttled = False
        self.network = Network(self.fate)
        self.table = self.network.table("known")
        self.gate = Gate(self.table)
        create_table("known")

    def fate(self, target: str) -> Fate:
        """Throttle the next update if `throttled` is set."""
        throttled, self.throttled = self.throttled and target.endswith("UpdateItem"), False
        return Fate.THROTTLED if throttled else Fate.WELL

    async def admit(self, caller: Caller = CALLER) -> list[str]:
        """Begin a request. Return the calls that were made."""
        self.network.calls.clear()
        self.opening = Opening(ids.new_request_id(), KEY_ID, "m", 10, 30, Prices(1, 1))
        await self.gate.admit(caller, self.opening)
        return self.network.calls

    async def guess(self) -> list[str]:
        """Begin a request with a wrong secret. Return the calls that were made."""
        with pytest.raises(AuthenticationFailed):
            await self.admit(Caller(KEY_ID, ids.hash_key(ids.new_key(KEY_ID))))
        return self.network.calls


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """Create a key with at most two concurrent streams, and return an environment.

    It never reads whether the service is stopped.
    """
    monkeypatch.setattr(Switch, "is_due", False)
    made = Place()
    await made.table.put(accounts.new_account(KEY, name="n", now=1, limits=Limits(max_streams=2)))
    return made


async def test_guesses_only_read(place: Place) -> None:
    """Each guess at a key's secret costs one read. The key's own requests still cost no read."""
    assert await place.admit() == FIRST
    for _ in range(3):
        assert await place.guess() == ["GetItem"]
    assert await place.admit() == ADMITTED
    with pytest.raises(RateLimited):
        await place.admit()
    with pytest.raises(RateLimited):
        await place.admit()
    assert (
        "GetItem" not in place.network.calls
    )  # after a rejection for a limit the secret stays verified


async def test_refusals_look_alike(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown, wrong, deleted and disabled keys are rejected by the same work.

    It is one read and the same comparisons. The first three get the same response.
    """
    compared: list[tuple[int, int]] = []
    inner = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return inner(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    disabled, deleted = ids.new_key(), ids.new_key()
    await place.table.put(accounts.new_account(disabled, name="n", now=1) | {"enabled": False})
    await place.table.put(
        accounts.new_account(deleted, name="n", now=1) | {"enabled": False, "secret_hash": ""}
    )
    answers = []
    for key in (ids.new_key(), ids.new_key(KEY_ID), deleted, disabled):
        caller = Caller(ids.key_id_of(key) or "", ids.hash_key(key))
        for ask in (place.gate.authenticate, place.gate.check_key, place.admit):
            compared.clear()
            place.network.calls.clear()
            with pytest.raises(APIError) as refused:
                await ask(caller)
            assert (place.network.calls, compared) == (["GetItem"], [(64, 64)])
        answers.append((refused.value.status, refused.value.body(), refused.value.headers))
    assert answers[0] == answers[1] == answers[2]
    assert (answers[0][0], answers[3][0]) == (401, 403)


async def test_a_secret_is_read_once(place: Place) -> None:
    """A verified secret is not read again for any use, until a request with it is rejected."""
    await place.gate.authenticate(CALLER)
    assert place.network.calls[1:] == ["GetItem"]
    await place.gate.authenticate(CALLER)
    assert place.network.calls[1:] == ["GetItem"]
    assert await place.admit() == ADMITTED
    item = await place.table.get(account_key(KEY_ID))
    assert item is not None
    await place.table.put(item | {"enabled": False})
    for calls in ([*ADMITTED, "UpdateItem"], ["GetItem"], ["GetItem"]):
        with pytest.raises(PermissionDenied):
            await place.admit()
        assert place.network.calls == calls


async def test_a_revoked_key_is_refused_everywhere(place: Place) -> None:
    """A disabled key is rejected in every environment, also in those that have cached it."""
    gates = [Gate(place.table) for _ in range(3)]
    for gate in gates[1:]:
        await gate.authenticate(CALLER)
    item = await place.table.get(account_key(KEY_ID))
    assert item is not None
    await place.table.put(item | {"enabled": False})
    for gate in gates:
        with pytest.raises(PermissionDenied, match="disabled"):
            await gate.admit(
                CALLER, Opening(ids.new_request_id(), KEY_ID, "m", 10, 30, Prices(1, 1))
            )


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache keeps a bounded number of verified secrets, and no wrong one."""
    monkeypatch.setattr(key_cache, "_MAX", 3)
    kept = key_cache.KeyCache()
    callers = [Caller("a" * 12, f"{number:064}") for number in range(10)]
    for caller in callers:
        kept.forget(caller)
        kept.admitted(caller)
        assert sum(map(kept.is_verified, callers)) <= 3
    assert kept.is_verified(callers[-1])


async def test_calls_that_spend_nothing_only_read(place: Place) -> None:
    """A list of models, or a malformed request, writes nothing to the key's item."""
    await place.gate.check_key(CALLER)
    with pytest.raises(AuthenticationFailed):
        await place.gate.check_key(Caller(KEY_ID, "0" * 64))
    assert place.network.calls[1:] == ["GetItem", "GetItem"]


async def test_a_throttled_reservation_gives_way(place: Place) -> None:
    """A throttled hold is rejected at once, so that captures come first. It leaves nothing."""
    await place.gate.authenticate(CALLER)
    place.throttled = True
    with pytest.raises(Unavailable, match="several keys") as refused:
        await place.admit()
    assert refused.value.retry_after == 1
    assert place.network.calls == [
        *ADMITTED,
        "UpdateItem",
    ]  # the last call settles the ledger's item
    item = await place.table.get(ledger_key(place.opening.request_id))
    assert item is not None
    assert (item["state"], item["outcome"]) == ("SETTLED", "refused")
    assert await place.admit() == ADMITTED
