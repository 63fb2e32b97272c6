"""The results of runs, as dated files, and the table of ARCHITECTURE.md that is made from them.

`python -m cli.commands.verify.record` writes the table; `make docs` does so.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cli.commands.verify.registry import Check, all_checks
from cli.commands.verify.runner import Result
from cli.lib.project import ROOT

FOLDER = ROOT / "docs/verified"
PAGE = ROOT / "ARCHITECTURE.md"
LOCAL = "local"
"""The place of the local cloud's results; AWS's have the region."""
_ASKED = {"proven", "refuted", "unknown"}
_ACCOUNT = re.compile(r"(?<!\d)\d{12}(?!\d)")
_PLACE = re.compile(r"(<!-- verify: `make docs` -->\n).*?(\n<!-- end -->)", re.DOTALL)


def entries(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return results as JSON values, without numbers of accounts."""
    return [
        {
            "id": result.check.id,
            "verdict": result.outcome.verdict,
            "evidence": _ACCOUNT.sub("<account>", result.outcome.evidence),
            "seconds": round(result.seconds, 1),
        }
        for result in results
    ]


def save(results: Iterable[Result], place: str, folder: Path = FOLDER) -> Path:
    """Save results in the file of this day and place, and return it.

    Results of other checks in the file stay. A check that could not run, because its part is not
    deployed or needs AWS, is not saved.
    """
    date = time.strftime("%Y-%m-%d", time.gmtime())
    file = folder / f"{date}-{place}.json"
    kept = json.loads(file.read_text())["results"] if file.exists() else []
    asked = [one for one in results if one.outcome.verdict in _ASKED]
    merged = {entry["id"]: entry for entry in (*kept, *entries(asked))}
    folder.mkdir(exist_ok=True)
    value = {"date": date, "place": place, "results": [merged[name] for name in sorted(merged)]}
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    return file


def column(check: Check, files: Sequence[dict[str, Any]]) -> str:
    """Return the newest result of a check: AWS's, else the local cloud's. A check that only the
    local cloud has proven is never shown as proven.
    """
    aws, local = "", ""
    for file in sorted(files, key=lambda one: str(one["date"])):
        for entry in file["results"]:
            if entry["id"] != check.id or entry["verdict"] not in {"proven", "refuted"}:
                continue
            if file["place"] == LOCAL:
                local = f"needs AWS; the local cloud: {entry['verdict']}, {file['date']}"
            else:
                aws = f"{entry['verdict']} in {file['place']}, {file['date']}"
    return aws or (local if check.local else "") or "needs AWS"


def table(checks: Sequence[Check], files: Sequence[dict[str, Any]]) -> str:
    """Return the table of ARCHITECTURE.md."""
    rows = [
        f"| `{check.id}` | {check.row} | {check.how} | {column(check, files)} |" for check in checks
    ]
    return "\n".join(["| id | what | how to verify | known |", "|---|---|---|---|", *rows])


def stored(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return the saved results."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def documented() -> str:
    """Return the page with the current table in it."""
    made = table(all_checks(), stored())
    return _PLACE.sub(lambda place: f"{place[1]}{made}{place[2]}", PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(documented())
