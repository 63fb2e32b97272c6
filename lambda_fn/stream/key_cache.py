"""Per-environment cache of verified secrets, and of the networks and filters of their keys."""

import time

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.metering.accounts import NO_FILTERS, KeyFilters
from lambda_fn.networks import ANYWHERE, admits

_MAX = 10_000
"""Entries of each kind. A full cache is emptied."""


class KeyCache:
    """The secrets that this environment has verified. A wrong secret leaves no entry.

    The write to the account authenticates too. But AWS charges a failed write like any other, and a
    ledger item is put in parallel. So only a request whose secret was verified before makes that
    write at once. Any other secret is first compared by a read, so a key that does not exist leaves
    nothing in the table or here.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._admitted: dict[str, float] = {}
        """Hash of a secret -> when its last request was admitted; 0 if that request was refused."""
        self._networks: dict[str, str] = {}
        """Id of a key -> its networks, for keys that have any."""
        self._filters: dict[str, KeyFilters] = {}
        """Id of a key -> its filters, for keys that have any."""

    def is_verified(self, caller: Caller) -> bool:
        """Return whether the secret was right when it was last used here."""
        return caller.key_hash in self._admitted

    def is_recent(self, caller: Caller) -> bool:
        """Return whether the key's last request was admitted within `FAIL_OPEN_WINDOW` seconds."""
        return time.time() - self._admitted.get(caller.key_hash, 0.0) <= limits.FAIL_OPEN_WINDOW

    def networks(self, caller: Caller) -> str:
        """Return the cached networks of the key, or `ANYWHERE` if the caller's address is outside.

        The key's networks may have changed since. The write to the account checks the current ones.
        """
        return self._networks.get(caller.key_id, ANYWHERE) if self.admits(caller) else ANYWHERE

    def admits(self, caller: Caller) -> bool:
        """Return whether the caller's address is in the cached networks of the key."""
        return admits(self._networks.get(caller.key_id, ANYWHERE), caller.address)

    def set_networks(self, caller: Caller, networks: str) -> None:
        """Keep a key's networks."""
        self._networks.pop(caller.key_id, None)
        if len(self._networks) >= _MAX:
            self._networks.clear()
            self._admitted.clear()  # a key whose networks are forgotten must be read again
        if networks != ANYWHERE:
            self._networks[caller.key_id] = networks

    def admitted(self, caller: Caller, filters: KeyFilters = NO_FILTERS) -> None:
        """Record that the secret was right and its request admitted, and the key's filters."""
        self._filters.pop(caller.key_id, None)
        if len(self._filters) >= _MAX:
            self._filters.clear()
            self._admitted.clear()  # a key is not served without its policy
        if filters != NO_FILTERS:
            self._filters[caller.key_id] = filters
        self._set(caller, time.time())

    def filters(self, caller: Caller) -> KeyFilters:
        """Return the key's filters when its last request was admitted here."""
        return self._filters.get(caller.key_id, NO_FILTERS)

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
