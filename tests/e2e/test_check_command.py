"""Our deployment passes `sluice check`, over the whole local cloud."""

import json

import pytest

from cli.commands.check.probes import Target
from cli.commands.check.report import run
from cli.commands.check.wire import Server
from tests.support.deployments import Deployment

pytestmark = pytest.mark.e2e


def test_the_demo_model_conforms(demo: Deployment) -> None:
    """Every rule holds. Chunks are not buffered on the way. Tools and structured answers work."""
    findings = run(Target(Server(f"{demo.origin}/v1", demo.key), demo.model))
    assert [one for one in findings if one.verdict == "wrong"] == []
    unknown = {one.rule.partition(":")[0] for one in findings if one.verdict == "unknown"}
    assert unknown == {"failure", "heartbeat"}, (
        "those need a model that can be told to fail and to be silent"
    )


def test_failures_and_silence_conform(scripted: Deployment) -> None:
    """An answer that breaks off ends in an error. Heartbeats fill a silence of 20 s.

    Clients ignore the heartbeats.
    """
    failing = json.dumps({"count": 9, "fail_after": 3, "rate": 50})
    silent = json.dumps({"say": ["late"], "first_after": 17})
    found = {
        one.rule: one
        for one in run(
            Target(Server(f"{scripted.origin}/v1", scripted.key), scripted.model, failing, silent)
        )
    }
    assert found["failure: an answer that breaks off says so"].verdict == "ok"
    assert found["heartbeat: no silence over 15 s"].verdict == "ok"
