"""Lighthouse's scores of the playground: performance, accessibility and best practices.

    python -m bench.page [--rounds 3]

Needs a local cloud that runs (`make up`), Debian's Chromium, and npm's registry, from which npx
takes Lighthouse: its 180 MB are for nothing else. Each round loads the page with an empty cache, as
a phone with a slow connection would: once as people meet it, and once with a key. Prints the
medians, and writes them to bench/results/page.json. Where other programs keep the processors busy,
`chrt --rr 1` before the command gives one to the browser.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from cli.commands.playground import link_of, page_of
from cli.lib.project import ROOT
from cli.lib.stack import LocalStack
from tests.support import chromium

_LIGHTHOUSE = "lighthouse@13.5.0"
_CATEGORIES = ("performance", "accessibility", "best-practices")
_METRICS = {
    "first-contentful-paint": "first content, ms",
    "largest-contentful-paint": "largest content, ms",
    "total-blocking-time": "blocked, ms",
    "cumulative-layout-shift": "layout shift",
    "total-byte-weight": "transferred, bytes",
}
_LONGEST_S = 300


def measure(url: str) -> dict[str, Any]:
    """Return the scores of one load, 0 to 100, and what is below 100 by its id."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        command = [
            "npx", "--yes", _LIGHTHOUSE, url, "--quiet", "--output=json",
            f"--output-path={path}", f"--only-categories={','.join(_CATEGORIES)}",
            "--chrome-flags=--headless=new --no-sandbox",
        ]  # fmt: skip
        subprocess.run(
            command,
            env={
                **os.environ,
                "CHROME_PATH": shutil.which(chromium.NAME) or "",
                "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            },
            cwd=folder,
            check=True,
            timeout=_LONGEST_S,
        )
        report = json.loads(path.read_text())
    audits = report["audits"]
    categories = report["categories"]
    return {
        **{name: round(100 * categories[name]["score"]) for name in _CATEGORIES},
        **{label: round(audits[name]["numericValue"], 3) for name, label in _METRICS.items()},
        "failed": sorted(
            ref["id"]
            for name in _CATEGORIES
            for ref in categories[name]["auditRefs"]
            if ref["weight"]
            and (audits[ref["id"]]["score"] or 0) < 0.9
            and audits[ref["id"]]["score"] is not None
        ),
    }


def main() -> None:
    """Measure both pages."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if shutil.which(chromium.NAME) is None:
        raise SystemExit(chromium.INSTALL)
    stack = LocalStack.load()
    results = {}
    for name, url in {"signing in": page_of(stack), "chat": link_of(stack)}.items():
        rounds = [measure(url) for _ in range(args.rounds)]
        results[name] = {
            key: statistics.median(it[key] for it in rounds) for key in rounds[0] if key != "failed"
        } | {"failed": sorted({audit for it in rounds for audit in it["failed"]})}
        print(name, json.dumps(results[name]), flush=True)
    path = ROOT / "bench/results/page.json"
    path.write_text(json.dumps({"rounds": args.rounds, **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
