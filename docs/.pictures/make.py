"""Draws the pictures of the documentation from a running local cloud: `make pictures`.

    dashboard.svg    the deployment's dashboard, with the metrics of the local cloud
    top.svg          `sluice top`
    trace.svg        `sluice trace` of one request
    load.png         the HTML report of `sluice load`, in Chromium
    load-test.txt    what that run printed, in build/

It takes some two minutes. The local cloud must have been started as `START` says.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3
import httpx
from dashboard import picture
from rich.console import Console, Group
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from cli.commands.top.live import Source, tables
from cli.commands.trace import drawn, find
from cli.lib.project import LOCAL, ROOT
from cli.lib.stack import LocalStack, aws_options
from tests.support.chromium import INSTALL, NAME, page

ASSETS = Path(__file__).parents[1] / "assets"
BUILD = ROOT / "build"
LIGHT = TerminalTheme(
    (255, 255, 255),
    (26, 28, 31),
    [(26, 28, 31), (185, 28, 28), (47, 143, 87), (161, 98, 7), (29, 78, 216), (157, 23, 77),
     (15, 118, 110), (102, 106, 119)],
    [(102, 106, 119), (220, 38, 38), (21, 128, 61), (202, 138, 4), (37, 99, 235), (190, 24, 93),
     (13, 148, 136), (26, 28, 31)],
)  # fmt: skip
START = (
    "sluice up -c engine=scripted -c traces=cloudwatch -c prompt_price=0.5 -c completion_price=1.5"
)
_SPANS_S = 30
"""Seconds after an answer in which its spans must come."""
FAULTS = (
    "fault set stream-cut --after 300-3000 --probability 0.08 --seed 2 --containing messages",
    "fault set container-error --probability 0.05 --seed 4 --containing messages",
)
_WIDTH, _HEIGHT = 780, 1280


def terminal_picture(title: str, *parts: Any, width: int = 80) -> str:
    """Return what a terminal of this width shows, as a light SVG."""
    console = Console(record=True, width=width, file=io.StringIO(), highlight=False)
    for part in parts:
        console.print(part)
    svg = console.export_svg(title=title, theme=LIGHT)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # fonts of another host


def sluice(line: str) -> str:
    """Run a command in a terminal of 80 columns, whatever its status, and return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *shlex.split(line)],
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def loaded(rate: str, duration: str, report: Path) -> str:
    """Run `sluice load` under faults, and return what it prints."""
    try:
        for fault in FAULTS:
            sluice(fault)
        return sluice(
            f"load --rate {rate} --duration {duration} --seed 7 --good 80% --droppers 5% "
            f"--ttft 2s --itl 100ms --html {report}"
        )
    finally:
        sluice("fault clear")


async def screenshot(report: Path) -> bytes:
    """Return an HTML file as Chromium draws it on a light desktop: a PNG."""
    with tempfile.TemporaryDirectory() as profile:
        async with page(Path(profile), resolve="MAP * ~NOTFOUND") as tab:
            await tab._call(  # noqa: SLF001 (a picture needs two more calls of the protocol)
                "Emulation.setDeviceMetricsOverride",
                width=_WIDTH,
                height=_HEIGHT,
                deviceScaleFactor=1,
                mobile=False,
            )
            await tab._call("Emulation.setScrollbarsHidden", hidden=True)  # noqa: SLF001
            await tab.open(report.as_uri())
            taken = await tab._call("Page.captureScreenshot", format="png")  # noqa: SLF001
    return base64.b64decode(taken["data"])


def traced(stack: LocalStack) -> str:
    """Stream an answer whose trace is sampled, and return the lines of its drawing."""
    reply = httpx.post(
        f"{stack.base_url}/chat/completions",
        headers={
            "authorization": f"Bearer {stack.api_key}",
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        },
        json={
            "model": stack.model,
            "stream": True,
            "max_tokens": 40,
            "messages": [{"role": "user", "content": '{"repeat": " word", "count": 40}'}],
        },
        timeout=60,
    )
    name = reply.headers["x-request-id"].removeprefix("req_")
    logs = boto3.client("logs", **aws_options("local"))
    spans: list[dict[str, Any]] = []
    ends = time.monotonic() + _SPANS_S
    while not spans:
        if time.monotonic() > ends:
            raise SystemExit(f"The local cloud keeps no traces. Start it with: {START}")
        time.sleep(0.5)
        try:
            spans = find(logs, name, since=600)
        except logs.exceptions.ResourceNotFoundException:
            continue
    return "\n".join(drawn(spans))


def various(stack: LocalStack) -> None:
    """Send what a load test does not: requests that are rejected, and answers that are kept."""
    body = {
        "model": stack.model,
        "stream": True,
        "max_tokens": 20,
        "messages": [{"role": "user", "content": '{"repeat": " word", "count": 20}'}],
    }
    with httpx.Client(base_url=stack.base_url, timeout=60) as client:

        def post(key: str, **more: Any) -> httpx.Response:
            headers = {"authorization": f"Bearer {key}", **more.pop("headers", {})}
            return client.post("/chat/completions", json={**body, **more}, headers=headers)

        post(f"{stack.api_key[:-1]}A")
        post(stack.api_key, model="no-such-model")
        for number in range(4):
            for _ in range(2):
                reply = post(
                    stack.api_key, headers={"idempotency-key": f"{time.time():.0f}{number}"}
                )
            client.get(
                f"/sluice/streams/{reply.headers['x-sluice-stream']}",
                headers={"authorization": f"Bearer {stack.api_key}"},
            )


def run(rate: str, duration: str) -> None:
    """Make all pictures."""
    if shutil.which(NAME) is None:
        raise SystemExit(INSTALL)
    BUILD.mkdir(exist_ok=True)
    stack = LocalStack.saved()
    if stack is None:
        raise SystemExit(f"There is no local cloud in {LOCAL}. Start one with: {START}")
    trace = terminal_picture("sluice trace", Text.from_markup(traced(stack)), width=92)
    (ASSETS / "trace.svg").write_text(trace)
    print(f"Loading the local stack for {duration}.")
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "load.html"
        said = loaded(rate, duration, report)
        lines = said.splitlines()
        first = next(place for place, line in enumerate(lines) if " requests sent " in line)
        (BUILD / "load-test.txt").write_text("\n".join(lines[first:]) + "\n")
        (ASSETS / "load.png").write_bytes(asyncio.run(screenshot(report)))
    various(stack)
    figures = Source.of("local", "sluice", 300).figures()
    shown = Group(*(part for table in tables(figures) for part in (table, "")))
    (ASSETS / "top.svg").write_text(terminal_picture("sluice top", shown, width=72))
    cloudwatch = boto3.client("cloudwatch", **aws_options("local"))
    body = json.loads(cloudwatch.get_dashboard(DashboardName="sluice-local")["DashboardBody"])
    (ASSETS / "dashboard.svg").write_text(
        picture(body, cloudwatch, since=began - 30, until=time.time() + 10)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", default="2")
    parser.add_argument("--duration", default="60s")
    given = parser.parse_args()
    run(given.rate, given.duration)
