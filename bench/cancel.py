"""How long a cancel takes while every environment of the stream function is busy.

    python -m bench.cancel [--instances 1] [--streams 8] [--rounds 40]

Deploys the scripted engine into a local cloud of its own, and keeps `--streams` answers running,
which is all that the stream function may run. Each round cancels one of them by its id and begins
another. Three times are measured from the sending of the cancel: until the call is answered, until
the answer's own stream has ended, and until the containers run one request less. Half of the
answers are logged. Writes bench/results/cancel-<instances>.json.
"""

import argparse
import json
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import httpx

from cli.lib import cdk, local_keys
from local.cloud import LocalCloud

_RATE, _TOKENS = 20, 9_000
_WARM = 3
"""Cancels before those that count."""
_POLL = 0.01


class Answer:
    """A running answer, read by a thread to its end."""

    def __init__(self, client: httpx.Client, number: int) -> None:
        """Ask, and wait for the first token. Every second answer is logged."""
        self.id = ""
        self.ended = threading.Event()
        self.ended_at = 0.0
        self._begun = threading.Event()
        self._client = client
        self._body = {
            "model": "scripted",
            "stream": True,
            "max_tokens": _TOKENS,
            "sluice": {"durable": number % 2 == 0},
            "messages": [
                {"role": "user", "content": json.dumps({"count": _TOKENS, "rate": _RATE})}
            ],
        }
        threading.Thread(target=self._read, daemon=True).start()
        if not self._begun.wait(60):
            raise TimeoutError("an answer did not begin")

    def _read(self) -> None:
        while not self._read_once():  # the environment of the answer before it may not be free yet
            time.sleep(_POLL)

    def _read_once(self) -> bool:
        with self._client.stream("POST", "/v1/chat/completions", json=self._body) as response:
            if response.status_code == 429:
                return False
            self.id = response.headers["x-request-id"].removeprefix("req_")
            for line in response.iter_lines():
                if line.startswith("data:"):
                    self._begun.set()
        self.ended_at = time.monotonic()
        self.ended.set()
        return True


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="The time that a cancel takes.")
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            found = measured(cloud, Path(folder), args.instances, args.streams, args.rounds)
        finally:
            cloud.stop()
    path = Path(f"bench/results/cancel-{args.instances}.json")
    path.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def measured(
    cloud: LocalCloud, folder: Path, instances: int, streams: int, rounds: int
) -> dict[str, Any]:
    """Deploy, measure, and return the figures in milliseconds."""
    aws = cloud.aws_environment()
    target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
    log = folder / "deploy.log"
    cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=log, detail=lambda _: None)
    settings = {
        "stage": "local",
        "name": "cancel",
        "engine": "scripted",
        "model_name": "scripted",
        "context_tokens": "16384",
        "instance_count": str(instances),
        "reserved_concurrency": str(streams),
        "recall_concurrency": "4",
    }
    outputs = cdk.deploy(
        context=settings, aws=aws, outputs=folder / "out.json", log=log, detail=lambda _: None
    )
    table = boto3.resource(
        "dynamodb",
        endpoint_url=cloud.endpoint_url,
        region_name=aws["AWS_REGION"],
        aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
    ).Table(outputs["UsageTableName"])
    headers = {"authorization": f"Bearer {local_keys.create(table, name='bench')}"}
    with httpx.Client(
        base_url=f"http://{outputs['DistributionDomain']}", headers=headers, timeout=120
    ) as client:
        containers = Containers(cloud)
        answers = [Answer(client, number) for number in range(streams)]
        times: dict[str, list[float]] = {"answered": [], "stream_ended": [], "container_free": []}
        for number in range(-_WARM, rounds):
            row = cancelled(containers, client, answers.pop(0), streams)
            if number >= 0:
                for name, seconds in row.items():
                    times[name].append(seconds * 1000)
            answers.append(Answer(client, number))
        for answer in answers:
            client.post(f"/v1/sluice/streams/{answer.id}/cancel")
            answer.ended.wait(60)
    return {
        "instances": instances,
        "streams": streams,
        "cancels": rounds,
        **{
            name: {"p50": round(statistics.median(found)), "p95": round(_p95(found))}
            for name, found in times.items()
        },
    }


def cancelled(
    containers: "Containers", client: httpx.Client, answer: Answer, streams: int
) -> dict[str, float]:
    """Cancel an answer, and return the three times in seconds."""
    if (found := containers.running()) != streams:
        raise RuntimeError(f"{found} of {streams} answers run")
    began = time.monotonic()
    response = client.post(f"/v1/sluice/streams/{answer.id}/cancel")
    answered = time.monotonic() - began
    response.raise_for_status()
    while containers.running() >= streams:
        time.sleep(_POLL)
    free = time.monotonic() - began
    if not answer.ended.wait(60):
        raise TimeoutError("a cancelled answer did not end")
    return {
        "answered": answered,
        "stream_ended": answer.ended_at - began,
        "container_free": free,
    }


class Containers:
    """The containers of a local cloud that is not changed any more.

    Their addresses are asked for once, and their connections are kept: what measures a cancel must
    not take longer than the cancel.
    """

    def __init__(self, cloud: LocalCloud) -> None:
        """Ask for their addresses."""
        self._clients = [
            httpx.Client(
                base_url=f"http://127.0.0.1:{container['port']}", headers=container["headers"]
            )
            for endpoint in cloud.ask("status")["endpoints"]
            for container in endpoint["containers"]
        ]

    def running(self) -> int:
        """Return the number of requests that the containers run, by their own metric."""
        total = 0
        for client in self._clients:
            text = client.get("/metrics").text
            found = re.search(r"^sluice_requests_running (\S+)$", text, re.MULTILINE)
            total += int(float(found[1])) if found else 0
        return total


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


if __name__ == "__main__":
    raise SystemExit(main())
