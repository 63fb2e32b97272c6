"""A request that the function leaves ends in the container, on either of two instances."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from local.cloud import LocalCloud
from tests.e2e.test_streaming import script, settled
from tests.support.deployments import SCRIPTED_MODEL, Deployment, deployed
from tests.support.faults import fault

pytestmark = pytest.mark.e2e
# An answer of this length takes five minutes, so it does not end during the test.
COUNT, RATE = 15_000, 50


@pytest.fixture(scope="module")
def twins(cloud: LocalCloud) -> Deployment:
    """Deploy an endpoint of two instances of the scripted engine."""
    settings = {
        "engine": "scripted",
        "model_name": SCRIPTED_MODEL,
        "instance_count": "2",
        "context_tokens": "16384",
        "reserved_concurrency": "32",
        "recall_concurrency": "8",
    }
    return deployed(cloud, "twins", settings)


def running(cloud: LocalCloud, deployment: Deployment) -> list[int]:
    """Return the number of running requests of each instance, by its own metric."""
    endpoints = cloud.ask("status")["endpoints"]
    owned = [one for one in endpoints if one["name"].startswith(deployment.name)]
    counts = []
    for container in (it for endpoint in owned for it in endpoint["containers"]):
        metrics = httpx.get(
            f"http://127.0.0.1:{container['port']}/metrics", headers=container["headers"]
        ).text
        found = re.search(r"^sluice_requests_running (\S+)$", metrics, re.MULTILINE)
        assert found is not None
        counts.append(int(float(found[1])))
    return counts


def begin(deployment: Deployment) -> Any:
    """Begin a long answer and read its first chunk. Return the stream."""
    chunks = deployment.client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=script(count=COUNT, rate=RATE), stream=True, max_tokens=COUNT
    )
    next(chunks)
    return chunks


def cut(cloud: LocalCloud, deployment: Deployment) -> str:
    """Break an answer's connection without telling the container. Return the request's id."""
    with fault(cloud, kind="stream-left", scope="twins*", containing="messages", after=2000):
        answer = begin(deployment)
        with pytest.raises(openai.APIError, match="truncated"):
            list(answer)
    request_id: str = answer.response.headers["x-request-id"]
    return request_id.removeprefix("req_")


def test_what_the_function_leaves_ends_in_the_container(
    cloud: LocalCloud, twins: Deployment
) -> None:
    """A request that the function leaves ends in the container within seconds.

    It does so if the other instance, which SageMaker then prefers, is idle, and if it is as busy.
    Requests of other callers go on.
    """
    request_id = cut(cloud, twins)
    until(lambda: running(cloud, twins) == [0, 0])
    assert settled(twins, request_id)["outcome"] == "cut"
    until(lambda: bool(said(cloud, request_id)))
    [line] = said(cloud, request_id)
    assert line["cancelled"]
    assert line["tries"] > 1

    other = begin(twins)
    assert sorted(running(cloud, twins)) == [0, 1]
    cut(cloud, twins)
    until(lambda: sum(running(cloud, twins)) == 1)
    assert next(other).choices[0].delta.content
    other.close()


def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds, for a fraction of the time that an answer takes."""
    ends = time.monotonic() + COUNT / RATE / 5
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def said(cloud: LocalCloud, request_id: str) -> list[dict[str, Any]]:
    """Return the function's log entries about a request's cancel."""
    files = (cloud.directory / "logs").glob("function-twins*.log")
    lines = [
        line
        for file in files
        for line in file.read_text().splitlines()
        if '"event":"cancel"' in line
    ]
    return [json.loads(line[line.index("{") :]) for line in lines if request_id in line]
