"""What guesses at a secret, and calls that spend nothing, cost the account that they name."""

import pytest

from lambda_fn import accounts, ids, ledger
from lambda_fn.accounts import Limits
from lambda_fn.admit import Gate
from lambda_fn.authenticate import Caller
from lambda_fn.errors import AuthenticationFailed, RateLimited, Unavailable
from lambda_fn.ledger import Opening, Prices
from tests.lambda_fn.network import Fate, Network, create_table
from tests.lambda_fn.test_books import CALLER, KEY, KEY_ID

ADMITTED = ["UpdateItem", "PutItem"]


class Place:
    """One environment's gate, and what it sends."""

    def __init__(self) -> None:
        """Make the table."""
        self.throttled = False
        self.network = Network(self.fate)
        self.table = self.network.table("known")
        self.gate = Gate(self.table)
        create_table("known")

    def fate(self, target: str) -> Fate:
        """Throttle one update, when that is wanted."""
        throttled, self.throttled = self.throttled and target.endswith("UpdateItem"), False
        return Fate.THROTTLED if throttled else Fate.WELL

    async def admit(self, caller: Caller = CALLER) -> list[str]:
        """Begin a request; give the calls that were made."""
        self.network.calls.clear()
        self.opening = Opening(ids.new_request_id(), KEY_ID, "m", 10, 30, Prices(1, 1))
        await self.gate.admit(caller, self.opening)
        return self.network.calls

    async def guess(self) -> list[str]:
        """Begin a request with a wrong secret; give the calls that were made."""
        with pytest.raises(AuthenticationFailed):
            await self.admit(Caller(KEY_ID, ids.hash_key(ids.new_key(KEY_ID))))
        return self.network.calls


@pytest.fixture
async def place() -> Place:
    """Give an environment, and a key with one stream at once."""
    made = Place()
    await made.table.put(accounts.new_account(KEY, name="n", now=1, most=Limits(max_streams=2)))
    return made


async def test_guesses_write_nothing_to_the_account(place: Place) -> None:
    """Whoever guesses at the secret of a key that is known here makes reads, and the key itself goes on as ever."""
    assert await place.admit() == ADMITTED
    for _ in range(3):
        assert await place.guess() == ["GetItem"]
    assert await place.admit() == ADMITTED
    with pytest.raises(RateLimited):
        await place.admit()
    with pytest.raises(RateLimited):
        await place.admit()
    assert "GetItem" not in place.network.calls  # over its limit it still is the same key


async def test_a_key_that_was_guessed_at_first(place: Place) -> None:
    """Where a guess came first, the key's own first request is read once, and no other one is."""
    assert "UpdateItem" in await place.guess()
    assert await place.guess() == ["GetItem"]
    assert await place.admit() == ["GetItem", *ADMITTED]
    assert await place.admit() == ADMITTED


async def test_calls_that_spend_nothing_only_read(place: Place) -> None:
    """A list of models, or a malformed request, takes nothing of what the key's item can carry."""
    await place.gate.check_key(CALLER)
    with pytest.raises(AuthenticationFailed):
        await place.gate.check_key(Caller(KEY_ID, "0" * 64))
    assert place.network.calls[1:] == ["GetItem", "GetItem"]


async def test_a_throttled_reservation_gives_way(place: Place) -> None:
    """A reservation that is throttled is refused at once, so that releases come first; it leaves nothing behind."""
    place.throttled = True
    with pytest.raises(Unavailable, match="several keys") as refused:
        await place.admit()
    assert refused.value.retry_after == 1
    assert place.network.calls == [*ADMITTED, "UpdateItem"]  # the last one settles the ledger's item
    item = await place.table.get(ledger.ledger_key(place.opening.request_id))
    assert item is not None
    assert (item["state"], item["outcome"]) == ("SETTLED", "refused")
    assert await place.admit() == ADMITTED
