"""A StreamTable for one test, with the calls that reach it and a clock, and a log in it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Table
from lambda_fn.encode import Head
from lambda_fn.events import Delta, Event
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log.heads import StoredHead, open_head
from lambda_fn.stream_log.keys import WATCHED
from lambda_fn.stream_log.table_log import TableLog
from lambda_fn.stream_log.watching import Watch
from tests.support.network import Fate, Network, all_items, delete_table, operate
from tests.support.stream_tables import stream_table

NOW = 1_800_000_000.0


def token(text: str = "hello", index: int = 0) -> Delta:
    """Return a delta of one token."""
    from msgspec import Raw

    return Delta(Raw(b'{"content":"%b"}' % text.encode()), index, 1)


@dataclass
class Ground:
    """A table, the network to it and the time."""

    network: Network
    name: str
    fates: list[Fate]
    now: float = NOW
    sampled: int = 0
    response_id: str = field(default_factory=lambda: new_request_id(NOW))

    @property
    def table(self) -> Table:
        """The table as the function sees it."""
        return self.network.table(self.name)

    def clock(self) -> float:
        """Return the time."""
        return self.now

    def items(self, prefix: str = "") -> list[Item]:
        """Return the items whose sort keys begin with a prefix, in their order."""
        found = [item for item in all_items(self.name) if item["sk"].startswith(prefix)]
        return sorted(found, key=lambda item: str(item["sk"]))

    def stored(self, **changes: Any) -> StoredHead:
        """Return a head to open."""
        fields: dict[str, Any] = {
            "head": Head(self.response_id, int(NOW), "m"),
            "owner": "key",
            "status": "in_progress",
            "created": int(NOW),
            "expires": int(NOW) + 86_400,
            "endpoint": "endpoint-1",
            "dialect": "sluice",
            "writer": "producer",
            "lease": NOW,
        }
        return StoredHead(**{**fields, **changes})

    async def opened(self, **changes: Any) -> StoredHead:
        """Put a head, and return it."""
        stored = self.stored(**changes)
        await open_head(self.table, stored)
        return stored

    async def log(self) -> TableLog:
        """Return an open log."""
        table = self.table
        log = TableLog(
            table, Watch(table), self.stored(), lambda: (3, self.sampled), now=self.clock
        )
        await log.open(self.stored().head)
        return log

    def tokens(self, count: int) -> list[Event]:
        """Sample some tokens."""
        self.sampled += count
        return [token() for _ in range(count)]


async def look(table: Table, log: TableLog) -> bool:
    """Read the head of a log as its environment does. Return whether the response has ended."""
    return log.seen(await table.get_many(log.wanted(), WATCHED))


@contextmanager
def stream_ground() -> Iterator[Ground]:
    """Yield an empty StreamTable with a clock, behind a network on which a test decides."""
    name = f"streams-{uuid.uuid4().hex}"
    operate("CreateTable", **stream_table(name))
    fates: list[Fate] = []
    network = Network(lambda _: fates.pop(0) if fates else Fate.WELL)
    yield Ground(network, name, fates)
    delete_table(name)
