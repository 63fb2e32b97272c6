"""Request ids and API keys."""

import pytest

from lambda_fn import ids
from lambda_fn.ids import new_request_id, request_time
from lambda_fn.metering.keys import ledger_key
from tests.support.function import KEY, KEY_ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-",
        KEY[:-1],
        KEY + "a",
        KEY.upper(),
        "pk" + KEY[2:],
        KEY + "\n",
        " " + KEY,
        KEY[:-1] + "é",
        "sk-" + "a" * 56,
    ],
)
def test_what_is_no_key(text: str) -> None:
    """Only the exact form of a key is one."""
    assert ids.key_id_of(KEY) == KEY_ID
    assert ids.key_id_of(text) is None


def test_request_ids_tell_their_time_and_sort() -> None:
    """An id has the time at which it was made. Ids of later requests are greater."""
    early, late = new_request_id(1_790_000_000.123), new_request_id(1_790_000_000.124)
    assert early < late
    assert request_time(early) == 1_790_000_000.123
    assert ledger_key(early)["pk"].startswith("LEDGER#2026-09-21T14#")
