"""The comparison of a run with the ledger."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, cast

import pytest

from cli.commands.load import ledger
from cli.commands.load.endings import NAMES, Ending
from cli.commands.load.ledger import Checked, Own, compare
from cli.lib.project import CommandError
from tests.support.answers_once import answering
from tests.support.load_runs import record

if TYPE_CHECKING:
    from cli.lib.admin_api import Admin


class AdminStandIn:
    """An admin API with these ledger items, by request id."""

    stage = "local"

    def __init__(self, items: dict[str, dict[str, Any]] | None = None) -> None:
        self.items = items or {}
        self.calls: list[tuple[str, str]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.broken = ""
        self.in_flight = [1, 0]
        """What a key has in flight, one number for each time it is asked; then the last one."""

    def __call__(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        self.calls.append((method, path))
        if method == self.broken:
            raise CommandError("It is broken.")
        if method == "POST":
            key = {"id": f"k{len(self.keys)}", "secret": "s", "created_at": 1e12, **body}
            self.keys[key["id"]] = key
            return key
        if method == "DELETE":
            return self.keys.pop(path.rpartition("/")[2])
        if path.startswith("/keys/"):
            return {"in_flight": self.in_flight.pop(0) if self.in_flight else 0}
        found = self.items.get(path.rpartition("/")[2])
        if found is None:
            raise CommandError("There is no such request in the ledger.")
        return found

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        if path == "/keys":
            yield from list(self.keys.values())
            return
        outcomes: dict[str, int] = {}
        for it in self.items.values():
            if it["state"] == "SETTLED":
                outcomes[it["outcome"]] = outcomes.get(it["outcome"], 0) + 1
        yield {
            "outcomes": outcomes,
            **{
                name: sum(it[name] for it in self.items.values())
                for name in ("prompt_tokens", "completion_tokens")
            },
            "open": sum(it["state"] == "OPEN" for it in self.items.values()),
        }


def item(outcome: str | None, completion: int = 5) -> dict[str, Any]:
    """Return a ledger item as the admin API has it."""
    state = "OPEN" if outcome is None else "SETTLED"
    counts = {"prompt_tokens": 7, "completion_tokens": completion}
    return {"state": state, "outcome": outcome, **counts}


def checked(admin: AdminStandIn, *records: Any) -> Checked:
    """Return the comparison of records with a stand-in."""
    return ledger.check_requests(cast("Admin", admin), records, ["k"], patience=60)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between polls."""
    monkeypatch.setattr(ledger, "_POLL_S", 0)


def test_a_run_that_agrees() -> None:
    """Complete answers with the same tokens agree, and so do refusals and errors."""
    admin = AdminStandIn(
        {"req_0": item("complete"), "req_1": item("cut"), "req_2": item("refused")}
    )
    found = checked(admin, record(0), record(1, "error"), record(2, "refused"))
    assert found.agrees is True
    assert found.matrix == {
        ("complete", "complete"): 1, ("error", "cut"): 1, ("refused", "refused"): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("booked", "code"),
    [(item("complete", 6), "tokens"), (item("cut"), "cut"), (None, "absent"), (item(None), "open")],
)
def test_complete_is_what_the_ledger_says_too(booked: Any, code: str) -> None:
    """An answer that is complete here, and not in the ledger, disagrees."""
    one = record(0)
    found = checked(AdminStandIn({"req_0": booked} if booked else {}), one)
    assert one.ending == Ending("disagrees", code)
    assert found.agrees is False
    assert found.matrix["complete", one.booked] == 1


def test_a_prompt_that_was_read_again_is_no_difference() -> None:
    """A response that was continued has its prompt twice in the ledger."""
    booked = {**item("complete"), "prompt_tokens": 14, "continued_prompt_tokens": 7}
    assert checked(AdminStandIn({"req_0": booked}), record(0)).agrees is True


@pytest.mark.parametrize("outcome", ["complete", "cut", "failed", "cancelled"])
@pytest.mark.parametrize("name", ["cut", "silent", "slow", "dropped", "malformed"])
def test_a_client_that_saw_no_end_knows_no_outcome(name: str, outcome: str) -> None:
    """Any outcome goes with an ending that does not tell what the model did."""
    one = record(0, name)
    assert checked(AdminStandIn({"req_0": item(outcome)}), one).agrees is True
    assert one.ending.name == name


def test_an_error_that_the_ledger_has_as_complete_disagrees() -> None:
    """An error event for a request that is booked as complete is a difference."""
    found = checked(AdminStandIn({"req_0": item("complete")}), record(0, "error"))
    assert found.disagreeing == [("req_0", "error here, complete in the ledger")]


def test_requests_that_no_client_knows_are_found() -> None:
    """A request in the ledger whose response never came is a difference of the sums."""
    admin = AdminStandIn({"req_0": item("complete"), "lost": item("cut"), "runs": item(None)})
    found = checked(admin, record(0), record(1, "cut", "before_status", request_id=""))
    assert found.sums["cut"] == {"client": 0, "ledger": 1}
    assert (found.agrees, found.open) == (False, 1)


def unheard(number: int, name: str, **fields: Any) -> Any:
    """Return a request without a head."""
    return record(number, name, status=None, request_id="", **fields)


@pytest.mark.parametrize("name", ["dropped", "slow"])
def test_requests_that_were_left_are_no_difference(name: str) -> None:
    """Of a request that was left before its head came, the ledger may have any outcome."""
    for other in ({}, {"a": item("complete")}, {"a": item("cut")}, {"a": item(None)}):
        admin = AdminStandIn({"req_0": item("complete"), **other})
        found = checked(admin, record(0), unheard(1, name))
        assert (found.agrees, found.left) == (True, 1)


def test_only_as_many_as_were_left() -> None:
    """More requests than were left are a difference, and so is one that the ledger lacks."""
    items = {"req_0": item("complete"), "a": item("cut"), "b": item("complete")}
    assert checked(AdminStandIn(items), record(0), unheard(1, "dropped")).agrees is False
    both = (unheard(1, "dropped"), unheard(2, "dropped"))
    assert checked(AdminStandIn(items), record(0), *both).agrees is True
    assert checked(AdminStandIn(items), record(0), *both, record(3)).agrees is False
    never = unheard(2, "dropped", sent=None)
    assert checked(AdminStandIn(items), record(0), unheard(1, "dropped"), never).agrees is False
    lacks = Checked("sums", left=1, sums={"cut": {"client": 1, "ledger": 0}})
    assert lacks.agrees is False


def test_of_a_large_run_the_totals_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the number that is looked up, complete answers and their tokens must be booked."""
    monkeypatch.setattr(ledger, "LOOKED_UP", 1)
    items = {"req_0": item("complete"), "req_1": item("complete")}
    records = [record(0), record(1)]
    found = checked(AdminStandIn(items), *records)
    assert (found.by, found.agrees) == ("sums", True)
    assert found.sums["completion_tokens"] == {"client": 10, "ledger": 10}
    assert checked(AdminStandIn(items), *records, record(3)).agrees is False
    assert checked(AdminStandIn({**items, "req_1": item("complete", 4)}), *records).agrees is False
    assert checked(AdminStandIn({**items, "req_3": item("complete")}), *records).agrees is False
    for ending, outcome in (("dropped", "cut"), ("refused", "refused"), ("refused", "failed")):
        more = AdminStandIn({**items, "req_3": item(outcome)})
        found = checked(more, *records, record(3, ending))
        assert (found.agrees, found.sums) == (True, {})
    bare = [record(at, prompt_tokens=None, completion_tokens=None) for at in range(2)]
    found = checked(AdminStandIn(items), *bare)  # a form without usage
    assert (found.agrees, found.sums) == (True, {"requests": {"client": 2, "ledger": 2}})


def test_it_waits_until_nothing_is_in_flight() -> None:
    """The comparison begins when the keys have no request in flight any more."""
    admin = AdminStandIn()
    admin.in_flight = [3, 2, 0]
    checked(admin)
    assert admin.in_flight == []


def test_it_does_not_wait_for_ever() -> None:
    """A hold that a killed function left does not stop the comparison."""
    admin = AdminStandIn({"req_0": item("complete")})
    admin.in_flight = [1] * 1_000
    found = ledger.check_requests(cast("Admin", admin), [record(0)], ["k"], patience=0)
    assert found.agrees is True


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outcome", ["complete", "cut", "failed", "cancelled", "refused"])
def test_each_pair_is_compared(name: str, outcome: str) -> None:
    """Each ending can be compared with each outcome, and is counted once."""
    into = Checked("request")
    compare(record(0, name), item(outcome), into)
    assert into.matrix == {(name, outcome): 1}


def test_keys_are_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of a run are deleted after it, and those of an interrupted run with them."""
    monkeypatch.setattr("cli.commands.load.ledger.time.time", lambda: 1000.0)
    admin = AdminStandIn()
    admin.keys["old"] = {"id": "old", "created_at": -1e6}
    with ledger.temporary_keys(cast("Admin", admin), 2, seconds=60) as keys:
        assert [key_id for key_id, _ in keys] == ["k1", "k2"]
        assert admin.keys["k1"]["expires_at"] == 1000 + 60 + 3600
        assert admin.keys["k1"]["limits"] == {"concurrent_streams": 200}
    assert admin.keys == {}


def test_keys_that_are_left_are_told() -> None:
    """Where keys cannot be deleted, the error says how to find them."""
    admin = AdminStandIn()
    with (
        pytest.raises(CommandError, match="Temporary keys are left"),
        ledger.temporary_keys(cast("Admin", admin), 1, seconds=60),
    ):
        admin.broken = "DELETE"


USAGE = {
    "totals": {"requests": 10, "prompt_tokens": 100, "completion_tokens": 50},
    "streams": {"running": 0},
}


@pytest.fixture
def usage() -> Iterator[Callable[[Any], str]]:
    """Return a function that serves `GET /usage` with a value, and returns its base URL."""
    servers: list[HTTPServer] = []

    def serve(value: Any) -> str:
        class Usage(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name there)
                """Print nothing."""

        server = HTTPServer(("127.0.0.1", 0), Usage)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_key_sees_its_own_sums(usage: Callable[[Any], str]) -> None:
    """The growth of the key's own usage is what complete answers had."""
    before = Own(9, 93, 45, 0)
    found = ledger.check_own(usage(USAGE), "k", before, [record(0)], patience=60)
    assert found.agrees is True
    assert found.sums["completion_tokens"] == {"client": 5, "ledger": 5}


def test_less_than_was_received_cannot_be_right(usage: Callable[[Any], str]) -> None:
    """With streams that broke off only a lower bound can be checked, and it is."""
    records = [record(0), record(1, "cut")]
    url = usage(USAGE)
    fine = ledger.check_own(url, "k", Own(8, 86, 40, 0), records, patience=60)
    assert (fine.agrees, fine.sums) == (True, {})
    assert "no client knows" in fine.why
    short = ledger.check_own(url, "k", Own(8, 86, 48, 0), records, patience=60)
    assert short.sums == {"completion_tokens": {"client": 5, "ledger": 2}}


@pytest.mark.parametrize("value", [b"<html>", [], {"totals": {}}, b"[" * 100_000])
def test_another_api_has_no_usage(usage: Callable[[Any], str], value: Any) -> None:
    """Where `GET /usage` is something else, the run is compared with nothing, and says so."""
    url = usage(value)
    assert ledger.own_usage(url, "k") is None
    found = ledger.check_own(url, "k", None, [record(0)], patience=0)
    assert found.agrees is None
    assert "no GET /usage" in found.why


def test_an_answer_that_is_no_http() -> None:
    """It is another API's, too."""
    with answering(b"no HTTP\r\n\r\n") as url:
        assert ledger.own_usage(url, "k") is None
