"""Logged responses over the application: what is logged, and what its client sees of it."""

from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.http.client import Client
from lambda_fn.stream_log.heads import StoredHead, read_head
from lambda_fn.stream_log.reading import read_all
from tests.support.function import (
    CREDENTIALS,
    KEY_ID,
    Call,
    Reply,
)
from tests.support.replies import STREAM, ledger_item

pytestmark = pytest.mark.usefixtures("account")
DURABLE = {**STREAM, "sluice": {"durable": True}}


@pytest.fixture
def log_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


@pytest.fixture
def logging(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return an application that logs what asks for it."""
    return make_call(stream_table=streams.name)


async def head_of(table: Table, reply: Reply) -> StoredHead:
    """Return the head that a response names."""
    found = await read_head(table, reply.headers["x-sluice-stream"], now=0)
    assert found is not None
    return found


async def test_a_durable_response_is_logged(logging: Call, log_table: Table, items: Any) -> None:
    """What the client gets is in the log, with its state, owner and counts."""
    reply = await logging(body=DURABLE)
    assert reply.status == 200
    head = await head_of(log_table, reply)
    assert (head.status, head.owner, head.kept) == ("completed", KEY_ID, "segments")
    assert (head.prompt_tokens, head.completion_tokens) == (4, 2)
    segments = await read_all(log_table, head)
    assert segments[-1].is_end
    assert (segments[-1].prompt_tokens, segments[-1].completion_tokens) == (4, 2)
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "complete", 2)
