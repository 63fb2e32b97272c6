"""The endpoints of usage and of single requests."""

import csv
import io
from decimal import Decimal
from typing import Any

from lambda_fn import ids
from tests.support.admin import NOW, Admin


async def test_usage_is_told_apart_as_asked(admin: Admin, used: dict[str, Any]) -> None:
    """Usage is grouped by day, key and model, or hour.

    Fields not grouped by are null, and money is exact.
    """
    days = (await admin.ok("GET", "/usage"))["data"]
    assert [(row["day"], row["requests"], row["completion_tokens"]) for row in days] == [
        ("2026-11-20", 2, 30),
        ("2026-11-21", 3, 120),
    ]
    assert days[0]["cost"] == "0.000000192"  # 14 prompt tokens at 3, and 30 at 5, nano-dollars
    assert (days[0]["key"], days[0]["hour"]) == (None, None)
    rows = (await admin.ok("GET", "/usage", by="model,key"))["data"]
    assert sorted((row["key"], row["model"], row["requests"]) for row in rows) == sorted(
        [(used["first"], "demo", 3), (used["first"], "other", 1), (used["second"], "demo", 1)]
    )
    rows = (
        await admin.ok(
            "GET", "/usage", by="hour", key=used["first"], model="demo", since="2026-11-21"
        )
    )["data"]
    assert [(row["hour"], row["day"], row["completion_tokens"]) for row in rows] == [
        ("2026-11-21T01", None, 30),
        ("2026-11-21T06", None, 40),
    ]
    assert rows[0]["outcomes"] == {"complete": 1}


async def test_months_and_owners_add_up_to_the_ledger(admin: Admin, used: dict[str, Any]) -> None:
    """Each owner's month is summed to the nano-dollar, also that of a key that was deleted."""
    await admin.ok("PATCH", f"/keys/{used['first']}", {"owner": "one"})
    await admin.ok("PATCH", f"/keys/{used['second']}", {"owner": "two"})
    before = (await admin.ok("GET", "/usage", by="month,owner"))["data"]
    assert [(row["month"], row["owner"], row["requests"]) for row in before] == [
        ("2026-11", "one", 4),
        ("2026-11", "two", 1),
    ]
    assert all(row["day"] is None and row["key"] is None for row in before)
    days = (await admin.ok("GET", "/usage"))["data"]
    assert sum(Decimal(row["cost"]) for row in before) == sum(Decimal(row["cost"]) for row in days)
    await admin("DELETE", f"/keys/{used['second']}")
    text = await admin("GET", "/usage", format="csv", by="month,owner,key")
    lines = list(csv.DictReader(io.StringIO(text.text)))
    assert [(line["owner"], line["key"]) for line in lines] == [
        ("one", used["first"]),
        ("two", used["second"]),
    ]


async def test_usage_comes_page_by_page_and_as_csv(admin: Admin, used: dict[str, Any]) -> None:
    """JSON and CSV have the same rows. A page token continues only its own query."""
    whole = (await admin.ok("GET", "/usage", by="day,key,model"))["data"]
    rows: list[Any] = []
    lines: list[list[str]] = []
    after = None
    while True:
        query = {"by": "day,key,model", "limit": 1, **({"after": after} if after else {})}
        page = await admin.ok("GET", "/usage", **query)
        text = await admin("GET", "/usage", format="csv", **query)
        lines += list(csv.reader(io.StringIO(text.text)))[1:]
        rows += page["data"]
        assert text.headers.get("x-next-page") == page["next"]
        after = page["next"]
        if after is None:
            break
        for other in ({"by": "day"}, {"key": used["second"]}, {"since": "2026-11-20"}):
            error = await admin.refused(400, "GET", "/usage", **{**query, **other, "after": after})
            assert error["code"] == "invalid_page_token"
    assert rows == whole
    assert len(rows) == 4
    names = (
        "day",
        "key",
        "model",
        "requests",
        "prompt_tokens",
        "completion_tokens",
        "cost",
        "recovered",
        "open",
    )
    assert lines == [[str(row[name]) for name in names] for row in whole]


async def test_a_page_token_outlives_midnight(admin: Admin, used: dict[str, Any]) -> None:
    """A page token of a list without times still works on the next day."""
    page = await admin.ok("GET", "/usage", limit=1)
    admin.services.now = lambda: NOW + 86_400
    assert len((await admin.ok("GET", "/usage", limit=1, after=page["next"]))["data"]) == 1


async def test_what_makes_no_sense_of_usage_is_refused(admin: Admin) -> None:
    """Malformed times, groups and filters are rejected."""
    for query, param in (
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-13-01"}, "since"),
        ({"since": "2026-11-21T25"}, "since"),
        ({"until": "2026-11-21T6"}, "until"),
        ({"since": "2026-11-21", "until": "2026-11-21"}, "since"),
        ({"since": "1999-01-01"}, "since"),
        ({"by": "colour"}, "by"),
        ({"by": "day,month"}, "by"),
        ({"by": "day,day"}, "by"),
        ({"by": "day,hour"}, "by"),
        ({"by": ""}, "by"),
        ({"key": "sk-abcdefghijkl"}, "key"),
        ({"limit": 10**9}, "limit"),
        ({"format": "xml"}, "format"),
        ({"colour": "blue"}, "colour"),
    ):
        assert (await admin.refused(400, "GET", "/usage", **query))["param"] == param, query


async def test_one_request_is_found_by_any_of_its_names(admin: Admin, used: dict[str, Any]) -> None:
    """A request is found by its id with any of its prefixes, or none.

    An unknown id is a 404, a malformed one a 400.
    """
    plain = used["last"]
    for name in (plain, f"req_{plain}", f"chatcmpl-{plain}"):
        entry = await admin.ok("GET", f"/requests/{name}")
        assert (entry["id"], entry["key"], entry["state"]) == (
            f"req_{plain}",
            used["second"],
            "SETTLED",
        )
        assert (entry["cost"], entry["completion_tokens"], entry["outcome"]) == (
            "0.000000271",
            50,
            "complete",
        )
        assert entry["continued_prompt_tokens"] == 0
    assert (await admin.refused(404, "GET", f"/requests/{ids.new_request_id()}"))[
        "code"
    ] == "request_not_found"
    for wrong in ("x", "req_", "req_" + "u" * 26, "é" * 26, plain + "0"):
        assert (await admin.refused(400, "GET", f"/requests/{wrong}"))["param"] == "request_id"
