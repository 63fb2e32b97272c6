"""Runs the compliance suite of openresponses over the deployed local cloud.

    python -m tests.compliance CHECKOUT [-- ARGUMENTS OF THE SUITE]

CHECKOUT is a checkout of github.com/openresponses/openresponses, or of a fork of it, with its
packages (`bun install`). The suite needs Bun, whose sockets take headers: `bun` of the PATH is
used, or else that of npm. The model is the stand-in of a vLLM that reads images and calls tools.
The exit status is that of the suite.
"""

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path

import boto3

from cli.lib import local_keys
from local.cloud import LocalCloud
from tests.compliance.address import joined
from tests.support import gates

BUN = ("npx", "--yes", "bun@1.4.5")
"""Where the PATH has none."""


def main() -> int:
    """Deploy, run the suite, and return its exit status."""
    parser = argparse.ArgumentParser(description="openresponses' compliance suite.")
    parser.add_argument("checkout", type=Path, help="a checkout of the suite, with its packages")
    parser.add_argument("arguments", nargs="*", help="passed on to the suite")
    args = parser.parse_args()
    script = args.checkout / "bin" / "compliance-test.ts"
    if not script.exists():
        parser.error(f"{script} does not exist: name a checkout of openresponses")
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            gates.allow_gpus(cloud)
            outputs = gates.deploy(
                cloud,
                Path(folder),
                "a model that reads images and calls tools",
                container="vllm",
                instance_type="ml.g6.xlarge",
                weights="hf:org/model",
                max_images="4",
                websocket="true",
            )
            table = boto3.resource("dynamodb", **cloud.client_options()).Table(
                outputs["UsageTableName"]
            )
            key = local_keys.create(table, name="suite")
            return asyncio.run(_run(args.checkout, args.arguments, outputs, key))
        finally:
            cloud.stop()


async def _run(checkout: Path, arguments: list[str], outputs: dict[str, str], key: str) -> int:
    """Run the suite, whose output is ours, and return its exit status."""
    origin = f"http://{outputs['DistributionDomain']}"
    async with joined(origin, f"{outputs['WebSocketBaseUrl']}/responses") as address:
        bun = (found,) if (found := shutil.which("bun")) else BUN
        process = await asyncio.create_subprocess_exec(
            *bun,
            *("run", "bin/compliance-test.ts"),
            *("--base-url", f"{address}/v1", "--model", outputs["ModelName"], "--api-key", key),
            *arguments,
            cwd=checkout,
        )
        return await process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
