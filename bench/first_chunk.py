"""The delay of a token from its sampling to the client, through the whole local cloud.

    python -m bench.first_chunk [--requests 100]

The scripted engine puts the time at which it samples each token into the token's text. The client
and the container share one clock. One stream runs at a time. It passes edge, function URL, Runtime
API, function, SageMaker's event stream and container, each a separate process or connection.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import boto3
import httpx

from cli.lib import local_keys
from cli.lib.terminal import console
from local.cloud import LocalCloud
from tests.support import gates


def main() -> None:
    """Deploy the scripted engine into a new local cloud, measure, and print p50, p90 and p99."""
    parser = argparse.ArgumentParser(description="From sampled to read, in milliseconds.")
    parser.add_argument("--requests", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            url, headers = _deploy(cloud, Path(folder))
            _measure(url, headers, args.requests)
        finally:
            cloud.stop()


def _deploy(cloud: LocalCloud, folder: Path) -> tuple[str, dict[str, str]]:
    outputs = gates.deploy(
        cloud, folder, "the scripted engine", engine="scripted", tokens_per_second="0"
    )
    table = boto3.resource("dynamodb", **cloud.client_options()).Table(outputs["UsageTableName"])
    key = local_keys.create(table, name="bench")
    return f"http://{outputs['DistributionDomain']}/v1/chat/completions", {
        "authorization": f"Bearer {key}"
    }


def _measure(url: str, headers: dict[str, str], requests: int) -> None:
    script = json.dumps(
        {"repeat": "x", "count": 10, "rate": 50, "stamp": True, "first_after": 0.05}
    )
    body = {
        "model": "sluice-demo",
        "stream": True,
        "messages": [{"role": "user", "content": script}],
    }
    first: list[float] = []
    later: list[float] = []
    with httpx.Client(timeout=30) as client:
        for number in range(requests + 5):
            delays = _delays(client, url, headers, body)
            if number >= 5:  # the first requests start the environment
                first.append(delays[0])
                later.extend(delays[1:])
    for name, values in (("first token", first), ("later tokens", later)):
        cuts = statistics.quantiles(values, n=100)
        console.print(
            f"{name}: p50 {cuts[49]:.2f} ms, p90 {cuts[89]:.2f} ms, p99 {cuts[98]:.2f} ms "
            f"({len(values)})"
        )


def _delays(client: httpx.Client, url: str, headers: dict[str, str], body: object) -> list[float]:
    """Return the milliseconds between sampling and arrival of each token of one answer."""
    delays = []
    with client.stream("POST", url, headers=headers, json=body) as response:
        for line in response.iter_lines():
            now = time.time_ns()
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    delays += [
                        (now - int(stamp)) / 1e6
                        for stamp in choice["delta"].get("content", "").split()
                    ]
    return delays


if __name__ == "__main__":
    main()
