"""`sluice up` and `sluice down`: the local cloud, with the stacks deployed into it by the real CDK CLI."""

import fcntl
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape

from cli.commands import chat
from cli.commands.endpoint import explained
from cli.lib import cdk
from cli.lib import container as containers
from cli.lib.admin_api import Admin
from cli.lib.printable import printable
from cli.lib.project import LOCAL, LOGS, CommandError
from cli.lib.stack import LocalStack, stay_local
from cli.lib.terminal import console, step
from infra.settings.context import settings_from_context
from infra.settings.deployment import SettingsError
from local.cloud import FILE, LocalCloud, LocalCloudError
from local.sagemaker.engine import EngineError, sweep
from local.trust import private

PORT = 4566
QUESTION = "Why stream tokens?"
_LOOK_S = 0.2
_DEPLOY_LOG = LOGS / "deploy.log"


def up(
    *,
    detach: bool,
    context: Mapping[str, str],
    container: bool = False,
    tls: bool = False,
    options: Sequence[str] = (),
) -> None:
    """Start the local cloud, deploy into it, make a key and stream a first answer.

    Args:
        detach: Return and leave it running; else stay until Ctrl-C, and stop it then.
        context: Settings that replace those of the stage `local`.
        container: Build the model's image and run it by a container engine, instead of a process. An `image_uri` in
            `context` is run as it is.
        tls: Let the API speak HTTPS.
        options: Further ones of `python -m local`; a local cloud that is running keeps those it was started with.

    Raises:
        CommandError: a step failed. What was started goes on running, so that it can be looked at.
        KeyboardInterrupt: Ctrl-C; a local cloud that was started here is stopped.

    """
    stay_local()
    try:  # a mistake is said now, and not after a minute
        settings = settings_from_context({**context, "stage": "local"})
    except SettingsError as error:
        raise CommandError(str(error)) from None
    engine = containers.engine() if container else None
    with alone(LOCAL):
        cloud = _bring_up(context, settings.name, engine, tls=tls, options=options)
    if not detach:
        wait(cloud)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only one that deploys from a folder. Raises CommandError where another one is at work."""
    private(folder)
    with (folder / "up.lock").open("w") as file:  # let go with the process, however it ends
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("Another `sluice up` is at work. Wait until it is ready.") from None
        yield


def _bring_up(
    context: Mapping[str, str], name: str, engine: str | None, *, tls: bool, options: Sequence[str]
) -> LocalCloud:
    started = time.monotonic()
    found = LocalCloud.find(LOCAL)
    try:
        cloud = _start(found, engine, tls=tls, options=options)
        if engine is not None and "image_uri" not in context:
            with step(f"Building the container ({engine} build)") as detail:
                context = {**context, "image_uri": containers.build(engine, log=LOGS / "image.log", detail=detail)}
        stack = _deploy(cloud, context, name=name, tls=tls)
        console.print(f"\n[bold]{QUESTION}[/bold]")
        messages = [{"role": "user", "content": QUESTION}]
        with explained("local", stack.name):
            chat.answer(client(stack), model=stack.model, messages=messages, temperature=0)
    except KeyboardInterrupt:
        console.print()
        if found is None:
            down()
        raise
    console.print(
        f"\n[green]Ready[/green] after {time.monotonic() - started:.0f} s: {stack.base_url}\n\n"
        "  source .venv/bin/activate   for these commands\n"
        '  eval "$(sluice env)"        for any OpenAI client\n'
        "  sluice chat                 to talk to it\n"
        "  sluice down                 to stop it"
    )
    return cloud


def _deploy(cloud: LocalCloud, context: Mapping[str, str], *, name: str, tls: bool) -> LocalStack:
    aws = cloud.aws_environment()
    if not _bootstrapped(aws):
        with step("Bootstrapping CDK in the local account") as detail:
            target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
            # without the application: bootstrapping needs no synthesis
            cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=_DEPLOY_LOG, detail=detail)
    with step("Deploying the stacks (cdk deploy --all)") as detail:
        outputs = cdk.deploy(
            context={**context, "stage": "local"},
            aws=aws,
            outputs=LOCAL / "outputs.json",
            log=_DEPLOY_LOG,
            detail=detail,
        )
    for item in cloud.unhandled():
        text = f"{item['type']} ({item['logical_id']}) is not emulated: {item['effect']}."
        console.print("[yellow]![/yellow]", escape(printable(text, keep="")))
    earlier = LocalStack.earlier()
    if earlier is not None and earlier.usage_table == outputs["UsageTableName"]:
        key = earlier.api_key
    else:
        with step("Creating an API key"):
            key = Admin.of("local", name)("POST", "/keys", {"name": "local"})["secret"]
    stack = LocalStack(
        base_url=f"{'https' if tls else 'http'}://{outputs['DistributionDomain']}/v1",
        api_key=key,
        model=outputs["ModelName"],
        usage_table=outputs["UsageTableName"],
        name=name,
        authority=cloud.authority,
    )
    stack.save()
    return stack


def down() -> None:
    """Stop the local cloud and all it started; say so when there is none."""
    cloud = LocalCloud.find(LOCAL)
    LocalStack.forget()
    try:
        if cloud is None:
            console.print("No local cloud is running.")
        else:
            with step("Stopping the local cloud"):
                cloud.stop()
        if left := sweep(LOCAL):
            console.print(f"Removed {left} container(s) that it had left behind.")
    except (LocalCloudError, EngineError) as error:
        raise CommandError(str(error), log=LOGS / "cloud.log") from None


def client(stack: LocalStack) -> object:
    """Give the stock OpenAI client for a stack."""
    import ssl

    from openai import DefaultHttpxClient, OpenAI

    trust = ssl.create_default_context(cafile=stack.authority) if stack.authority else True
    return OpenAI(
        base_url=stack.base_url,
        api_key=stack.api_key,
        max_retries=0,
        http_client=DefaultHttpxClient(verify=trust),
    )


def _start(running: LocalCloud | None, engine: str | None, *, tls: bool, options: Sequence[str]) -> LocalCloud:
    if running is not None:
        if running.engine != engine:
            runs = f"containers by {running.engine}" if running.engine else "processes in place of containers"
            raise CommandError(f"The local cloud that is running runs {runs}. Stop it first: sluice down")
        if tls != (running.authority is not None):
            speaks = "plain HTTP" if tls else "HTTPS (--tls)"
            raise CommandError(f"The local cloud that is running speaks {speaks}. Stop it first: sluice down")
        if options:
            raise CommandError(
                f"The local cloud that is running does not take {options[0]}. Stop it first: sluice down"
            )
        console.print(f"[green]✓[/green] The local cloud is running [dim](pid {running.pid})[/dim]")
        return running
    for log in (_DEPLOY_LOG, *LOGS.glob("function-*.log"), *LOGS.glob("endpoint-*.log")):
        log.unlink(missing_ok=True)  # of a local cloud before this one
    with step("Starting the local cloud"):
        try:
            return LocalCloud.start(LOCAL, port=_port(), engine=engine, tls=tls, options=options)
        except LocalCloudError as error:
            raise CommandError(str(error), log=LOGS / "cloud.log") from None


def _port() -> int | None:
    """Give the usual port, or None when another program has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            console.print(f"[dim]Port {PORT} is taken; the AWS APIs get another one.[/dim]")
            return None
    return PORT


def _bootstrapped(aws: Mapping[str, str]) -> bool:
    import boto3
    from botocore.exceptions import ClientError

    try:
        found = boto3.client(
            "cloudformation",
            endpoint_url=aws["AWS_ENDPOINT_URL"],
            region_name=aws["AWS_REGION"],
            aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
        ).describe_stacks(StackName="CDKToolkit")
    except ClientError:
        return False
    return bool(found["Stacks"][0]["StackStatus"].endswith("_COMPLETE"))


def wait(cloud: LocalCloud) -> None:
    """Stay until Ctrl-C, and stop the local cloud then; or until it ends.

    Raises:
        CommandError: it was killed, or failed.

    """
    console.print("\n[dim]Ctrl-C stops it.[/dim]")
    try:
        while not cloud.ended():
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        console.print()
        down()
        return
    if (cloud.directory / FILE).exists():  # it removes that itself when it is told to stop
        raise CommandError("The local cloud has ended by itself, or was killed.", log=LOGS / "cloud.log")
    console.print("The local cloud was stopped.")
