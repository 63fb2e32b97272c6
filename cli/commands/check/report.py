"""Runs the probes and says what they found, for people or for programs."""

import dataclasses
import json
import os
import sys

from cli.commands.check.probes import PROBES, Finding, Target
from cli.commands.check.wire import NoAnswer, Server
from cli.lib.project import CommandError
from cli.lib.terminal import console, literal

_SIGNS = {"ok": "[green]✓[/green]", "wrong": "[red]✗[/red]", "unknown": "[yellow]?[/yellow]"}


def check(
    url: str,
    *,
    key: str | None = None,
    model: str | None = None,
    as_json: bool = False,
    failing_prompt: str | None = None,
    silent_prompt: str | None = None,
) -> None:
    """Check the API at `url`, the address that clients have as their base URL.

    Raises:
        CommandError: a rule does not hold, or there is no API there.

    """
    server = Server(url.rstrip("/"), key or os.environ.get("OPENAI_API_KEY", ""))
    try:
        target = Target(server, model or _first_model(server), failing_prompt, silent_prompt)
        findings = run(target)
    except NoAnswer as error:
        raise CommandError(f"{url}: {error}") from None
    wrong = [one for one in findings if one.verdict == "wrong"]
    if as_json:
        told = {"url": url, "model": target.model, "findings": [dataclasses.asdict(one) for one in findings]}
        sys.stdout.write(json.dumps({**told, "conforms": not wrong}, indent=2) + "\n")
    else:
        for one in findings:
            console.print(_SIGNS[one.verdict], one.rule, f"[dim]{literal(one.seen)}[/dim]" if one.seen else "")
    if wrong:
        raise CommandError(f"{len(wrong)} of {len(findings)} rules do not hold")


def run(target: Target) -> list[Finding]:
    """Run all probes; one that cannot be run at all is a finding too."""
    findings: list[Finding] = []
    for probe in PROBES:
        try:
            findings.extend(probe(target))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            findings.append(Finding(f"{probe.__name__}: can be read", "wrong", f"{type(error).__name__}: {error}"))
    return findings


def _first_model(server: Server) -> str:
    answer = server.send("GET", "/models")
    try:
        return str(answer.json()["data"][0]["id"])
    except (TypeError, KeyError, IndexError, ValueError):
        said = f"answers {answer.status}" if answer.status != 200 else "names no model"
        raise CommandError(f"{server.base}/models {said}; give --model, and a --key that is good there") from None
