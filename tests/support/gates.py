"""Deploy the project's own stacks into a local cloud, for chaos, soak, attacks and benchmarks."""

from pathlib import Path

import boto3

from cli.lib import cdk
from cli.lib.terminal import step
from local.cloud import LocalCloud


def allow_gpus(cloud: LocalCloud) -> None:
    """Ask for the quotas of the GPU instances that tests deploy: a new account has none."""
    quotas = boto3.client("service-quotas", **cloud.client_options())
    for code in ("L-MLG5XLARGE", "L-MLG6XLARGE"):
        quotas.request_service_quota_increase(
            ServiceCode="sagemaker", QuotaCode=code, DesiredValue=4
        )


def deploy(cloud: LocalCloud, folder: Path, what: str, **context: str) -> dict[str, str]:
    """Deploy the stacks of stage `local`, with `context` as further settings. Return their outputs.

    The terminal shows `what`. The log of the deployment is deploy.log in `folder`.
    """
    aws = cloud.aws_environment()
    log = folder / "deploy.log"
    with step(f"Deploying {what}") as detail:
        account = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
        cdk.cdk(["bootstrap", account, "--app", ""], aws=aws, log=log, detail=detail)
        return cdk.deploy(
            context={"stage": "local", **context},
            aws=aws,
            outputs=folder / "outputs.json",
            log=log,
            detail=detail,
        )
