"""The benchmark of features: each row is a function that answers, and is compared with another."""

import asyncio
from pathlib import Path

from bench import features
from bench.adapter.rows import Scenario


async def test_every_feature_answers_whole(tmp_path: Path) -> None:
    """The answers of all features have every token, in order, and their end."""
    load = Scenario(rate=0, streams=1, tokens=20)
    async with asyncio.timeout(240):
        rows = await features.measure(tmp_path, ((load, tuple(features.FEATURES)),), rounds=1)
    assert [row["feature"] for row in rows] == list(features.FEATURES)
    assert all(row["complete"] for row in rows)
    assert rows[0]["times"] == 1
    assert len({row["row"] for row in rows}) == len(rows)
