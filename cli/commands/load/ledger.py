"""What the ledger says of the requests of a run: keys for the run, and the comparison after it.

With a deployment's admin API, each request is looked up, and the usage of the run's own keys is
summed. With only a key, its `GET /v1/usage` is read before and after the run.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli.commands.load.endings import Ending
from cli.lib.project import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cli.commands.load.stream import Record
    from cli.lib.admin_api import Admin

OWNER = "sluice load"
"""The owner of the temporary keys."""
STREAMS = 200
"""The most streams that one key may have at once."""
SOCKETS = 10
"""The most sockets that one key should have at once: half of the limit, because a socket that was
closed is counted for a moment.
"""
LOOKED_UP = 20_000
"""Requests that are looked up one by one. Of a larger run only the sums are compared."""
_ABANDONED_S = 6 * 3600
_AT_ONCE = 8
_POLL_S = 1.0
_TIMEOUT_S = 30.0
_TOKENS = ("prompt_tokens", "completion_tokens")
OPEN = "open"
_MAX_BODY = 16 * 1024 * 1024
_CONSISTENT = {
    "complete": {"complete"},
    "refused": {"refused", "failed", "cut", "absent", OPEN},
    "error": {"failed", "cut", "cancelled", OPEN},
}
"""The outcomes that an ending allows. Other endings allow any outcome: a client that left, or lost
its connection, does not know what the model did."""


@dataclass
class Checked:
    """The comparison of a run with the ledger."""

    by: str
    """`request`, `sums` or `nothing`: how it was compared."""
    why: str = ""
    """Why no more was compared."""
    matrix: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Requests by ending and outcome, of those that were looked up."""
    disagreeing: list[tuple[str, str]] = field(default_factory=list)
    """Request ids, and what is different, of requests whose ending and outcome do not agree."""
    sums: dict[str, dict[str, int]] = field(default_factory=dict)
    """By figure: what the client counted, and what the ledger has."""
    open: int = 0
    """Requests that the ledger has as open. The sweeper settles them within some 15 minutes."""
    left: int = 0
    """Requests that this client left before their head came. Nothing tells their ids, so the ledger
    may have up to so many more, with any outcome.
    """

    @property
    def agrees(self) -> bool | None:
        """Whether all that could be compared agrees; None if nothing could."""
        if self.by == "nothing":
            return None
        more = [it["ledger"] - it["client"] for it in self.sums.values()]
        explained = min(more, default=0) >= 0 and sum(more) <= self.left
        return explained and not self.disagreeing


@contextmanager
def temporary_keys(admin: Admin, count: int, *, seconds: float) -> Iterator[list[tuple[str, str]]]:
    """Make keys for a run of `seconds`, and delete them afterwards. Yield their ids and secrets.

    They expire an hour after the run, should nothing delete them.

    Raises:
        CommandError: the admin API refused.

    """
    made: list[tuple[str, str]] = []
    asked = {
        "name": f"{OWNER} {time.strftime('%Y-%m-%d %H:%M')}",
        "owner": OWNER,
        "expires_at": int(time.time() + seconds) + 3600,
        "limits": {"concurrent_streams": STREAMS},
    }
    try:
        for _ in range(count):
            key = admin("POST", "/keys", asked)
            made.append((key["id"], key["secret"]))
        yield made
    finally:
        old = time.time() - _ABANDONED_S
        left = {key_id for key_id, _ in made}
        try:
            left |= {
                row["id"] for row in admin.pages("/keys", owner=OWNER) if row["created_at"] < old
            }
            for key_id in left:
                admin("DELETE", f"/keys/{key_id}")
        except CommandError as error:
            raise CommandError(
                f"Temporary keys are left: {error} Delete those of `sluice keys list --stage "
                f"{admin.stage} --owner '{OWNER}'`."
            ) from None


def check_requests(
    admin: Admin, records: Sequence[Record], keys: Sequence[str], *, patience: float
) -> Checked:
    """Compare a run with the ledger: request by request, and the sums of the run's own keys.

    A record whose answer was complete, and whose ledger item is not, gets the ending `disagrees`.

    Args:
        admin: The deployment's admin API.
        records: The run's.
        keys: The ids of the keys that only this run used; none to compare no sums.
        patience: Seconds to wait until no request is open any more.

    """
    _settled(admin, keys, patience)
    known = [it for it in records if it.request_id]
    left = sum(it.is_unknown for it in records)
    checked = Checked("request", left=left)
    if len(known) > LOOKED_UP:
        checked = Checked(
            "sums", left=left, why=f"more than {LOOKED_UP:,} requests are not looked up one by one"
        )
    else:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            items = pool.map(lambda it: look_up(admin, it.request_id), known)
            for record, item in zip(known, items, strict=True):
                compare(record, item, checked)
    if keys:
        rows = [row for key in keys for row in admin.pages("/usage", by="key", key=key)]
        booked: Counter[str] = Counter()
        for row in rows:
            booked.update(row["outcomes"])
            checked.open += row["open"]
        if checked.by == "request":
            _sum(checked, records, booked)
        else:
            there = {name: sum(row[name] for row in rows) for name in _TOKENS}
            _compare_totals(checked, records, {"requests": booked["complete"], **there})
    return checked


def _settled(admin: Admin, keys: Sequence[str], patience: float) -> None:
    """Wait until no request of the keys is in flight, or time is up."""
    ends = time.monotonic() + patience
    while any(admin("GET", f"/keys/{key}")["in_flight"] for key in keys):
        if time.monotonic() > ends:
            return
        time.sleep(_POLL_S)


def look_up(admin: Admin, request_id: str) -> dict[str, Any] | None:
    """Return a request's ledger item; None if there is none."""
    try:
        return admin("GET", f"/requests/{quote(request_id, safe='')}")
    except CommandError as error:
        if "no such request" in str(error) or "not a request id" in str(error):
            return None
        raise


def compare(record: Record, item: dict[str, Any] | None, checked: Checked) -> None:
    """Compare a record with its ledger item, and note the result in both."""
    if item is None:
        record.booked = "absent"
    else:
        record.booked = OPEN if item["state"] == "OPEN" else str(item["outcome"])
    ending = record.ending
    wrong = ""
    if record.booked not in _CONSISTENT.get(ending.name, {record.booked}):
        wrong = f"{ending.name} here, {record.booked} in the ledger"
    elif ending.name == "complete" and item is not None:
        read_once = item["prompt_tokens"] - item.get("continued_prompt_tokens", 0)
        pairs = (
            ("prompt_tokens", record.prompt_tokens, read_once),
            ("completion_tokens", record.completion_tokens, item["completion_tokens"]),
        )
        # a form without usage has none to compare
        differ = [it for it in pairs if it[1] is not None and it[1] != it[2]]
        wrong = ", ".join(
            f"{name} {here} here, {there} in the ledger" for name, here, there in differ
        )
    if wrong:
        checked.disagreeing.append((record.request_id, wrong))
        if ending.name == "complete":
            record.ending = Ending("disagrees", "tokens" if "tokens" in wrong else record.booked)
    checked.matrix[ending.name, record.booked] += 1


def _sum(checked: Checked, records: Sequence[Record], booked: Counter[str]) -> None:
    """Compare the numbers of requests by outcome.

    The outcome of a request here is that of the item that was looked up. Requests whose response
    never came have no id, so they are the difference. Those that this client left are expected.
    """
    here = Counter(it.booked for it in records if it.booked not in {"", "absent", "open"})
    for name in sorted(booked.keys() | here.keys()):
        checked.sums[name] = {"client": here[name], "ledger": booked[name]}


@dataclass(frozen=True)
class Own:
    """A key's own usage, as `GET /v1/usage` has it."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    running: int


def own_usage(base: str, key: str, authority: str | None = None) -> Own | None:
    """Return a key's own usage so far; None if the API has no such endpoint."""
    request = urllib.request.Request(  # noqa: S310 (the scheme is checked)
        f"{base}/usage", headers={"authorization": f"Bearer {key}"}
    )
    trust = ssl.create_default_context(cafile=authority) if base.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=trust) as response:  # noqa: S310
            found = json.loads(response.read(_MAX_BODY))
        totals = found["totals"]
        return Own(
            requests=int(totals["requests"]),
            prompt_tokens=int(totals["prompt_tokens"]),
            completion_tokens=int(totals["completion_tokens"]),
            running=int(found["streams"]["running"]),
        )
    except (OSError, HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return None


def check_own(
    base: str, key: str, before: Own | None, records: Sequence[Record], *, patience: float,
    authority: str | None = None,
) -> Checked:  # fmt: skip
    """Compare a run with what its key's own usage has become.

    The requests of complete answers are at least what was counted, and their tokens too: a stream
    that broke off is billed for what was sampled, which this client does not know.
    """
    if before is None:
        return Checked("nothing", "the API has no GET /usage for this key")
    ends = time.monotonic() + patience
    while (after := own_usage(base, key, authority)) is not None and after.running:
        if time.monotonic() > ends:
            break
        time.sleep(_POLL_S)
    if after is None:
        return Checked("nothing", "GET /usage did not answer after the run")
    checked = Checked("sums", "the key's own usage has sums only", open=after.running)
    checked.left = sum(it.is_unknown for it in records)
    names = ("requests", *_TOKENS)
    there = {name: getattr(after, name) - getattr(before, name) for name in names}
    _compare_totals(checked, records, there)
    return checked


def _compare_totals(checked: Checked, records: Sequence[Record], there: Mapping[str, int]) -> None:
    """Compare the totals of complete answers with the ledger's.

    If another answer was billed, or may have been, only what is too low in the ledger is told.
    Tokens are compared if each answer told them.
    """
    sent = [it for it in records if it.sent is not None]
    if not all(it.ending.name in {"complete", "refused"} for it in sent):
        checked.why += (
            "; streams that broke off are billed for what was sampled, which no client knows"
        )
    complete = [it for it in sent if it.ending.name == "complete"]
    is_exact = len(complete) == len(sent)
    here = {"requests": len(complete)}
    for name in _TOKENS:
        told = [getattr(it, name) for it in complete]
        if None not in told:
            here[name] = sum(told)
    for name, counted in here.items():
        if is_exact or counted > there[name]:  # less than was received cannot be right
            checked.sums[name] = {"client": counted, "ledger": there[name]}
