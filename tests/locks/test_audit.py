"""What `make audit` makes of the services' answers."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FINDING = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.1"]}


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module, without any lock's lookup."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / "locks/audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    monkeypatch.setitem(__import__("sys").modules, "audit", module)
    spec.loader.exec_module(module)
    return module


def python(*vulns: dict[str, Any], skip: str | None = None) -> dict[str, Any]:
    """A report of pip-audit's about one package."""
    if skip is not None:
        return {"dependencies": [{"name": "one", "skip_reason": skip}]}
    return {"dependencies": [{"name": "one", "version": "2.0", "vulns": list(vulns)}]}


NODE = {
    "metadata": {"dependencies": {"total": 9}},
    "vulnerabilities": {
        "left": {"via": ["other", {"url": "https://x/GHSA-1", "title": "Bad", "range": "<2"}]}
    },
}


def test_what_is_found_fails(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A vulnerability of either kind is named with what mends it, and the exit status is 1 in any
    case.
    """
    audit.audits = lambda: iter(
        [audit.of_python("a.txt", python(FINDING)), audit.of_node("b", NODE)]
    )
    assert audit.main(["--unreachable=warn"]) == audit.main([]) == 1
    said = capsys.readouterr().out
    assert "one 2.0: PYSEC-1, fixed in 2.1" in said
    assert "left <2: https://x/GHSA-1, Bad" in said


@pytest.mark.parametrize("named", ["PYSEC-1", "CVE-1"])
def test_what_was_accepted_does_not_fail(audit: Any, named: str) -> None:
    """An exception is known by the finding's own name or another one of it."""
    audit.ACCEPTED[named] = "2026-11-29: not called"
    assert audit.of_python("a.txt", python(FINDING)).found == []


@pytest.mark.parametrize("report", ["skipped", "error"])
def test_what_was_not_looked_up_is_not_clean(
    audit: Any, report: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service without an answer is a warning that names the lock, and fails with a status of its
    own unless told.
    """
    missed = (
        audit.of_python("a.txt", python(skip="not found"))
        if report == "skipped"
        else audit.of_node("b", {})
    )
    audit.audits = lambda: iter([missed])
    assert (audit.main([]), audit.main(["--unreachable=warn"])) == (3, 0)
    said = capsys.readouterr().out
    assert "NOT AUDITED" in said
    assert (
        "WARNING: not audited, because the vulnerability services did not answer for them: "
        f"{missed.lock}."
    ) in said


def test_what_is_clean_says_no_warning(audit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """All looked up, nothing found: status 0."""
    audit.audits = lambda: iter([audit.of_python("a.txt", python())])
    assert audit.main([]) == 0
    assert capsys.readouterr().out == "a.txt: 1 packages looked up, 0 findings\n"
