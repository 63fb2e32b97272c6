"""What a logged stream costs: the units of its actual calls, which docs/ has as a table.

A minute of a stream is carried out call by call: as many writes, renewals and reads as the limits
say, each with the items that the code makes. DynamoDB's published rules turn them into units.
"""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.aws.attributes import Item, unwrap_all
from lambda_fn.aws.dynamodb import Table
from lambda_fn.events import NULL, Delta, End, Event, Finish, Start, Usage
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log.keys import OWNERS_INDEX_KEY, OWNERS_PROJECTED
from lambda_fn.stream_log.reading import read_log
from lambda_fn.stream_log.table_log import TableLog
from lambda_fn.stream_log.watching import Watch
from tests.support.function import CREDENTIALS
from tests.support.network import operate
from tests.support.stream_logs import Ground, look
from tests.support.units import item_size, read_units

DOCUMENT = Path(__file__).parents[3] / "docs/explanation/stream-log.md"
WRITE, READ = 0.625e-6, 0.125e-6
"""USD for a write unit and for a unit of a consistent read: us-east-1, on demand."""
SECONDS, PACE = 60, 50
FLUSH, TAILED, WATCH = limits.LOG_FLUSH, limits.LOG_FLUSH_TAILED, limits.LOG_WATCH
_WORDS = ("the", " quick", " brown", " fox", " jumps", " over", " a", " lazy", " dog", ".")


class Metered(Table):
    """A table that counts the units of its calls."""

    writes = index_writes = reads = written = 0

    async def _call(self, operation: str, call: Any, plain: Any = None, **more: Any) -> Any:
        key = call.get("Key")
        before = self._item(key) if key else None
        result = await super()._call(operation, call, plain, **more)
        if operation == "Query":
            size = sum(item_size(unwrap_all(item)) for item in result["Items"])
            self.reads += max(1, math.ceil(size / 4096))
        elif operation == "BatchGetItem":
            [asked] = call["RequestItems"].values()
            self.reads += sum(read_units(self._item(key)) for key in asked["Keys"])
        elif operation == "GetItem":
            self.reads += read_units(before)
        elif operation == "PutItem":
            self._wrote(None, plain["Item"])
        else:
            self._wrote(before, self._item(key))
        return result

    def _item(self, key: Any) -> Item | None:
        found = operate("GetItem", TableName=self._name, Key=key, ConsistentRead=True)
        return unwrap_all(found["Item"]) if "Item" in found else None

    def _wrote(self, before: Item | None, after: Item | None) -> None:
        larger = max(item_size(before or {}), item_size(after or {}))
        self.written += item_size(after or {})
        self.writes += max(1, math.ceil(larger / 1024))
        names = ("pk", "sk", *OWNERS_INDEX_KEY, *OWNERS_PROJECTED)
        was, is_ = (
            {name: item[name] for name in names if name in item} if "owner" in (item or {}) else {}
            for item in (before or {}, after or {})
        )
        if was != is_:
            self.index_writes += 1

    @property
    def row(self) -> str:
        """The cells of a row of the document's table."""
        units = self.writes + self.index_writes
        cost = (units * WRITE + self.reads * READ) * 1e6
        return f"{units} | {self.reads} | {self.written / 1000:.0f} kB | {cost:.0f} |"


def metered(ground: Ground) -> Metered:
    """Return a counting table."""
    return Metered(
        ground.network,  # type: ignore[arg-type] # as far as the table needs a client
        url="https://host",
        region="eu-west-1",
        name=ground.name,
        credentials=lambda: CREDENTIALS,
    )


def tokens(count: int, *, top: int = 0) -> list[Event]:
    """Return the events of some tokens, with the log probabilities of so many candidates."""
    out: list[Event] = []
    for number in range(count):
        word = _WORDS[number % len(_WORDS)]
        logprobs = NULL
        if top:
            entries = [
                {"token": it, "logprob": -(number * 7 + place) % 97 / 13, "bytes": [*it.encode()]}
                for place, it in enumerate(_WORDS[:top])
            ]
            entry = {"token": word, "logprob": -0.12345678, "bytes": [*word.encode()]}
            content = [{**entry, "top_logprobs": entries}]
            logprobs = msgspec.Raw(msgspec.json.encode({"content": content, "refusal": None}))
        delta = msgspec.Raw(msgspec.json.encode({"content": word}))
        out.append(Delta(delta, 0, 1, logprobs))
    return out


async def produce(
    ground: Ground, *, interval: float, top: int = 0, tailed: bool = False
) -> Metered:
    """Write a minute of a stream as its producer does, and return the units."""
    table = metered(ground)
    log = TableLog(
        table, Watch(table), ground.stored(), lambda: (3, ground.sampled), now=ground.clock
    )
    await log.open(ground.stored().head)
    if tailed:
        await read_log(ground.table, ground.response_id, now=ground.clock).read(0)
    await produced(ground, log, interval=interval, top=top)
    return table


async def produced(ground: Ground, log: TableLog, *, interval: float, top: int) -> None:
    """Write a minute of a stream to its open log."""
    number = 0
    made, looked, renewed = 0, 0.0, 0.0
    for step in range(int(SECONDS / interval)):
        ground.now += interval
        count = round((step + 1) * interval * PACE) - made
        made += count
        ground.sampled += count
        events = [*([Start(3)] if not step else []), *tokens(count, top=top)]
        log.append((number, events))
        number += len(events)
        log.flush()
        await log._drain()
        log._draining = False
        now = (step + 1) * interval
        if now - renewed >= limits.LEASE_INTERVAL:
            looked = renewed = now
            await log.renew()
        elif now - looked >= WATCH:
            looked = now
            await look(log._table, log)
    log.append((number, [Finish("stop"), Usage(3, ground.sampled)]))
    await log.end((number + 2, [End()]))
    await log.close()


@pytest.mark.parametrize(
    ("row", "interval", "top"),
    [
        ("logged, nobody reads it", FLUSH, 0),
        ("the same while somebody tails it", TAILED, 0),  # it reads the reader's slot, too
        ("with log probabilities of 5 candidates", FLUSH, 5),
    ],
)
async def test_the_document_has_the_cost_of_writing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, row: str, interval: float, top: int
) -> None:
    """docs/explanation/stream-log.md says what a minute of a stream costs to log."""
    for name in ("LOG_FLUSH", "LOG_WATCH", "READER_LEASE"):
        monkeypatch.setattr(limits, name, 1e6)
    table = await produce(ground, interval=interval, top=top, tailed=interval == TAILED)
    expected = f"| {row} | {table.row}"
    assert expected in DOCUMENT.read_text(), expected


async def test_the_document_has_the_cost_of_reading(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same document says what a replay costs, and a minute of tailing."""
    for name in ("LOG_FLUSH", "LOG_WATCH"):
        monkeypatch.setattr(limits, name, 1e6)
    await produce(ground, interval=FLUSH)
    replay = metered(ground)
    source = read_log(replay, ground.response_id, now=ground.clock)
    events: list[Event] = []
    while not events or type(events[-1]) is not End:
        batch = await source.read(0)
        assert batch is not None
        events += batch[1]
    assert sum(type(it) is Delta for it in events) == SECONDS * PACE
    expected = f"| a replay of all its tokens | {replay.row}"
    assert expected in DOCUMENT.read_text(), expected

    tail = metered(ground)
    ground.response_id = new_request_id(ground.now + 1)
    await ground.opened(lease=ground.now)
    source = read_log(tail, ground.response_id, now=ground.clock)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 0.0)
    renewals = int(SECONDS / 5)
    for _ in range(renewals):
        await source.read(0)
    monkeypatch.setattr(limits, "LEASE_INTERVAL", 1e6)
    monkeypatch.setattr(limits, "LOG_HEAD_POLL", 1e6)
    source._look_at = math.inf
    source._slot._renew_at = math.inf
    for _ in range(int(SECONDS / limits.LOG_POLL) - renewals):
        await source.read(0)
    expected = f"| a client that tails it | {tail.row}"
    assert expected in DOCUMENT.read_text(), expected


async def test_a_token_takes_few_bytes(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute at 50 tokens a second is written with one unit for each half second."""
    for name in ("LOG_FLUSH", "LOG_WATCH"):
        monkeypatch.setattr(limits, name, 1e6)
    await produce(ground, interval=FLUSH)
    found = [item for item in ground.items("S#") if item["n"] == 25]
    assert len(found) > 100
    assert all(item_size(item) < 1024 for item in found)
    assert max(len(item["d"]) for item in found) / 25 < 10
