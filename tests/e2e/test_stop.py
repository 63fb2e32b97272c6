"""`sluice stop` over the local cloud: what it refuses, what it cancels, and what is noted of it."""

import json
import threading

import openai
import pytest

from cli.commands import stop
from cli.commands.verify.target import Target
from cli.main import main
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, forget_open
from tests.support.verified import target_of

pytestmark = pytest.mark.e2e


def gaps(target: Target) -> dict[tuple[str, str], int]:
    """Return by how much accounts, ledger and rollups differ, by key and figure."""
    return {
        (it["key"], it["field"]): max(it["values"]) - min(it["values"])
        for it in target.admin("POST", "/reconcile")["differences"]
    }


def test_everything_stops_and_serves_again(
    cloud: LocalCloud,
    scripted: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stream that runs is cancelled and settled, new requests get a clear 503, then all serve."""
    target = target_of(cloud, scripted)
    target.key = scripted.key
    forget_open(scripted)
    # Other tests share the deployment, and may have left differences on purpose.
    left = gaps(target)
    monkeypatch.setattr(stop, "admin", lambda *_: target.admin)
    held = json.dumps({"say": ["begun"], "stall_after": 1, "seconds": 120})
    begun = threading.Event()
    ends: list[object] = []

    def stream() -> None:
        try:
            for chunk in scripted.client.chat.completions.create(
                model=scripted.model, messages=[{"role": "user", "content": held}], stream=True
            ):
                if chunk.choices and chunk.choices[0].delta.content:
                    begun.set()
                if chunk.choices and chunk.choices[0].finish_reason:
                    ends.append(chunk.choices[0].finish_reason)
        except openai.APIError as error:
            ends.append(error)

    client = threading.Thread(target=stream, daemon=True)
    client.start()
    assert begun.wait(60)
    try:
        assert main(["stop", "--yes", "--reason", "An incident is looked at.", "--json"]) == 0
        state = json.loads(capsys.readouterr().out)
        assert (state["running"], state["reason"]) == (0, "An incident is looked at.")
        client.join(60)
        assert len(ends) == 1
        assert "cancelled" in str(ends[0])
        refused = target.wait(
            lambda: it if (it := target.chat(max_tokens=2)).status == 503 else None
        )
        error = refused.json()["error"]
        assert error["code"] == "service_stopped"
        assert "An incident is looked at." in error["message"]
        assert int(refused.headers["retry-after"]) > 0
    finally:
        assert main(["stop", "--undo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stopped_at"] is None
    assert target.chat(max_tokens=2).status == 200
    noted = {
        (entry["action"], entry["outcome"]) for entry in target.admin.pages("/audit", limit=100)
    }
    assert {("stopService", "done"), ("resumeService", "done")} <= noted
    assert gaps(target) == left
