"""Deployments in the whole local cloud, by the real CDK CLI.

One has the demo model at a slow pace, the others the scripted engine.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import openai
from botocore.config import Config

from cli.lib import cdk, local_keys
from cli.lib.project import ROOT
from local.cloud import LocalCloud

DEMO_RATE = 20.0
SCRIPTED_MODEL = "scripted"


def quiet(detail: str) -> None:
    """Discard a line of progress."""


@dataclass
class Deployment:
    """A deployed pair of stacks, with a key for it."""

    name: str
    outputs: dict[str, str]
    key: str
    table: Any
    settings: dict[str, str]

    @property
    def origin(self) -> str:
        """The address of the distribution."""
        return f"http://{self.outputs['DistributionDomain']}"

    @property
    def model(self) -> str:
        """The public name of its model."""
        return self.outputs["ModelName"]

    @cached_property
    def client(self) -> openai.OpenAI:
        """Return the stock client. It does not retry."""
        return openai.OpenAI(
            base_url=f"{self.origin}/v1", api_key=self.key, max_retries=0, timeout=60
        )

    def async_client(self) -> openai.AsyncOpenAI:
        """Return the stock asynchronous client. It does not retry."""
        return openai.AsyncOpenAI(
            base_url=f"{self.origin}/v1", api_key=self.key, max_retries=0, timeout=120
        )


def options(cloud: LocalCloud) -> dict[str, str]:
    """Return the arguments that lead boto3 to the local cloud."""
    aws = cloud.aws_environment()
    return {
        "endpoint_url": cloud.endpoint_url,
        "region_name": aws["AWS_REGION"],
        "aws_access_key_id": aws["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": aws["AWS_SECRET_ACCESS_KEY"],
    }


def functions(cloud: LocalCloud) -> Any:
    """Return boto3's client of Lambda, which waits while a function is throttled.

    A function of a schedule is, while its own invocation runs.
    """
    patient = Config(retries={"mode": "standard", "total_max_attempts": 30})
    return boto3.client("lambda", config=patient, **options(cloud))


def sweep(cloud: LocalCloud, deployment: Deployment) -> None:
    """Run the sweeper once."""
    answer = functions(cloud).invoke(FunctionName=deployment.outputs["SweeperName"])
    assert "FunctionError" not in answer, answer["Payload"].read()


def assembled(cloud: LocalCloud, context: dict[str, str], folder: Path) -> None:
    """Synthesise what `app.py` would by the CDK CLI, in the process of CDK that runs already.

    A process of its own costs the CPU time of two syntheses.
    """
    from aws_cdk import App, Environment  # it starts CDK's process

    from infra.compose import compose
    from infra.settings.context import settings_from_context

    flags = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = App(
        outdir=str(folder),
        context={
            **flags,
            "aws:cdk:enable-path-metadata": True,
            "aws:cdk:enable-asset-metadata": True,
            **context,
        },
        stack_traces=False,
        analytics_reporting=False,
        builtin_cloud_formation_validation=False,
    )
    aws = cloud.aws_environment()
    compose(
        app,
        settings=settings_from_context(app.node.get_all_context()),
        env=Environment(account=aws["CDK_DEFAULT_ACCOUNT"], region=aws["CDK_DEFAULT_REGION"]),
    )
    app.synth()


def deployed(
    cloud: LocalCloud, name: str, settings: dict[str, str], *, by_app: bool = False
) -> Deployment:
    """Deploy a pair of stacks with the real CDK CLI, and make a key for it.

    The CLI runs `app.py` if `by_app` is true, as `make up` does. Otherwise it gets the templates.
    """
    context = {"stage": "local", "name": name, **settings}
    aws = dict(cloud.aws_environment())
    if not by_app:
        folder = cloud.directory / f"{name}.templates"
        assembled(cloud, context, folder)
        aws["CDK_APP"] = str(folder)
    outputs = cdk.deploy(
        context=context,
        aws=aws,
        outputs=cloud.directory / f"{name}.json",
        log=cloud.directory / f"{name}.log",
        detail=quiet,
    )
    table = boto3.resource("dynamodb", **options(cloud)).Table(outputs["UsageTableName"])
    return Deployment(name, outputs, local_keys.create(table, name="test"), table, settings)


def forget_open(deployment: Deployment) -> None:
    """Delete the requests that tests have left open, as those of killed functions.

    Until the sweeper settles them, they count as running.
    """
    items: dict[str, Any] = {}
    while True:
        items = deployment.table.scan(
            **({"ExclusiveStartKey": items["LastEvaluatedKey"]} if items else {})
        )
        for item in items["Items"]:
            if item.get("state") == "OPEN":
                deployment.table.delete_item(Key={name: item[name] for name in ("pk", "sk")})
        if "LastEvaluatedKey" not in items:
            return
