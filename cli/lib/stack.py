"""A deployed stack.

The local one is saved in a file. Others are read from their CloudFormation outputs.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from cli.lib.project import LOCAL, CommandError
from cli.lib.terminal import errors

if TYPE_CHECKING:
    from local.cloud import LocalCloud

DEFAULT_NAME = "sluice"
"""The setting `name` unless it is given."""
_FILE = LOCAL / "stack.json"


@dataclass(frozen=True)
class LocalStack:
    """The stack that `sluice up` deployed, with a key for it."""

    base_url: str
    """The API's, ending in `/v1`."""
    api_key: str
    model: str
    usage_table: str
    name: str = DEFAULT_NAME
    """The setting `name`."""
    authority: str | None = None
    """The file of the certificate authority to trust, if the API speaks HTTPS."""
    pid: int = 0
    """The process of the local cloud that it was deployed into."""
    websocket_url: str | None = None
    """The base URL of sockets, if the setting `websocket` is on."""

    @property
    def port(self) -> int | None:
        """The API's port."""
        return urlsplit(self.base_url).port

    def save(self) -> None:
        """Save the stack in a file that only the user can read."""
        _FILE.touch(mode=0o600)
        _FILE.chmod(0o600)
        _FILE.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls) -> Self:
        """Return the stack in the running local cloud.

        Raises:
            CommandError: no local cloud is running, or nothing is deployed into it.

        """
        cloud = running_cloud()
        saved = cls.saved()
        if saved is None or saved.pid != cloud.pid:
            _check_ready()
            raise CommandError(
                "Nothing is deployed into the local cloud (yet). Deploy into it with: `make up`"
            )
        return saved

    @classmethod
    def saved(cls) -> Self | None:
        """Return the stack that was saved last, whether or not it still runs."""
        try:
            found = cls(**json.loads(_FILE.read_text()))
            texts = (found.base_url, found.api_key, found.model, found.usage_table, found.name)
            if not all(isinstance(text, str) for text in texts) or found.port is None:
                return None
        except (OSError, ValueError, TypeError, AttributeError):
            return None
        return found

    @classmethod
    def of(cls, stage: str, name: str) -> Self:
        """Return a stage's stack: the one in the running local cloud, or the one on AWS.

        The key of a stack on AWS is the variable OPENAI_API_KEY, or empty.

        Raises:
            CommandError: there is no such stack, or no access to it.

        """
        if stage == "local":
            local = cls.load()
            if name not in {DEFAULT_NAME, local.name}:
                raise undeployed(f"{name}-local-service", stage)
            return local
        stack = f"{name}-{stage}-service"
        outputs = outputs_of(stage, stack)
        if not outputs:
            raise undeployed(stack, stage)
        domain = outputs.get("Domain") or outputs["DistributionDomain"]
        key = os.environ.get("OPENAI_API_KEY", "")
        return cls(
            f"https://{domain}/v1",
            key,
            outputs["ModelName"],
            usage_table="",
            name=name,
            websocket_url=outputs.get("WebSocketBaseUrl"),
        )

    @staticmethod
    def forget() -> None:
        """Remove the saved stack."""
        _FILE.unlink(missing_ok=True)

    def warn_of_other_key(self) -> None:
        """If the environment has another key, print that this stack's own key is used."""
        if os.environ.get("OPENAI_API_KEY", self.api_key) != self.api_key:
            errors.print(
                "[dim]Using the local stack's own key, not the one of OPENAI_API_KEY.[/dim]"
            )


def running_cloud() -> LocalCloud:
    """Return the running local cloud.

    Raises:
        CommandError: none is running.

    """
    from local.cloud import LocalCloud

    stay_local()
    cloud = LocalCloud.find(LOCAL)
    if cloud is None:
        _check_ready()
        raise CommandError("No local cloud is running. Start one with: `make up`")
    return cloud


def _check_ready() -> None:
    """Check that no `sluice up` is about to deploy the stack that was not found.

    Raises:
        CommandError: one is.

    """
    from cli.lib.local_cloud import is_up_at_work

    if is_up_at_work():
        raise CommandError("A `sluice up` is still at work here. Try again when it is ready.")


def stay_local() -> None:
    """Ignore AWS profiles, and proxies for this machine's addresses.

    Calls to the local stack must not leave this machine.
    """
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        os.environ.pop(name, None)
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "localhost", "127.0.0.1"]))


def aws_options(stage: str) -> dict[str, str]:
    """Return the arguments of boto3's clients for a stage.

    For `local` they lead to the local cloud, else to the region of AWS_REGION. boto3 itself reads
    only AWS_DEFAULT_REGION. The CDK CLI and all other SDKs read both.

    Raises:
        CommandError: no local cloud is running; or there is no region or there are no credentials
            for a stage on AWS, which otherwise depends on the call that comes first.

    """
    if stage != "local":
        region = os.environ.get("AWS_REGION")
        _check_access(stage, region)
        return {"region_name": region} if region else {}
    cloud = running_cloud()
    aws = cloud.aws_environment()
    return {
        "endpoint_url": cloud.endpoint_url,
        "region_name": aws["AWS_REGION"],
        "aws_access_key_id": aws["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": aws["AWS_SECRET_ACCESS_KEY"],
    }


def _check_access(stage: str, region: str | None) -> None:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session()
    try:
        region = region or session.get_config_variable("region")
        found = session.get_credentials()
    except BotoCoreError as error:  # such as a profile that does not exist
        raise no_access(stage, error) from None
    if not region or found is None:
        raise _lacking(stage, region=not region, credentials=found is None)


def _lacking(stage: str, *, region: bool, credentials: bool) -> CommandError:
    """Return the error for an environment without a region, credentials or both."""
    lacking = [*(["AWS region"] if region else []), *(["AWS credentials"] if credentials else [])]
    remedies = [
        *(["`export AWS_REGION=...` sets a region."] if region else []),
        *(["`aws configure` or `aws sso login` sets credentials."] if credentials else []),
    ]
    has = " and ".join(lacking).replace("AWS ", "").replace("region", "a region")
    return CommandError(
        f"No {' and no '.join(lacking)} {'are' if credentials else 'is'} set for the stage {stage}. "
        f"Set AWS_PROFILE to a profile that has {has}. {' '.join(remedies)}"
    )


def aws_environment(stage: str) -> dict[str, str]:
    """Return the environment variables that the CDK CLI needs for a stage.

    For `local` they are the local cloud's, else the caller's.

    Raises:
        CommandError: no local cloud is running.

    """
    if stage != "local":
        return {
            name: value for name, value in os.environ.items() if name.startswith(("AWS_", "CDK_"))
        }
    return running_cloud().aws_environment()


def outputs_of(stage: str, stack: str) -> dict[str, str] | None:
    """Return a stack's outputs, or None if there is no such stack.

    While the first deployment runs, there are no outputs.

    Raises:
        CommandError: AWS cannot be called.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        described = boto3.client("cloudformation", **aws_options(stage)).describe_stacks(
            StackName=stack
        )
    except (BotoCoreError, ClientError) as error:
        if is_absent(error):
            return None
        raise unreadable(stack, stage, error) from None
    return {
        output["OutputKey"]: output["OutputValue"]
        for output in described["Stacks"][0].get("Outputs", [])
    }


def unreadable(stack: str, stage: str, error: Exception) -> CommandError:
    """Return the error for a stack that AWS did not describe.

    Either the stack is not deployed (yet), or access is missing.
    """
    if is_absent(error):
        return undeployed(stack, stage)
    return no_access(stage, error, f"The stack {stack} cannot be read")


def is_absent(error: Exception) -> bool:
    """Return whether an error is CloudFormation's answer that there is no such stack."""
    from botocore.exceptions import ClientError

    return isinstance(error, ClientError) and "does not exist" in str(error)


def no_access(stage: str, error: Exception, summary: str = "AWS cannot be called") -> CommandError:
    """Return the error for a failed call of AWS.

    It names what the environment lacks, else `summary` and the reason.
    """
    from botocore.exceptions import NoCredentialsError, NoRegionError, ProfileNotFound

    if isinstance(error, ProfileNotFound):
        return CommandError(
            f"{error}. Set AWS_PROFILE to a profile of yours for the stage {stage}; "
            "`aws configure list-profiles` lists them."
        )
    if isinstance(error, NoRegionError | NoCredentialsError):
        no_region = isinstance(error, NoRegionError)
        return _lacking(stage, region=no_region, credentials=not no_region)
    return CommandError(f"{summary}: {error}")


def undeployed(stack: str, stage: str) -> CommandError:
    """Return the error for a stack that does not exist, or has no outputs yet."""
    command = "make up" if stage == "local" else f"make deploy STAGE={stage}"
    return CommandError(f"The stack {stack} is not deployed (yet). Deploy it with: `{command}`")
