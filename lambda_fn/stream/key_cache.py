"""Per-environment cache of verified secrets, and of the networks of their keys."""

import time

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.networks import ANYWHERE, admits

_MAX = 10_000
"""Entries of each kind. A full cache is emptied."""


class KeyCache:
    """The secrets that this environment has verified. Nothing is kept of a wrong one.

    The account's write authenticates, but a write that fails is charged like one that does not, and
    a ledger item is put beside it. So only a secret that was verified before goes to that write at
    once. Any other is compared by a read first, and a key that does not exist leaves nothing
    behind, neither in the table nor here.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._admitted: dict[str, float] = {}
        """Hash of a secret -> when its last request was admitted; 0 if that request was refused."""
        self._networks: dict[str, str] = {}
        """Id of a key -> its networks, for keys that have any."""

    def is_verified(self, caller: Caller) -> bool:
        """Tell whether the secret was right when it was last used here."""
        return caller.key_hash in self._admitted

    def is_recent(self, caller: Caller) -> bool:
        """Tell whether the key's last request was admitted, at most `FAIL_OPEN_WINDOW` seconds
        ago.
        """
        return time.time() - self._admitted.get(caller.key_hash, 0.0) <= limits.FAIL_OPEN_WINDOW

    def networks(self, caller: Caller) -> str:
        """Return the networks that the key had when it was last seen here, if the caller's address
        is in them.

        They may have changed since. The account's write checks the networks that the key has now.
        """
        return self._networks.get(caller.key_id, ANYWHERE) if self.admits(caller) else ANYWHERE

    def admits(self, caller: Caller) -> bool:
        """Tell whether the caller's address is in the networks that the key had when it was last
        seen here.
        """
        return admits(self._networks.get(caller.key_id, ANYWHERE), caller.address)

    def set_networks(self, caller: Caller, networks: str) -> None:
        """Keep a key's networks."""
        self._networks.pop(caller.key_id, None)
        if len(self._networks) >= _MAX:
            self._networks.clear()
            self._admitted.clear()  # no key may be served unread after its networks are forgotten
        if networks != ANYWHERE:
            self._networks[caller.key_id] = networks

    def admitted(self, caller: Caller) -> None:
        """Record that the secret was right and its request admitted."""
        self._set(caller, time.time())

    def refused(self, caller: Caller) -> None:
        """Record that the secret was right and its request refused."""
        self._set(caller, 0.0)

    def authenticated(self, caller: Caller) -> None:
        """Record that the secret was right, for a call that needed no admission."""
        if caller.key_hash not in self._admitted:
            self._set(caller, 0.0)

    def forget(self, caller: Caller) -> None:
        """Forget a secret that is wrong, or no longer right."""
        self._admitted.pop(caller.key_hash, None)

    def _set(self, caller: Caller, when: float) -> None:
        if len(self._admitted) >= _MAX and caller.key_hash not in self._admitted:
            self._admitted.clear()
        self._admitted[caller.key_hash] = when
