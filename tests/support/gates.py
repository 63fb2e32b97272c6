"""The project's own stacks in a local cloud, deployed for the gates beside the tests and for
benchmarks.
"""

from pathlib import Path

from cli.lib import cdk
from cli.lib.terminal import step
from local.cloud import LocalCloud


def deploy(cloud: LocalCloud, folder: Path, what: str, **context: str) -> dict[str, str]:
    """Deploy the stacks of stage `local`, with `context` as further settings; return their outputs.

    `what` is named on the terminal. The log of the deployment is deploy.log in `folder`.
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
