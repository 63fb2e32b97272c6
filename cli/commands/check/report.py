"""Run the probes and print what they found, for people or for programs."""

import dataclasses
import os

from cli.commands.check.base_url import model_of
from cli.commands.check.probes import PROBES, Finding, Target
from cli.commands.check.wire import NoResponse, Server
from cli.commands.load.connection import Address
from cli.lib.project import CommandError
from cli.lib.terminal import item, literal, print_json

_SIGNS = {"ok": "[green]✓[/green]", "wrong": "[red]✗[/red]", "unknown": "[yellow]?[/yellow]"}


def check(
    url: str,
    *,
    key: str | None = None,
    authority: str | None = None,
    model: str | None = None,
    as_json: bool = False,
    failing_prompt: str | None = None,
    silent_prompt: str | None = None,
) -> None:
    """Check the API at `url`, the base URL that clients use.

    `authority` is the file of the only certificate authority to trust; None for the usual ones.

    Raises:
        UsageError: this is no http or https URL, or no base URL.
        CommandError: a rule does not hold, or there is no API there.

    """
    Address.of(url)
    key = key or os.environ.get("OPENAI_API_KEY", "")
    server = Server(url.rstrip("/"), key, authority=authority)
    try:
        target = Target(server, model_of(server, model), failing_prompt, silent_prompt)
        findings = run(target)
    except NoResponse as error:
        raise CommandError(f"{url}: {error}") from None
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        print_json({"url": url, "model": target.model, "findings": listed, "conforms": not wrong})
    else:
        for finding in findings:
            item(
                _SIGNS[finding.verdict],
                f"{finding.rule} [dim]({literal(finding.seen)})[/dim]"
                if finding.seen
                else finding.rule,
            )
    if wrong:
        raise CommandError(f"{len(wrong)} of {len(findings)} rules do not hold")


def run(target: Target) -> list[Finding]:
    """Run all probes and return their findings. A probe that raises is a finding, too."""
    findings: list[Finding] = []
    for probe in PROBES:
        try:
            findings.extend(probe(target))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            findings.append(
                Finding(
                    f"{probe.__name__}: can be read", "wrong", f"{type(error).__name__}: {error}"
                )
            )
    return findings
