"""Keys, budgets and usage, through the commands that a user runs.

A key with a budget is created, spent, reported, raised, rotated and reconciled.
"""

import json
import re
from collections.abc import Callable

import httpx
import openai
import pytest

import cli.commands.responses
import cli.commands.usage
import cli.lib.admin_api
import cli.lib.stack
from cli.main import main
from local.cloud import LocalCloud
from tests.e2e.test_refusals import check
from tests.e2e.test_streaming import settled
from tests.support.deployments import SCRIPTED_MODEL, Deployment, options

pytestmark = pytest.mark.e2e

Run = Callable[..., str]


@pytest.fixture
def run(
    cloud: LocalCloud,
    scripted: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Run a `sluice` command for this deployment. Return what it prints.

    Its exit status must be the expected one.
    """
    for module in (cli.lib.admin_api, cli.lib.stack, cli.commands.responses, cli.commands.usage):
        monkeypatch.setattr(module, "aws_options", lambda _stage: options(cloud))

    def command(*arguments: str, status: int = 0) -> str:
        capfd.readouterr()
        found = main([*arguments, "--stack-name", scripted.name])
        printed = capfd.readouterr()
        assert found == status, printed
        return printed.out if status == 0 else printed.err

    return command


def client(deployment: Deployment, key: str) -> openai.OpenAI:
    """Return the stock client with a key."""
    return openai.OpenAI(base_url=f"{deployment.origin}/v1", api_key=key, max_retries=0, timeout=60)


def ask(deployment: Deployment, key: str, tokens: int) -> str:
    """Request this number of tokens. Return the completion's id, once its usage is booked."""
    content = json.dumps({"repeat": " x", "count": tokens, "prompt_tokens": 10})
    with client(deployment, key) as openai_client:
        answer = openai_client.chat.completions.create(
            model=SCRIPTED_MODEL, messages=[{"role": "user", "content": content}], max_tokens=tokens
        )
    settled(deployment, answer.id, key)
    return answer.id


def test_a_budget_is_spent_raised_and_accounted_for(scripted: Deployment, run: Run) -> None:
    """A key's budget, from its creation to its end.

    The admin makes a key with a budget. Its holder spends it and is rejected, and usage shows what
    was spent. After it is raised, the key works again. After a rotation both secrets work, after a
    deletion none. All records agree.
    """
    key = run(
        "keys", "create", "--name", "story", "--owner", "e2e", "--tokens-per-day", "3k"
    ).strip()
    key_id = key[3:15]
    first = ask(scripted, key, 500)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(scripted, key, 3000)
    assert refused.value.code == "insufficient_quota"

    own = httpx.get(
        f"{scripted.origin}/v1/usage", headers={"authorization": f"Bearer {key}"}
    ).json()
    assert (own["limits"]["tokens_per_day"]["spent"], own["totals"]["completion_tokens"]) == (
        510,
        500,
    )
    rows = json.loads(run("usage", "--by", "key,model", "--key", key_id, "--json"))
    assert [
        (row["key"], row["model"], row["completion_tokens"], row["outcomes"]) for row in rows
    ] == [(key_id, SCRIPTED_MODEL, 500, {"complete": 1, "refused": 1})]
    assert (
        run("usage", "--by", "key", "--key", key_id, "--csv")
        .splitlines()[1]
        .startswith(f"{key_id},1,1,10,500,")
    )
    assert "story" in run("usage", "--by", "key")
    entry = json.loads(run("usage", "request", first, "--json"))
    assert (entry["key"], entry["outcome"], entry["completion_tokens"]) == (key_id, "complete", 500)

    assert "510" in run("keys", "show", key_id)
    assert "20,000 tokens per day" in run("keys", "update", key_id, "--tokens-per-day", "20k")
    ask(scripted, key, 600)
    rotated = run("keys", "rotate", key_id, "--grace", "1h").strip()
    for secret in (key, rotated):
        ask(scripted, secret, 1)
    run("keys", "disable", key_id)
    with pytest.raises(openai.PermissionDeniedError):
        ask(scripted, rotated, 1)
    run("keys", "enable", key_id)
    assert "--yes" in run("keys", "delete", key_id, status=1)
    run("keys", "delete", key_id, "--yes")
    for secret in (key, rotated):
        with pytest.raises(openai.AuthenticationError):
            ask(scripted, secret, 1)
    assert "There is no such key" in run("keys", "show", key_id, status=1)
    assert key_id not in run("keys", "list", "--iam")

    report = json.loads(run("usage", "reconcile", "--json"))
    [mine] = [one for one in report["keys"] if one["key"] == key_id]
    assert mine["account"] == mine["ledger"] == mine["rollups"]
    assert mine["account"]["completion_tokens"] == 1102


def test_an_export_has_what_was_asked_and_said(scripted: Deployment, run: Run) -> None:
    """An operator exports answers and conversations, read from the table by own credentials."""
    key = run("keys", "create", "--name", "export").strip()
    question = json.dumps({"say": ["An ", "answer."]})
    with client(scripted, key) as openai_client:
        conversation = openai_client.conversations.create(
            items=[{"role": "user", "content": "Before"}]
        )
        response = openai_client.responses.create(
            model=SCRIPTED_MODEL, input=question, conversation=conversation.id
        )
    lines = run("responses", "export", "--key", key[3:15]).splitlines()
    answer, kept = [json.loads(line) for line in lines]
    assert (response.id.endswith(answer["id"]), answer["status"]) == (True, "completed")
    assert [item["content"][0]["text"] for item in answer["input"]] == [question]
    assert [choice["content"] for choice in answer["output"]] == ["An answer."]
    texts = [item["content"][0]["text"] for item in kept["items"]]
    assert texts == ["Before", question, "An answer."]


def test_a_key_is_good_in_its_networks_only(scripted: Deployment, run: Run) -> None:
    """A key works inside its networks and is rejected outside.

    The X-Forwarded-For that a client sends makes no difference.
    """
    key = run("keys", "create", "--name", "office", "--network", "203.0.113.0/24").strip()
    url, headers = f"{scripted.origin}/v1/models", {"authorization": f"Bearer {key}"}
    for spoofed in ("203.0.113.7", "203.0.113.7, 203.0.113.8", "203.0.113.7, 130.176.0.1"):
        check(
            httpx.get(url, headers={**headers, "x-forwarded-for": spoofed}),
            403,
            "network_not_allowed",
        )
    with pytest.raises(openai.PermissionDeniedError):
        ask(scripted, key, 1)
    printed = run("keys", "update", key, "--network", "127.0.0.0/8", "--network", "::1")
    assert "127.0.0.0/8, ::1/128" in printed
    assert httpx.get(url, headers={**headers, "x-forwarded-for": "198.51.100.1"}).status_code == 200
    ask(scripted, key, 1)
    assert "everywhere" in run("keys", "update", key, "--network", "none")


def test_a_key_that_was_found_is_revoked(
    scripted: Deployment, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    """`keys revoke` takes a whole key and never prints it.

    Running requests are cancelled, and the audit trail has the change.
    """
    key = run("keys", "create", "--name", "leaked").strip()
    script = json.dumps({"repeat": " x", "count": 3000, "rate": 50, "prompt_tokens": 10})
    with client(scripted, key) as openai_client:
        chunks = openai_client.chat.completions.create(
            model=SCRIPTED_MODEL,
            messages=[{"role": "user", "content": script}],
            max_tokens=3000,
            stream=True,
        )
        next(chunks)
        printed = run("keys", "revoke", key)
        assert "1 running" in printed
        assert key[16:] not in printed
        with pytest.raises(openai.APIError) as ended:
            list(chunks)
    assert ended.value.code == "cancelled"
    with pytest.raises(openai.AuthenticationError):
        ask(scripted, key, 1)
    assert "revoked" in run("keys", "list")
    trail = json.loads(run("audit", "--key", key, "--json"))
    assert [it["action"] for it in trail] == ["revokeKey", "createKey"]
    assert trail[0]["after"] == {"enabled": False, "status": "revoked", "cancelled": 1}
    assert "revokeKey" in run("audit", "--key", key[3:15], "--right", "audit")
    assert "right" in run("keys", "list", "--right", "audit", status=1)
    assert run("audit", "--key", key, "--csv").startswith("at,action,key,actor")


def test_reconcile_fails_on_any_difference(scripted: Deployment, run: Run) -> None:
    """`usage reconcile` names a forged figure and exits with 1. After a repair it exits with 0."""
    key_id = run("keys", "create", "--name", "forged").strip()[3:15]
    change = {
        "Key": {"pk": f"KEY#{key_id}", "sk": "ACCOUNT"},
        "UpdateExpression": "ADD prompt_tokens :n",
    }
    scripted.table.update_item(**change, ExpressionAttributeValues={":n": 1})
    assert f"{key_id} prompt_tokens" in run("usage", "reconcile", status=1)
    scripted.table.update_item(**change, ExpressionAttributeValues={":n": -1})
    assert "agree" in run("usage", "reconcile")


def test_replay_reads_the_functions_log(run: Run) -> None:
    """Without a file, `usage replay` reads the stream function's log group.

    All that other tests left unsaved is known already after the first time.
    """
    run("usage", "replay", "--since", "1h")
    again = run("usage", "replay", "--since", "1h")
    assert re.match(r"(\d+) unsaved: 0 settled, 0 corrected, \1 settled already", again), again


def test_keys_that_are_none(scripted: Deployment) -> None:
    """Malformed, over-long and unknown keys get the same answer.

    A key in a path or in place of the admin secret does not count.
    """
    unknown = "sk-" + "a" * 12 + "-" + "b" * 43
    for wrong in ("sk-", "sk-x", unknown, unknown + "b", "x" * 5000, "sk-" + "é" * 12):
        for path in ("models", "usage"):
            bearer = [(b"authorization", f"Bearer {wrong}".encode())]
            check(httpx.get(f"{scripted.origin}/v1/{path}", headers=bearer), 401, "invalid_api_key")
    headers = {"authorization": f"Bearer {scripted.key}"}
    check(
        httpx.get(f"{scripted.origin}/admin/v1/keys", headers=headers), 401, "invalid_admin_secret"
    )
    check(httpx.get(f"{scripted.origin}/v1/usage?key={scripted.key}", headers=headers), 400, None)
    check(httpx.post(f"{scripted.origin}/v1/usage", headers=headers), 405, "method_not_allowed")
