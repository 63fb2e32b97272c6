"""The probes of `sluice check`, against a server that breaks its rules."""

from cli.commands.check.probes import Target
from cli.commands.check.report import run
from cli.commands.check.wire import Server


def test_every_carelessness_is_named(careless: str) -> None:
    """Every rule that a server breaks is reported, with what was seen."""
    findings = {
        finding.rule: finding
        for finding in run(
            Target(Server(careless, "k"), "m", failing_prompt="x", silent_prompt="x")
        )
    }
    for rule, words in {
        "errors: a wrong key": "status 200",
        "errors: a body that is not JSON": "status 422",
        "whole: types and usage": "created",
        "whole: request id": "no x-request-id",
        "stream: content type": "text/plain",
        "stream: framing": "'event:'",
        "stream: order": "[DONE]",
        "stream: types": "created",
        "stream: usage when requested": "no usage",
        "tools: a required call": "no tool",
        "structure: a JSON schema": "not JSON",
        "failure: an answer that breaks off says so": "clients take it for complete",
    }.items():
        assert findings[rule].verdict == "wrong", findings[rule]
        assert words in findings[rule].seen
    assert findings["models: listed"].verdict == "ok"
