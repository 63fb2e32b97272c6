"""The results of `sluice verify` as files, and the table that is made from them."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.commands.verify import record
from cli.commands.verify.registry import Check, Outcome, Verdict, Wave, all_checks, proven
from cli.commands.verify.runner import Result


def check(name: str = "one", *, local: bool = True) -> Check:
    """Return a check."""
    return Check(name, "row", "how", Wave.READ, lambda _: proven(""), local=local)


def file(place: str, date: str, verdict: Verdict, name: str = "one") -> dict[str, Any]:
    """Return a file with one result."""
    entry = {"id": name, "verdict": verdict, "evidence": "", "seconds": 1.0}
    return {"date": date, "place": place, "results": [entry]}


def test_the_table_is_the_registry() -> None:
    """ARCHITECTURE.md has the table of the checks and saved results, as `make docs` writes it."""
    assert record.documented() == record.PAGE.read_text()
    assert all(f"| `{one.id}` | {one.row} |" in record.PAGE.read_text() for one in all_checks())


def test_saved_results_are_of_checks() -> None:
    """Each saved result is of a check, and a file's name has its day and place."""
    known = {one.id: one for one in all_checks()}
    for path in record.FOLDER.glob("*.json"):
        found = json.loads(path.read_text())
        assert path.stem == f"{found['date']}-{found['place']}"
        assert {entry["id"] for entry in found["results"]} <= known.keys()
        if found["place"] == record.LOCAL:
            proofs = {entry["id"] for entry in found["results"] if entry["verdict"] == "proven"}
            assert proofs <= {name for name, one in known.items() if one.local}


@pytest.mark.parametrize(
    ("files", "local", "expected"),
    [
        ([], True, "needs AWS"),
        (
            [file("local", "2026-01-02", "proven")],
            True,
            "needs AWS; the local cloud: proven, 2026-01-02",
        ),
        ([file("local", "2026-01-02", "proven")], False, "needs AWS"),
        (
            [file("eu-west-1", "2026-01-01", "proven"), file("local", "2026-01-02", "proven")],
            True,
            "proven in eu-west-1, 2026-01-01",
        ),
        (
            [
                file("eu-west-1", "2026-01-03", "refuted"),
                file("eu-west-1", "2026-01-01", "proven"),
                file("eu-west-1", "2026-01-04", "unknown"),
            ],
            False,
            "refuted in eu-west-1, 2026-01-03",
        ),
    ],
)
def test_what_is_known_of_a_row(files: list[dict[str, Any]], local: bool, expected: str) -> None:
    """AWS's last proof or refutation counts. What only the local cloud has shown needs AWS."""
    assert record.column(check(local=local), files) == expected


def test_results_of_a_day_add_up(tmp_path: Path) -> None:
    """A later run of a day replaces the results of its checks, and keeps those of others.

    Numbers of accounts are not saved, nor what was not asked.
    """
    first = [
        Result(check("a"), Outcome("unknown", "arn:aws:iam::123456789012:role/x"), 1.25),
        Result(check("b"), Outcome("proven", "seen"), 1),
    ]
    record.save(first, "eu-west-1", tmp_path)
    second = [
        Result(check("a"), Outcome("proven", "now"), 2),
        Result(check("b"), Outcome("not deployed", ""), 0),
    ]
    path = record.save(second, "eu-west-1", tmp_path)
    found = {entry["id"]: entry["evidence"] for entry in json.loads(path.read_text())["results"]}
    assert found == {"a": "now", "b": "seen"}
    assert "arn:aws:iam::<account>:role/x" in json.dumps(record.entries(first))
