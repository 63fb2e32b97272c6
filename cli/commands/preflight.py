"""`sluice preflight`: show what the account lacks for a deployment.

It prints the commands that request what is missing. A new account has no GPU instances for
endpoints and may run ten functions at once. Both are quotas that AWS raises on request within hours
to days, so it is better to learn of them before a deployment fails.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from cli.lib import values
from cli.lib.printable import printable
from cli.lib.project import CommandError, UsageError
from cli.lib.settings import add_settings, check_files, settings_of
from cli.lib.stack import aws_options, no_access
from cli.lib.terminal import console, item, print_json

if TYPE_CHECKING:
    from infra.settings.deployment import Settings

HELP = "Show what the AWS account lacks to deploy a stage, and the commands that request it."
Client = Callable[..., Any]
CONCURRENCY = "L-B99A9384"
"""The code of Lambda's quota of concurrent executions."""
UNRESERVED = 100
"""The number of concurrent executions that Lambda does not let functions reserve."""
_FEW = 50
"""Below this number there is a warning: each stream takes one execution."""


@dataclass(frozen=True)
class Finding:
    """One requirement.

    `commands` request what is missing. With `warning`, the deployment works without it.
    """

    message: str
    good: bool
    commands: tuple[str, ...] = ()
    warning: bool = False


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stage(parser, default="dev")
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the findings."""
    preflight(args.stage, dict(args.set), as_json=args.json)


def preflight(stage: str, changes: Mapping[str, object], *, as_json: bool = False) -> None:
    """Print what a stage, with `changes` of its settings, needs.

    Raises:
        CommandError: something is missing, or a setting of cdk.json is invalid.
        UsageError: one of `changes` is invalid, or the stage is that of the local cloud.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    if stage == "local":
        raise UsageError(
            "The stage local is not deployed to AWS, so no account can lack anything for it. "
            "`sluice up` deploys it into the local cloud, with the same settings (-c)."
        )
    settings = settings_of(stage, changes)
    check_files(settings, changes)
    options = aws_options(stage)
    missing: list[Finding] = []
    shown = []
    try:
        for it in findings(
            settings, lambda service, **extra: boto3.client(service, **{**options, **extra})
        ):
            missing += [it] if not it.good and not it.warning else []
            if as_json:
                shown.append(asdict(it))
                continue
            mark = (
                "[green]✓[/green]"
                if it.good
                else "[yellow]![/yellow]"
                if it.warning
                else "[red]✗[/red]"
            )
            item(mark, escape(printable(it.message, keep="")))
            for command in () if it.good else it.commands:
                console.print(f"    {command}", style="dim", markup=False, soft_wrap=True)
    except (BotoCoreError, ClientError) as error:
        raise no_access(stage, error) from None
    if as_json:
        print_json(shown)
    if missing:
        told = [any(not line.startswith("#") for line in it.commands) for it in missing]
        what = (
            "The commands above request what is missing."
            if all(told)
            else "The commands above request a part of what is missing."
            if any(told)
            else "The lines above say what to do."
            if any(it.commands for it in missing)
            else "No command can request what is missing."
        )
        raise CommandError(f"Not met: {values.counted(len(missing), 'requirement')}. {what}")
    if not as_json:
        console.print("\nNothing is missing.")


def findings(settings: "Settings", client: Client) -> Iterator[Finding]:
    """Yield a finding for each thing that the deployment needs.

    Args:
        settings: The deployment's.
        client: Returns boto3's client of a service, by the service's name.

    Raises:
        botocore's errors: a call was refused.

    """
    identity = client("sts").get_caller_identity()
    region = client("sts").meta.region_name
    yield Finding(f"account {identity['Account']}, region {region}", good=True)
    yield from _region(settings, region)
    yield _bootstrap(client, region)
    if settings.edge_stacks and region != "us-east-1":
        command = f"npx cdk bootstrap aws://{identity['Account']}/us-east-1 -c stage=dev"
        yield _bootstrap(client, "us-east-1", command)  # for certificate and web ACL
    if settings.endpoint_name is None:
        yield _instances(settings, client)
        yield from _leftovers(settings, client)
    else:
        yield _endpoint(settings.endpoint_name, client)
    yield _functions(settings, client)
    yield from _image(settings, client)
    yield from _sources(settings, client)


def _region(settings: "Settings", region: str) -> Iterator[Finding]:
    """Yield what the deployment needs and the region does not offer."""
    from infra import regions
    from infra.images import containers

    if region in regions.NO_FUNCTION_URLS:
        yield Finding(
            f"Lambda has no function URLs in {region}, so nothing can stream from there",
            good=False,
            commands=("export AWS_REGION=eu-central-1  # or another region that has them",),
        )
    if not regions.is_commercial(region):
        domain = "" if settings.domain is None else f", and no certificate for {settings.domain}"
        yield Finding(
            f"{region} is outside the partition aws: there is no CloudFront as the stacks use it"
            f"{domain}",
            good=False,
        )
    if settings.scale_to_zero and region in regions.NO_ZERO_INSTANCES:
        yield Finding(
            f"scale_to_zero: endpoints in {region} were reported to need an instance",
            good=False,
            commands=("# deploy with -c scale_to_zero=false, or to another region",),
            warning=True,
        )
    own = settings.image_uri is not None or settings.endpoint_name is not None
    image = None if own else containers().get(settings.container)
    if image is not None and region not in image.uris:
        yield Finding(
            f"AWS has no image of container={settings.container} in {region}",
            good=False,
            commands=("# set image_uri to a copy of it, or deploy to another region",),
        )


def _leftovers(settings: "Settings", client: Client) -> Iterator[Finding]:
    """Yield the container's log group if an earlier endpoint of this name has left it.

    CloudFormation cannot make one that exists.
    """
    from botocore.exceptions import ClientError

    from infra.constructs.model_endpoint import endpoint_names

    stack = f"{settings.name}-{settings.stage}-service"
    group = endpoint_names(settings).log_group
    found = client("logs").describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    if group not in {it["logGroupName"] for it in found}:
        return
    pages = client("cloudformation").get_paginator("list_stack_resources")
    try:
        owned = [
            it.get("PhysicalResourceId")
            for page in pages.paginate(StackName=stack)
            for it in page["StackResourceSummaries"]
        ]
        if group in owned:
            return
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
    yield Finding(
        f"the log group {group} is left from an earlier endpoint; the stack cannot make it",
        good=False,
        commands=(f"aws logs delete-log-group --log-group-name {quote(group)}",),
    )


def _bootstrap(
    client: Client, region: str, command: str = "npx cdk bootstrap -c stage=dev"
) -> Finding:
    from botocore.exceptions import ClientError

    cloudformation = client("cloudformation", region_name=region)
    try:
        [stack] = cloudformation.describe_stacks(StackName="CDKToolkit")["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        return Finding(f"CDK is not bootstrapped in {region}", good=False, commands=(command,))
    return Finding(
        f"CDK is bootstrapped in {region}",
        good=stack["StackStatus"].endswith("_COMPLETE"),
        commands=(command,),
    )


def _instances(settings: "Settings", client: Client) -> Finding:
    name = f"{settings.instance_type} for endpoint usage"
    # During an update, new instances run beside the old ones. An inference component is the
    # exception: it is changed copy by copy.
    needed = settings.peak_instances + (0 if settings.scale_to_zero else settings.instance_count)
    pages = (
        client("service-quotas")
        .get_paginator("list_service_quotas")
        .paginate(ServiceCode="sagemaker")
    )
    quota = next((it for page in pages for it in page["Quotas"] if it["QuotaName"] == name), None)
    if quota is None:
        return Finding(
            f"no quota is called '{name}': is the type offered in this region?", good=False
        )
    return Finding(
        f"{quota['Value']:,.0f} {name}; {needed:,} are needed, with those of an update",
        good=quota["Value"] >= needed,
        commands=(_increase("sagemaker", quota["QuotaCode"], needed),),
    )


def _endpoint(name: str, client: Client) -> Finding:
    from botocore.exceptions import ClientError

    try:
        status = client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"]
    except ClientError:
        status = "not there"
    return Finding(f"the endpoint {name} is {status}", good=status == "InService")


def _functions(settings: "Settings", client: Client) -> Finding:
    quota = client("service-quotas").get_service_quota(ServiceCode="lambda", QuotaCode=CONCURRENCY)[
        "Quota"
    ]
    maximum, reserved = int(quota["Value"]), reserved_by(settings)
    command = _increase("lambda", CONCURRENCY, max(1000, (reserved or 0) + UNRESERVED))
    if reserved is not None:
        message = (
            f"{maximum:,} functions at once; the stacks reserve {reserved:,}, which leaves "
            f"{maximum - reserved:,}; Lambda requires"
        )
        good = maximum - reserved >= UNRESERVED
        return Finding(
            f"{message} {UNRESERVED}",
            good,
            (command, "# or deploy with -c reserved_concurrency=none"),
        )
    return Finding(
        f"{maximum:,} functions at once, one for each stream",
        maximum >= _FEW,
        (command,),
        warning=True,
    )


def _image(settings: "Settings", client: Client) -> Iterator[Finding]:
    if settings.endpoint_name is not None:
        return
    if settings.image_uri is not None:
        yield _existing(settings.image_uri, client)
    elif settings.container != "sluice":
        return
    elif settings.image_build == "docker":
        yield _engine(os.environ.get("CDK_DOCKER", "docker"))
    else:
        yield Finding("the image is built by CodeBuild", good=True)


def _existing(image: str, client: Client) -> Finding:
    """Return whether SageMaker takes the image that `image_uri` names."""
    from botocore.exceptions import ClientError

    from infra.functions.image_check import refusal

    try:
        reason = refusal(image, lambda region: client("ecr", region_name=region))
    except ClientError as error:
        reason = f"The image {image}: {error.response['Error']['Message']}"
    return Finding(reason or f"the image {image} is one that SageMaker takes", good=reason is None)


def _engine(name: str) -> Finding:
    """Return whether the engine that CDK will call answers, and which other engine would."""
    from infra.constructs.container_image import podman_environment
    from local.sagemaker.engine import ENGINES, refusal

    reason = refusal(name)
    if reason is None and (wanted := podman_environment()) is not None:
        return Finding(
            f"the image is built here, by {name}, as an OCI image, which SageMaker rejects",
            good=False,
            commands=(f"export {wanted}",),
        )
    if reason is None:
        return Finding(f"the image is built here, by {name}", good=True)
    others = [
        f"export CDK_DOCKER={other}" + (" BUILDAH_FORMAT=docker" if other == "podman" else "")
        for other in ENGINES
        if other != name and refusal(other) is None
    ]
    message = f"the image is built here, by {name}: {reason}"
    return Finding(
        message, good=False, commands=(*others, "# or deploy with -c image_build=codebuild")
    )


def _sources(settings: "Settings", client: Client) -> Iterator[Finding]:
    from botocore.exceptions import ClientError

    if (secret := settings.huggingface_secret) is not None:
        command = f"aws secretsmanager create-secret --name {quote(secret)} --secret-string hf_…"
        try:
            client("secretsmanager").describe_secret(SecretId=secret)
        except ClientError:
            yield Finding(f"there is no secret {secret}", good=False, commands=(command,))
        else:
            yield Finding(f"the secret {secret} is there", good=True)
    if (settings.weights or "").startswith("s3://") and settings.endpoint_name is None:
        bucket, _, key = str(settings.weights).removeprefix("s3://").partition("/")
        from cli.lib.weights import listed, problem

        s3 = client("s3")
        try:
            present = listed(s3, bucket, key)
        except ClientError as error:
            yield Finding(
                f"weights={settings.weights}: {error.response['Error']['Message']}", good=False
            )
        else:
            state = "are there" if present else "are not there"
            wrong = problem(settings, present, s3, bucket, key) if present else None
            commands = (f"sluice model push DIR --to {quote(f's3://{bucket}/{key}')}",)
            yield Finding(
                f"the weights {settings.weights} {state}", good=bool(present), commands=commands
            )
            if wrong is not None:
                yield Finding(wrong, good=False)
    if settings.hosted_zone is not None:
        zone_id, _, name = settings.hosted_zone.partition(":")
        try:
            zone_name = client("route53").get_hosted_zone(Id=zone_id)["HostedZone"]["Name"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchHostedZone":
                raise
            zone_name = ""
        good = zone_name.rstrip(".") == name.rstrip(".")
        message = f"the hosted zone {zone_id} is {zone_name or 'not there'}" + (
            "" if good or not zone_name else f", not {name}"
        )
        yield Finding(message, good, ("aws route53 list-hosted-zones",))
    if settings.certificate_arn is not None:
        acm = client("acm", region_name="us-east-1")
        try:
            status = acm.describe_certificate(CertificateArn=settings.certificate_arn)[
                "Certificate"
            ]["Status"]
        except ClientError:
            status = "not there"
        command = (
            "aws acm request-certificate --region us-east-1 --domain-name "
            f"{quote(str(settings.domain))} "
            "--validation-method DNS"
        )
        yield Finding(
            f"the certificate of {settings.domain} is {status}", status == "ISSUED", (command,)
        )


def reserved_by(settings: "Settings") -> int | None:
    """Return the concurrent executions that the stacks reserve together, or None."""
    from infra.constructs import control_function, socket_function, sweeper

    if settings.reserved_concurrency is None:
        return None
    control = control_function.CONCURRENCY if settings.admin_url else 0
    recall = settings.recall_concurrency if settings.persistence != "off" else 0
    sockets = 0
    if settings.websocket:
        sockets = settings.websocket_concurrency + socket_function.CONTROL_CONCURRENCY
    return settings.reserved_concurrency + recall + sockets + sweeper.CONCURRENCY + control


def _increase(service: str, code: str, value: int) -> str:
    words = "aws service-quotas request-service-quota-increase"
    return f"{words} --service-code {service} --quota-code {code} --desired-value {value}"
