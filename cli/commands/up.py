"""`sluice up`: start the local cloud, deploy the stacks into it, and stream a first answer."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from cli.lib.admin_api import Admin, KeyNotFoundError
from cli.lib.command_line import instead_of_stage
from cli.lib.completions import client, complete
from cli.lib.endpoint_state import explained
from cli.lib.failed_deployment import failed
from cli.lib.printable import printable
from cli.lib.project import LOCAL, LOGS, CommandError, UsageError
from cli.lib.settings import add_settings, check_files, settings_of
from cli.lib.signals import ending, undivided
from cli.lib.stack import LocalStack, is_absent, stay_local
from cli.lib.streams import OutputLostError, discard_output
from cli.lib.terminal import console, literal, step
from cli.lib.values import entries, factor, key_id, port_number

if TYPE_CHECKING:
    from cli.lib.local_model import LocalModel
    from local.cloud import LocalCloud

HELP = "Start the local cloud, deploy the stacks into it, stream a first answer."
QUESTION = "Why stream tokens?"
NEXT = """\
  source .venv/bin/activate   for these commands
  eval "$(sluice env)"        for any OpenAI client
  sluice chat                 to talk to it
  sluice playground           to talk to it in a browser
  sluice down                 to stop it; keys and usage are kept"""
PLAYGROUND = "The playground, with a key in the link:"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    text = (
        "serve this GGUF file, or the one model in this folder, with its own template, stop tokens "
        "and context (the demo model)"
    )
    parser.add_argument("--model", type=Path, metavar="PATH", help=text)
    text = "with --model: the file of a chat template instead of the model's own"
    parser.add_argument("--chat-template", type=Path, metavar="FILE", help=text)
    text = "stay; Ctrl-C, or an end of this command by a signal, stops the local cloud"
    parser.add_argument("--foreground", action="store_true", help=text)
    text = "build the model's image and run it by docker or podman"
    parser.add_argument("--container", action="store_true", help=text)
    add_settings(parser)
    text = "The local cloud has only the stage local; `make deploy STAGE=dev` deploys to AWS."
    instead_of_stage(parser, text)
    text = "how many times faster time limits pass than on AWS (1)"
    parser.add_argument("--time-scale", type=factor, default=1, metavar="S", help=text)
    text = (
        "invocations at once in one environment of functions that do not set it, as on Managed "
        "Instances (1)"
    )
    parser.add_argument("--lambda-concurrency", type=entries, default=1, metavar="N", help=text)
    text = (
        "another host name under which the API accepts requests, such as host.docker.internal; "
        "for a forwarded port, localhost; may be repeated"
    )
    parser.add_argument(
        "--host", type=_host, action="append", default=[], metavar="NAME", help=text
    )
    text = (
        "the API's port; if it is taken, stop. Without it: the port of the last time, else 8787, "
        "else the next free one"
    )
    parser.add_argument("--port", type=port_number, metavar="N", help=text)
    text = "forget the keys and the usage that the last local cloud kept"
    parser.add_argument("--reset", action="store_true", help=text)
    parser.add_argument(
        "--tls", action="store_true", help="speak HTTPS, with a certificate made for this machine"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Start, deploy, create a key and stream a first answer.

    The local cloud goes on running. With `--foreground`, wait for Ctrl-C, SIGTERM or SIGHUP, and
    then stop it. If a step fails in it, it goes on running, so that it can be examined. A signal
    during the steps, or output that is lost, stops a local cloud that this command started.
    """
    from cli.lib import cdk, container
    from cli.lib.local_cloud import alone, reset, wait

    stay_local()
    cdk.program()
    changes = dict(args.set)
    model = _model(args, changes)
    if model is not None:
        changes = dict(model.context)
    # an invalid setting is reported now, not after a minute
    settings = settings_of("local", changes)
    check_files(settings, changes)
    name = settings.name
    engine = container.engine() if args.container else None
    with ending():
        with alone(LOCAL):
            if args.reset:
                reset()
            cloud = _bring_up(
                changes,
                name,
                engine,
                model,
                tls=args.tls,
                options=cloud_options(args),
                port=args.port,
            )
        if args.foreground:
            wait(cloud)


def _model(args: argparse.Namespace, changes: Mapping[str, str]) -> "LocalModel | None":
    """Return the model that the arguments name; None for that of the settings."""
    from cli.lib import local_model

    if args.model is not None:
        model = local_model.of(args.model, args.chat_template, changes)
        console.print(f"[green]✓[/green] {escape(printable(model.says, keep=''))}")
        return model
    if args.chat_template is not None:
        raise UsageError(
            "--chat-template needs --model. A deployed model's template is a file beside its "
            "weights, which SLUICE_CHAT_TEMPLATE names."
        )
    return None


def cloud_options(args: argparse.Namespace) -> list[str]:
    """Return the options of `python -m local`.

    A local cloud that is running already keeps the options that it was started with.
    """
    options = ["--time-scale", str(args.time_scale)] if args.time_scale != 1 else []
    options += (
        ["--lambda-concurrency", str(args.lambda_concurrency)]
        if args.lambda_concurrency != 1
        else []
    )
    return options + [f"--host={name}" for name in args.host]


def _bring_up(
    context: Mapping[str, str],
    name: str,
    engine: str | None,
    model: "LocalModel | None",
    *,
    tls: bool,
    options: Sequence[str],
    port: int | None,
) -> "LocalCloud":
    from cli.lib import container, local_cloud
    from local.cloud import LocalCloud

    started = time.monotonic()
    running = LocalCloud.find(LOCAL)
    cloud = None
    try:
        running = local_cloud.reusable(running, engine, tls=tls, options=options, port=port)
        if engine is not None and "image_uri" not in context:
            # If this fails, no local cloud has been started.
            with step(f"Building the container ({engine} build)") as detail:
                context = {
                    **context,
                    "image_uri": container.build(engine, log=LOGS / "image.log", detail=detail),
                }
        cloud = running or local_cloud.start(engine, tls=tls, options=options, port=port)
        if model is not None:
            with local_cloud.answering():
                model.link(_client(cloud.aws_environment(), "s3"))
        stack = _deploy(cloud, context, name=name, tls=tls)
        console.print(f"\n[bold]{QUESTION}[/bold]")
        messages = [{"role": "user", "content": QUESTION}]
        try:
            with explained("local", stack.name):
                complete(client(stack), model=stack.model, messages=messages, temperature=0)
        except CommandError as error:
            raise CommandError(
                f"The local cloud runs and the stacks are deployed, but there was no first answer. "
                f"{error}"
            ) from None
    except (KeyboardInterrupt, OutputLostError) as error:
        if isinstance(error, OutputLostError):  # such as a terminal that is gone
            discard_output()
        console.print()
        if running is not None:
            console.print("The local cloud that ran before goes on. `sluice down` stops it.")
        elif cloud is None and LocalCloud.find(LOCAL) is None:
            console.print("The local cloud had not started yet. Nothing is left running.")
        else:
            local_cloud.stop()
        raise
    console.print(
        f"\n[green]Ready[/green] after {time.monotonic() - started:.0f} s: {stack.base_url}\n\n"
        f"{NEXT}"
    )
    if settings_of("local", dict(context)).playground and console.is_terminal:
        # A file that this output goes to should have no key.
        from cli.commands.playground import link_of

        console.print(f"\n{PLAYGROUND}")
        console.print(literal(link_of(stack)), soft_wrap=True)
    return cloud


def _deploy(cloud: "LocalCloud", context: Mapping[str, str], *, name: str, tls: bool) -> LocalStack:
    from cli.lib import cdk
    from cli.lib.local_cloud import DEPLOY_LOG, answering

    aws = cloud.aws_environment()
    with answering():
        ready = _is_bootstrapped(aws)
    if not ready:
        with step("Bootstrapping CDK in the local account") as detail:
            target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
            # Bootstrapping needs no synthesis, so the application is left out.
            cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=DEPLOY_LOG, detail=detail)
    began = time.time()
    with step("Deploying the stacks (cdk deploy --all)") as detail:
        try:
            outputs = cdk.deploy(
                context={**context, "stage": "local"},
                aws=aws,
                outputs=LOCAL / "outputs.json",
                log=DEPLOY_LOG,
                detail=detail,
            )
        except CommandError as error:
            if cloud.ended():
                raise CommandError(
                    "The local cloud ended while the stacks were deployed: `sluice down` stopped "
                    "it, or it has failed. Start it again by `sluice up`.",
                    log=LOGS / "cloud.log",
                ) from None
            formation = _client(aws, "cloudformation")
            stacks = (f"{name}-local-state", f"{name}-local-service")
            raise failed(formation, stacks, began, error) from None
    with answering():
        unhandled = cloud.unhandled()
    for item in unhandled:
        text = f"{item['type']} ({item['logical_id']}) is not emulated: {item['effect']}."
        console.print("[yellow]![/yellow]", escape(printable(text, keep="")))
    saved = LocalStack.saved()
    kept = saved is not None and saved.usage_table == outputs["UsageTableName"]
    key = saved.api_key if saved is not None and kept and _is_valid(saved.api_key, name) else None
    if kept and key is None:
        console.print("[yellow]![/yellow] The local stack's last key is no longer valid.")
    stack = LocalStack(
        base_url=f"{'https' if tls else 'http'}://{outputs['DistributionDomain']}/v1",
        api_key=key or "",
        model=outputs["ModelName"],
        usage_table=outputs["UsageTableName"],
        name=name,
        authority=cloud.authority,
        pid=cloud.pid,
        websocket_url=outputs.get("WebSocketBaseUrl"),
    )
    if key is None:
        with step("Creating an API key"), undivided():  # a key that is not saved would be left over
            made = Admin.of("local", name)("POST", "/keys", {"name": "local"})
            stack = replace(stack, api_key=made["secret"])
            stack.save()
    else:
        stack.save()
    return stack


def _is_valid(key: str, name: str) -> bool:
    """Return whether a key of the local stack is valid: it may be revoked, or deleted.

    Raises:
        CommandError: the admin API does not say it.

    """
    try:
        return bool(Admin.of("local", name)("GET", f"/keys/{key_id(key)}")["status"] == "active")
    except (KeyNotFoundError, argparse.ArgumentTypeError):  # the saved text may be no key
        return False


def _is_bootstrapped(aws: Mapping[str, str]) -> bool:
    from botocore.exceptions import ClientError

    try:
        [stack] = _client(aws, "cloudformation").describe_stacks(StackName="CDKToolkit")["Stacks"]
    except ClientError as error:
        if not is_absent(error):
            raise
        return False
    return bool(stack["StackStatus"].endswith("_COMPLETE"))


def _client(aws: Mapping[str, str], service: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        region_name=aws["AWS_REGION"],
        aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )


def _host(text: str) -> str:
    """Parse the name of a host, in the form that a browser sends."""
    from local.trust import host_name  # its imports would slow down each other command

    try:
        return host_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
