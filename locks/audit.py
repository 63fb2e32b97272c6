"""Look up the known vulnerabilities of every pinned package, Python's and Node's: `make audit`.

pip-audit looks up each lock of this folder at PyPI's vulnerability service, and npm each
package-lock.json at npm's. If a service does not answer, the packages that were not looked up are
named: that is not a clean result.

Exit status: 0 if everything was looked up and nothing found; 1 if a vulnerability was found; 3 if
something could not be looked up, or 0 with `--unreachable=warn`, for machines that cannot reach the
services.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODE = (ROOT, ROOT / "tests/clients/node")
ACCEPTED: dict[str, str] = {}
"""Identifier of a vulnerability -> why it does not affect us, and the date of that decision."""
FOUND, UNREACHABLE = 1, 3
_TIMEOUT = 120


@dataclass
class Audit:
    """The result for one lock: the number of packages looked up, the missed packages, and the
    vulnerabilities.
    """

    lock: str
    audited: int = 0
    missed: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


def of_python(lock: str, report: dict[str, Any]) -> Audit:
    """Return the result in pip-audit's JSON report."""
    audit = Audit(lock)
    for package in report["dependencies"]:
        name = f"{package['name']} {package.get('version', '')}".strip()
        if "skip_reason" in package:
            audit.missed.append(name)
            continue
        audit.audited += 1
        for one in package["vulns"]:
            if not ACCEPTED.keys() & {one["id"], *one.get("aliases", ())}:
                fixed = ", ".join(one.get("fix_versions", ())) or "no version yet"
                audit.found.append(f"{name}: {one['id']}, fixed in {fixed}")
    return audit


def of_node(lock: str, report: dict[str, Any]) -> Audit:
    """Return the result in npm's JSON report."""
    if "vulnerabilities" not in report:
        return Audit(lock, missed=["all packages"])
    audit = Audit(lock, audited=report["metadata"]["dependencies"]["total"])
    for name, one in report["vulnerabilities"].items():
        for via in one["via"]:
            if isinstance(via, dict) and via["url"].rpartition("/")[2] not in ACCEPTED:
                audit.found.append(f"{name} {via['range']}: {via['url']}, {via['title']}")
    return audit


def _json(command: list[str], folder: Path = ROOT) -> dict[str, Any]:
    """Run a command and return the JSON object that it prints; an empty object if it prints
    none.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        report = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return {}
    return report if isinstance(report, dict) else {}


def audits() -> Iterator[Audit]:
    """Look up one lock after the other, and yield the results."""
    answers = True
    pip_audit = [
        str(Path(sys.executable).with_name("pip-audit")),
        "--progress-spinner=off",
        "--format=json",
    ]
    for path in sorted((ROOT / "locks").glob("*.txt")):
        report = (
            _json([*pip_audit, "--disable-pip", "--require-hashes", "-r", str(path)])
            if answers
            else {}
        )
        audit = (
            of_python(path.name, report) if report else Audit(path.name, missed=["all packages"])
        )
        # without an answer for a whole lock, the service is not called for others
        answers = audit.audited > 0
        yield audit
    for folder in NODE:
        yield of_node(f"{folder.name}/package-lock.json", _json(["npm", "audit", "--json"], folder))


def status(found: list[Audit], *, warn: bool) -> int:
    """Return the exit status."""
    if any(audit.found for audit in found):
        return FOUND
    return UNREACHABLE if any(audit.missed for audit in found) and not warn else 0


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each lock, then what was found and what was not looked up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--unreachable", choices=["fail", "warn"], default="fail")
    warn = parser.parse_args(arguments).unreachable == "warn"
    done = []
    for audit in audits():
        done.append(audit)
        missed = (
            f", {len(audit.missed)} NOT AUDITED: {', '.join(audit.missed[:3])} …"
            if audit.missed
            else ""
        )
        print(
            (
                f"{audit.lock}: {audit.audited} packages looked up, {len(audit.found)} "
                f"findings{missed}"
            ),
            flush=True,
        )
        for finding in audit.found:
            print(f"  {finding}")
    if missing := [audit.lock for audit in done if audit.missed]:
        print(
            "WARNING: not audited, because the vulnerability services did not answer for "
            f"them: {', '.join(missing)}.\n"
            "Run `make audit` where PyPI's and npm's vulnerability services can be reached "
            "before anything is released."
        )
    return status(done, warn=warn)


if __name__ == "__main__":
    sys.exit(main())
