"""A deployed stack, as the commands see it: the local one by its folder, others by their CloudFormation outputs."""

import json
import os
from dataclasses import asdict, dataclass
from typing import Any, Self

from cli.lib.project import LOCAL, CommandError

_FILE = LOCAL / "stack.json"


@dataclass(frozen=True)
class LocalStack:
    """The stack that `sluice up` deployed, with a key for it."""

    base_url: str
    """Of the API, ending in `/v1`."""
    api_key: str
    model: str
    usage_table: str
    name: str = "sluice"
    """The setting `name`."""
    authority: str | None = None
    """The file of the certificate authority to trust, if the API speaks HTTPS."""

    def save(self) -> None:
        """Keep it, readable for the user alone."""
        _FILE.touch(mode=0o600)
        _FILE.chmod(0o600)
        _FILE.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls) -> Self:
        """Give the running one.

        Raises:
            CommandError: none is running.

        """
        from local.cloud import LocalCloud

        stay_local()
        earlier = cls.earlier()
        if LocalCloud.find(LOCAL) is None or earlier is None:
            raise CommandError("No local stack is running. Start one with: make up")
        return earlier

    @classmethod
    def earlier(cls) -> Self | None:
        """Give what was kept last, whether or not it still runs."""
        try:
            return cls(**json.loads(_FILE.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @classmethod
    def of(cls, stage: str, name: str) -> Self:
        """Give the one of a stage: the running local one, or what AWS has, with the key of OPENAI_API_KEY if it is set.

        Raises:
            CommandError: there is none, or no access to it.

        """
        if stage == "local":
            return cls.load()
        outputs = _outputs(stage, f"{name}-{stage}-service")
        domain = outputs.get("Domain") or outputs["DistributionDomain"]
        key = os.environ.get("OPENAI_API_KEY", "")
        return cls(f"https://{domain}/v1", key, outputs["ModelName"], usage_table="", name=name)

    @staticmethod
    def forget() -> None:
        """Drop what was kept."""
        _FILE.unlink(missing_ok=True)


def stay_local() -> None:
    """Let nothing of the caller's environment lead what is meant for this machine elsewhere, or fail it: no profile of
    AWS's configuration, no proxy for loopback.
    """
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        os.environ.pop(name, None)
    for name in ("NO_PROXY", "no_proxy"):
        known = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*known, "localhost", "127.0.0.1"]))


def aws_options(stage: str) -> dict[str, str]:
    """Give the arguments of boto3's clients for a stage: the local cloud's for `local`, else the region of AWS_REGION.

    boto3 itself reads AWS_DEFAULT_REGION only; the CDK CLI, and all other SDKs, know both.

    Raises:
        CommandError: no local cloud is running.

    """
    from local.cloud import LocalCloud

    if stage != "local":
        region = os.environ.get("AWS_REGION")
        return {"region_name": region} if region else {}
    stay_local()
    cloud = LocalCloud.find(LOCAL)
    if cloud is None:
        raise CommandError("No local stack is running. Start one with: make up")
    aws = cloud.aws_environment()
    return {
        "endpoint_url": cloud.endpoint_url,
        "region_name": aws["AWS_REGION"],
        "aws_access_key_id": aws["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": aws["AWS_SECRET_ACCESS_KEY"],
    }


def unreadable(stack: str, stage: str, error: Exception) -> CommandError:
    """Give what to say when AWS could not be asked for a stack: that it is not deployed (yet), or what is missing."""
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError) and "does not exist" in str(error):
        return undeployed(stack, stage)
    return unasked(stage, error, f"The stack {stack} cannot be read")


def unasked(stage: str, error: Exception, what: str = "AWS cannot be asked") -> CommandError:
    """Give what to say when AWS could not be asked: what the environment lacks, else `what` and the reason."""
    from botocore.exceptions import NoCredentialsError, NoRegionError

    if isinstance(error, NoRegionError):
        return CommandError(f"No region is set for the stage {stage}: export AWS_REGION=..., or choose an AWS_PROFILE.")
    if isinstance(error, NoCredentialsError):
        return CommandError(f"No AWS credentials are set for the stage {stage}: choose an AWS_PROFILE, or log in.")
    return CommandError(f"{what}: {error}")


def undeployed(stack: str, stage: str) -> CommandError:
    """Give what to say of a stack that is not there, or has no outputs as long as its first deployment runs."""
    command = "make up" if stage == "local" else f"make deploy STAGE={stage}"
    return CommandError(f"The stack {stack} is not deployed (yet). What deploys it: {command}")


def aws_environment(stage: str) -> dict[str, str]:
    """Give the environment that leads the CDK CLI to a stage's account: the local cloud's for `local`, else the
    caller's own.

    Raises:
        CommandError: no local cloud is running.

    """
    if stage != "local":
        return {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "CDK_"))}
    from local.cloud import LocalCloud

    cloud = LocalCloud.find(LOCAL)
    if cloud is None:
        raise CommandError("No local stack is running. Start one with: make up")
    return cloud.aws_environment()


def usage_table(stage: str, name: str) -> Any:
    """Give boto3's table of a stage's UsageTable: the local cloud's for `local`, else that of the account in use.

    Raises:
        CommandError: there is no such stack, or no access to it.

    """
    import boto3

    outputs = _outputs(stage, f"{name}-{stage}-state")
    return boto3.resource("dynamodb", **aws_options(stage)).Table(outputs["UsageTableName"])


def _outputs(stage: str, stack: str) -> dict[str, str]:
    """Give a stack's outputs. Raises CommandError where it has none yet."""
    outputs = outputs_of(stage, stack)
    if not outputs:
        raise undeployed(stack, stage)
    return outputs


def outputs_of(stage: str, stack: str) -> dict[str, str] | None:
    """Give a stack's outputs, none as long as its first deployment runs; None when there is no such stack.

    Raises:
        CommandError: AWS cannot be asked.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        described = boto3.client("cloudformation", **aws_options(stage)).describe_stacks(StackName=stack)
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and "does not exist" in str(error):
            return None
        raise unreadable(stack, stage, error) from None
    return {output["OutputKey"]: output["OutputValue"] for output in described["Stacks"][0].get("Outputs", [])}
