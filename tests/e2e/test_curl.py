"""curl: the bytes on the wire, and the exit status after an answer that broke off."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.cloud import LocalCloud
from tests.e2e.test_streaming import script
from tests.support.deployments import Deployment
from tests.support.faults import fault, listed

pytestmark = pytest.mark.e2e


def curl(
    deployment: Deployment, body: dict[str, Any] | None, *options: str
) -> subprocess.CompletedProcess[str]:
    """Send a chat request with curl. Without a body, `options` have it."""
    command = [
        "curl",
        "-sN",
        f"{deployment.origin}/v1/chat/completions",
        "-H",
        "content-type: application/json",
    ]
    key = f"authorization: Bearer {deployment.key}"
    data = () if body is None else ("-d", json.dumps({"model": deployment.model, **body}))
    return subprocess.run(
        [*command, "-H", key, *options, *data], capture_output=True, text=True, timeout=300
    )


def test_a_stream(scripted: Deployment) -> None:
    """A stream has only `data:` lines and blank lines, with `[DONE]` at the end."""
    answer = curl(scripted, {"messages": script(say=["one", " two"]), "stream": True})
    assert answer.returncode == 0
    *blocks, done, rest = answer.stdout.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    deltas = [json.loads(block.removeprefix("data: "))["choices"][0]["delta"] for block in blocks]
    assert deltas == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "one"},
        {"content": " two"},
        {},
    ]


def test_bare_text(scripted: Deployment) -> None:
    """`Accept: text/plain` gives the bare text.

    If the model failed, it ends in the trailer line.
    """
    accept = ("-H", "accept: text/plain")
    assert (
        curl(scripted, {"messages": script(say=["one", " two\n"])}, *accept).stdout == "one two\n"
    )
    failed = curl(
        scripted, {"messages": script(repeat=" x", count=9, fail_after=3, rate=50)}, *accept
    )
    text, _, trailer = failed.stdout.partition("\n\x1e")
    assert text == " x x x"
    assert json.loads(trailer)["error"]["code"] == "upstream_error"


def test_buffered_lines(scripted: Deployment) -> None:
    """With a header for it, the text arrives in whole lines."""
    said = {"messages": script(say=["on", "e\ntw", "o\n", "three"], rate=50), "stream": True}
    answer = curl(scripted, said, "-H", "x-sluice-buffer: line")
    blocks = [block.removeprefix("data: ") for block in answer.stdout.split("\n\n")[1:-3]]
    assert [json.loads(block)["choices"][0]["delta"]["content"] for block in blocks] == [
        "one\n",
        "two\n",
        "three",
    ]


def test_failure_before_the_first_token(scripted: Deployment) -> None:
    """A failure before the first token has its own status, a request id and a duration."""
    answer = curl(scripted, {"messages": script(count=3, fail_after=0), "stream": True}, "-i")
    head, _, body = answer.stdout.partition("\n\n")
    assert " 502" in head.splitlines()[0]
    assert {"x-request-id", "openai-processing-ms"} <= {
        line.partition(":")[0].lower() for line in head.splitlines()
    }
    assert json.loads(body)["error"]["code"] == "upstream_error"


def test_a_whole_answer_that_fails_late(cloud: LocalCloud, scripted: Deployment) -> None:
    """It never looks whole, even if the function URL ends it cleanly. It has the error's code."""
    late = {"messages": script(count=3, first_after=13, fail_after=1)}
    with fault(cloud, scope="scripted*", kind="function-error-hidden") as fault_id:
        answer = curl(scripted, late)
        assert listed(cloud, fault_id)["landed"] == 1
    assert answer.returncode == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.stdout)
    assert '"code":"upstream_error"' in answer.stdout


def test_broken_connection(cloud: LocalCloud, scripted: Deployment) -> None:
    """If a function is killed in its answer, curl fails. It does not see a short success."""
    with fault(cloud, scope="scripted*", kind="function-killed-in-response", after=900):
        answer = curl(
            scripted, {"messages": script(repeat=" x", count=30, rate=100), "stream": True}
        )
    assert answer.returncode != 0
    assert "[DONE]" not in answer.stdout


@pytest.mark.parametrize(("coding", "status"), [("gzip", "200"), ("br", "415"), ("deflate", "400")])
def test_a_compressed_body(scripted: Deployment, tmp_path: Path, coding: str, status: str) -> None:
    """A compressed body passes the edge and the function URL as it is. The function decodes it."""
    file = tmp_path / "body.gz"
    body = {"model": scripted.model, "messages": script(say=["one"])}
    file.write_bytes(gzip.compress(json.dumps(body).encode()))
    given = ("-w", "%{http_code}", "-H", f"content-encoding: {coding}", "--data-binary", f"@{file}")
    answer = curl(scripted, None, *given)
    assert answer.stdout.endswith(status)
    found = json.loads(answer.stdout.removesuffix(status))
    assert ("choices" in found) == (status == "200")
