"""Which secrets one environment of the function has seen right, and the networks of their keys."""

import time

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.networks import ANYWHERE, admits

_MOST = 10_000


class Known:
    """The secrets that were right here, at most `_MOST`; of those that were wrong nothing is kept.

    The account's write authenticates, but one that fails is charged as one that does not, and beside it a ledger item
    is put. So only a secret that was right here before goes that way at once: any other is first compared by a read,
    and one that nobody has leaves nothing behind, neither in the table nor here.
    """

    def __init__(self) -> None:
        """Know nobody."""
        self._admitted: dict[str, float] = {}
        """Hash of a secret -> when a request was last admitted by it; 0 when its last answer was a refusal."""
        self._networks: dict[str, str] = {}
        """Id of a key -> its networks, of those that have any."""

    def right(self, caller: Caller) -> bool:
        """Tell whether the secret was right when it last came here."""
        return caller.key_hash in self._admitted

    def recent(self, caller: Caller) -> bool:
        """Tell whether the last request of this key was admitted, a short while ago."""
        return time.time() - self._admitted.get(caller.key_hash, 0.0) <= limits.FAIL_OPEN_WINDOW

    def networks(self, caller: Caller) -> str:
        """Return the networks that the key had when it was last seen here, if the caller's address is in them.

        It is a guess, which saves a write: the account's write holds whatever it has now.
        """
        return self._networks.get(caller.key_id, ANYWHERE) if self.admits(caller) else ANYWHERE

    def admits(self, caller: Caller) -> bool:
        """Tell whether the caller's address is in the networks that the key had when it was last seen here."""
        return admits(self._networks.get(caller.key_id, ANYWHERE), caller.address)

    def restricted(self, caller: Caller, networks: str) -> None:
        """Note a key's networks."""
        self._networks.pop(caller.key_id, None)
        if len(self._networks) >= _MOST:
            self._networks.clear()
            self._admitted.clear()  # so that no key is served unasked whose networks are forgotten
        if networks != ANYWHERE:
            self._networks[caller.key_id] = networks

    def admitted(self, caller: Caller) -> None:
        """Note that a request was admitted."""
        self._note(caller, time.time())

    def refused(self, caller: Caller) -> None:
        """Note that the secret was right, and the request was refused."""
        self._note(caller, 0.0)

    def authenticated(self, caller: Caller) -> None:
        """Note that the secret was right, of a call that was not to be admitted."""
        if caller.key_hash not in self._admitted:
            self._note(caller, 0.0)

    def wrong(self, caller: Caller) -> None:
        """Forget a secret: it is not right, or not any more."""
        self._admitted.pop(caller.key_hash, None)

    def _note(self, caller: Caller, when: float) -> None:
        if len(self._admitted) >= _MOST and caller.key_hash not in self._admitted:
            self._admitted.clear()
        self._admitted[caller.key_hash] = when
