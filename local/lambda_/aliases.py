"""The address book of functions: which version serves a name, an ARN or a URL.

An alias stands for one version, or for two with a share of the invocations each. Source:
"Implement Lambda canary deployments using a weighted alias" of the Lambda developer guide.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from local.lambda_.pool import Pool
from local.state import Alias, Function


@dataclass(frozen=True)
class Target:
    """A version's environments, and the function as its caller addressed it.

    With an alias, `function` has the alias's ARN, URL, policy and settings of events. `resource` is
    what metrics call it: the function's name, with the alias behind it if there is one.
    """

    pool: Pool
    function: Function
    resource: str


class AddressBook:
    """Finds targets by the names that callers use."""

    def __init__(self) -> None:
        """Nothing is deployed yet."""
        self._pools: dict[tuple[str, str], Pool] = {}
        self._aliases: dict[tuple[str, str], Alias] = {}
        self._hosts: dict[str, tuple[str, str]] = {}

    def update(self, pools: Iterable[Pool], aliases: Iterable[Alias]) -> None:
        """Use what is deployed now."""
        self._pools = {(pool.function.name, pool.function.version): pool for pool in pools}
        self._aliases = {(alias.function, alias.name): alias for alias in aliases}
        self._hosts = {
            pool.function.host: key for key, pool in self._pools.items() if pool.function.host
        } | {alias.host: key for key, alias in self._aliases.items() if alias.host}

    def at(self, host: str) -> Target | None:
        """Return the target of the URL with a host name, or None."""
        key = self._hosts.get(host)
        return None if key is None else self.named(*key)

    def named(self, name: str, qualifier: str = "$LATEST") -> Target | None:
        """Return the target of a function's version or alias, or None."""
        alias = self._aliases.get((name, qualifier))
        if alias is None:
            pool = self._pools.get((name, qualifier))
            return None if pool is None else Target(pool, pool.function, name)
        versions = list(alias.weights)
        [version] = random.choices(versions, weights=[*alias.weights.values()])  # noqa: S311 - as Lambda does
        pool = self._pools.get((name, version))
        if pool is None:
            return None
        function = replace(
            pool.function,
            arn=alias.arn,
            url=alias.url,
            invoke_mode=alias.invoke_mode,
            auth_type=alias.auth_type,
            policy=alias.policy,
            event_retries=alias.event_retries,
            event_age=alias.event_age,
            event_failure=alias.event_failure,
        )
        return Target(pool, function, f"{name}:{alias.name}")
