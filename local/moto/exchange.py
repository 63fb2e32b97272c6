"""Exchanges state between the control plane and the data planes, in the control plane's process.

The desired state has a version. The data planes fetch it by a long poll, apply it, and report what
they observe together with the version that they have applied. The code that changed something can
wait for this report.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

# In seconds. A data plane that does not report within this time is stuck; the deployment then goes
# on and logs that.
APPLY_TIMEOUT_S = 15.0
# In seconds. While nobody waits for a version, the changes of this time make one. A deployment has
# hundreds, and each version is sent, parsed and applied as a whole.
GATHER_S = 0.05


class Exchange:
    """Versions of the state, and the last report of the data planes.

    Several threads may use it.
    """

    def __init__(self) -> None:
        """Nothing is deployed yet."""
        self._condition = threading.Condition()
        self.version = 1
        self.applied = 0
        self._settling = 0
        self.observed: dict[str, dict[str, Any]] = {
            "endpoints": {},
            "distributions": {},
            "gateways": {},
        }
        # State for which moto has no place.
        self.distributions: dict[str, dict[str, Any]] = {}
        self.policies: dict[str, dict[str, Any]] = {}
        # WebSocket APIs by id, as `local.cloudformation.gateways` describes them.
        self.gateways: dict[str, dict[str, Any]] = {}
        # Inference components by name, as `local.moto.components` describes them.
        self.components: dict[str, dict[str, Any]] = {}
        # Custom resources whose functions have yet to answer, by the id of the request: the
        # function's ARN, the object that its answer becomes, and the event without ResponseURL.
        self.custom_requests: dict[str, dict[str, Any]] = {}
        # Resources that nothing here handles, by stack and logical id: their type, and its effect.
        self.unhandled: dict[tuple[str, str], tuple[str, str]] = {}

    def changed(self) -> None:
        """Note that the desired state may have changed."""
        with self._condition:
            self.version += 1
            self._condition.notify_all()

    def wait_newer(self, version: int, timeout: float) -> bool:
        """Wait up to `timeout` seconds for a state newer than `version`; return whether it came.

        Once it has come, wait a little for more changes, unless someone waits for this version.
        """
        with self._condition:
            came = self._condition.wait_for(lambda: self.version > version, timeout)
            if came:
                self._condition.wait_for(lambda: self._settling, GATHER_S)
            return came

    def report(self, applied: int, observed: dict[str, dict[str, Any]]) -> None:
        """Store what the data planes observe, with the version that they have applied."""
        with self._condition:
            self.applied = applied
            self.observed = observed
            self._condition.notify_all()

    def settle(self, timeout: float = APPLY_TIMEOUT_S) -> bool:
        """Wait until the data planes have applied the present version; return whether they have."""
        with self._condition:
            version = self.version
            self._settling += 1
            self._condition.notify_all()
            try:
                return self._condition.wait_for(lambda: self.applied >= version, timeout)
            finally:
                self._settling -= 1

    def await_observed(
        self, kind: str, name: str, accepts: Callable[[dict[str, Any]], bool], timeout: float
    ) -> Any:
        """Wait until `accepts` is true of the report on a resource; return the report.

        Return None after `timeout` seconds.
        """
        ends = time.monotonic() + timeout
        with self._condition:
            while True:
                report = self.observed[kind].get(name)
                if report is not None and accepts(report):
                    return report
                if not self._condition.wait(ends - time.monotonic()):
                    return None


EXCHANGE = Exchange()
