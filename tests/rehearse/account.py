"""A new account in a local cloud, and the commands that a first deployer runs in it."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from cli.lib.project import ROOT
from infra.functions.image_check import DOCKER
from infra.settings.deployment import host_architecture, host_python_version
from local.cloud import LocalCloud

LIMITS = {"lambda_account_concurrency": 10, "sagemaker_endpoint_instances": 0}
"""What users report of new accounts."""
REPOSITORY, TAG = "sluice-model", "local"
IMAGE = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}:{TAG}"
HERE = {
    "python_version": host_python_version(),
    "architecture": host_architecture(),
    "wheels": "host",
    "image_uri": IMAGE,
    "engine": "scripted",
    "parallel": "64",
    "instance_count": "1",
}
"""Settings of every deployment: functions and the container run on this machine."""
_PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "UV_CACHE_DIR",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
)
_LAST = 25
"""The lines of a failed command that are printed."""


class RehearsalError(Exception):
    """Something is not as it must be."""


def check(good: object, what: str) -> None:
    """Print what is so; raise RehearsalError if it is not."""
    if not good:
        raise RehearsalError(what)
    print(f"   ok: {what}", flush=True)


@dataclass
class Done:
    """A command that has ended."""

    status: int
    output: str


@dataclass
class Account:
    """The account. `began` is when the rehearsal began, for the times in its transcript.

    `unseen` is the end of the last command's output, if that was not printed.
    """

    cloud: LocalCloud
    began: float = field(default_factory=time.monotonic)
    unseen: list[str] = field(default_factory=list)

    def chapter(self, title: str) -> None:
        """Print a heading with the time that has passed."""
        print(f"\n== {title} ({time.monotonic() - self.began:.0f} s)", flush=True)

    def client(self, service: str) -> Any:
        """Return boto3's client of a service."""
        return boto3.client(service, **self.cloud.client_options())

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a shell in which this account is logged in, and no docker is found."""
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {
            **kept,
            "PATH": f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "NO_PROXY": "localhost,127.0.0.1",
            "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
            "CDK_DOCKER": "docker-is-not-installed",
            "NO_COLOR": "1",
            "COLUMNS": "150",
            **self.cloud.aws_environment(),
        }

    def push(self) -> None:
        """Push the image that every deployment names, by a manifest without layers."""
        ecr = self.client("ecr")
        ecr.create_repository(repositoryName=REPOSITORY)
        manifest = {"schemaVersion": 2, "mediaType": DOCKER, "config": {}, "layers": []}
        ecr.put_image(
            repositoryName=REPOSITORY,
            imageManifest=json.dumps(manifest),
            imageManifestMediaType=DOCKER,
            imageTag=TAG,
        )
        print(f"   an image is pushed: {IMAGE}", flush=True)

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path = ROOT,
        good: bool | None = True,
        shown: bool = True,
        more: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command and print it, as the transcript has it.

        Args:
            command: The words; `sluice` and `npx` are the project's own.
            folder: Where it runs.
            good: Whether it has to succeed, or to fail; None accepts both.
            shown: Whether its output is printed.
            more: Further variables.

        """
        print(f"$ {shlex.join(command)}", flush=True)
        trust = {"SSL_CERT_FILE": str(self.cloud.authority)} if command[0] == "sluice" else {}
        ended = subprocess.run(
            command,
            cwd=folder,
            env={**self.environment, **trust, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = [line for line in ended.stdout.splitlines() if line.strip()]
        wrong = good is not None and (ended.returncode == 0) != good
        for line in lines[-_LAST:] if wrong else lines if shown else []:
            print(f"   {line}", flush=True)
        self.unseen = [] if wrong or shown else lines[-_LAST:]
        if wrong:
            raise RehearsalError(f"{command[0]} ended with {ended.returncode}")
        return Done(ended.returncode, ended.stdout)

    def deploy(self, stage: str, *, root: Path = ROOT, good: bool = True, **changes: str) -> Done:
        """Deploy a stage by the real CDK CLI, from the sources in `root`."""
        app = shlex.join([sys.executable, str(root / "app.py")])
        settings = {"stage": stage, **HERE, **changes}
        context = [part for name, it in settings.items() for part in ("-c", f"{name}={it}")]
        ways = ["--require-approval", "never", "--ci", "--no-notices", "--progress", "events"]
        out = self.cloud.directory / f"out-{stage}-{time.monotonic_ns()}"
        program = str(ROOT / "node_modules" / ".bin" / "cdk")
        return self.run(
            [program, "deploy", "--all", "--app", app, "--output", str(out), *context, *ways],
            folder=root,
            good=good,
            shown=False,
            more={"PYTHONPATH": str(root)},
        )

    def outputs(self, stage: str) -> dict[str, str]:
        """Return the outputs of a stage's stacks."""
        api = self.client("cloudformation")
        found: dict[str, str] = {}
        for part in ("state", "service"):
            [stack] = api.describe_stacks(StackName=f"sluice-{stage}-{part}")["Stacks"]
            found |= {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
        return found

    def status(self, stack: str) -> str:
        """Return a stack's status."""
        [found] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return str(found["StackStatus"])

    def do(self, command: str) -> None:
        """Do what a command of `aws service-quotas` does, which is printed."""
        print(f"$ {command}", flush=True)
        words = shlex.split(command)
        given = dict(zip(words[3::2], words[4::2], strict=True))
        granted = self.client("service-quotas").request_service_quota_increase(
            ServiceCode=given["--service-code"],
            QuotaCode=given["--quota-code"],
            DesiredValue=float(given["--desired-value"]),
        )["RequestedQuota"]
        print(f"   {granted['QuotaName']}: {granted['DesiredValue']:g}, {granted['Status']}")
