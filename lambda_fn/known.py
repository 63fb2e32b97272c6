"""What one environment remembers of the keys that came to it."""

import time

from lambda_fn import limits
from lambda_fn.authenticate import Caller

_MOST = 10_000


class Known:
    """Which secrets were right, and which keys there are.

    The account's write authenticates, and one that fails is charged as one that does not: with the whole item. A key's
    id is public, so that who only guesses at its secret could use up what the item can carry. So a secret that was not
    right here before, for a key that is known to exist, is first compared by reading. A key that is used as ever, or
    that comes here for the first time, is not.
    """

    def __init__(self) -> None:
        """Know nobody."""
        self._ids: set[str] = set()
        self._right: dict[str, float] = {}

    def doubtful(self, caller: Caller) -> bool:
        """Tell whether the secret is to be compared before anything is written."""
        return caller.key_id in self._ids and caller.key_hash not in self._right

    def recent(self, caller: Caller) -> bool:
        """Tell whether the last request of this key was admitted, a short while ago."""
        return time.time() - self._right.get(caller.key_hash, 0.0) <= limits.OPEN_MEMORY

    def admitted(self, caller: Caller) -> None:
        """Note that a request was admitted."""
        self._note(caller, time.time())

    def refused(self, caller: Caller) -> None:
        """Note that the secret was right, and the request was refused."""
        self._note(caller, 0.0)

    def wrong(self, caller: Caller, *, exists: bool) -> None:
        """Note that the secret was not right."""
        self._right.pop(caller.key_hash, None)
        if exists:
            self._add(caller.key_id)

    def _note(self, caller: Caller, when: float) -> None:
        if len(self._right) >= _MOST:
            self._right.clear()
        self._right[caller.key_hash] = when
        self._add(caller.key_id)

    def _add(self, key_id: str) -> None:
        if len(self._ids) >= _MOST:
            self._ids.clear()
        self._ids.add(key_id)
