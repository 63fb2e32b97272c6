"""The `sluice` command: reads the command line and calls what it names.

Modules that take long to import are imported by the commands that need them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from rich.markup import escape

from cli.commands import operate
from cli.commands.audit import add_audit
from cli.commands.keys import add_keys
from cli.commands.operate import setting
from cli.commands.usage import add_usage
from cli.lib import values
from cli.lib.printable import printable
from cli.lib.project import CommandError
from cli.lib.terminal import console, errors, literal


def _up(given: argparse.Namespace) -> None:
    from cli.commands.up import up

    options = ["--time-scale", str(given.time_scale)] if given.time_scale != 1 else []
    options += ["--lambda-concurrency", str(given.lambda_concurrency)] if given.lambda_concurrency != 1 else []
    options += [f"--host={name}" for name in given.host]
    up(detach=given.detach, context=dict(given.set), container=given.container, tls=given.tls, options=options)


def _down(given: argparse.Namespace) -> None:
    from cli.commands.up import down

    down()


def _env(given: argparse.Namespace) -> None:
    from cli.lib.stack import LocalStack, aws_environment

    if given.aws:
        if given.stage != "local":
            raise CommandError("--aws is for the local cloud; a stage on AWS is reached with your own credentials.")
        sys.stdout.write("unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN\n")
        sys.stdout.write(values.exports(aws_environment("local")))
        return
    stack = LocalStack.of(given.stage, given.stack_name)
    sys.stdout.write(values.exports({"OPENAI_BASE_URL": stack.base_url}))
    if stack.api_key:
        sys.stdout.write(values.exports({"OPENAI_API_KEY": stack.api_key}))
    else:
        made = f"sluice keys create --stage {given.stage} --name NAME"
        sys.stdout.write(f"# OPENAI_API_KEY is yours to set; what makes a key, and shows it once: {made}\n")
    if stack.authority is not None:
        from cli.lib.trust import bundle

        trusted = str(bundle(stack.authority))
        sys.stdout.write(values.exports({"SSL_CERT_FILE": trusted, "NODE_EXTRA_CA_CERTS": trusted}))


def _chat(given: argparse.Namespace) -> None:
    from cli.commands.chat import answer, converse
    from cli.commands.endpoint import explained
    from cli.commands.up import client
    from cli.lib.stack import LocalStack

    stack = LocalStack.of(given.stage, given.stack_name)
    if not stack.api_key:
        raise CommandError("Set OPENAI_API_KEY to a key of that stage, as `sluice keys create` made it.")
    if given.stage == "local":
        _say_whose(stack.api_key)
    model = given.model or stack.model
    with explained(given.stage, stack.name):
        if given.question:
            answer(client(stack), model=model, messages=[{"role": "user", "content": " ".join(given.question)}])
        else:
            converse(client(stack), model=model)


def _doctor(given: argparse.Namespace) -> None:
    from cli.commands.doctor import doctor

    doctor(given.stage, given.stack_name)


def _cost(given: argparse.Namespace) -> None:
    from cli.commands.cost import Use, show

    names = ("completion_tokens", "tokens_per_second", "first_token", "throughput", "utilisation", "streams_per_vcpu")
    use = Use(**{name: getattr(given, name) for name in names})
    show(given.stage, dict(given.set), use, given.instance_hour)


def _say_whose(key: str) -> None:
    """Tell that the local stack's own key is used, where the environment has another one."""
    if os.environ.get("OPENAI_API_KEY", key) != key:
        errors.print("[dim]With the local stack's own key, not the one of OPENAI_API_KEY.[/dim]")


def _check(given: argparse.Namespace) -> None:
    from cli.commands.check import check
    from cli.lib.stack import LocalStack

    url, key = given.url, given.key
    if url is None:
        stack = LocalStack.load()
        url = stack.base_url
        if not key:
            key = stack.api_key
            _say_whose(key)
    check(
        url,
        key=key,
        model=given.model,
        as_json=given.json,
        failing_prompt=given.failing_prompt,
        silent_prompt=given.silent_prompt,
    )


def _fault_list(given: argparse.Namespace) -> None:
    from cli.commands.fault import show

    show()


def _fault_set(given: argparse.Namespace) -> None:
    from cli.commands.fault import add

    after, _, most = given.after.partition("-")
    names = ("kind", "scope", "operation", "containing", "count", "probability", "seed", "seconds", "status")
    fields = {name: getattr(given, name) for name in names}
    try:
        add({**fields, "after": int(after), "after_most": int(most) if most else None})
    except ValueError:
        raise CommandError(f"--after {given.after}: must be BYTES or LEAST-MOST") from None


def _fault_clear(given: argparse.Namespace) -> None:
    from cli.commands.fault import clear

    clear(given.id)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sluice", description="Stream a language model from your own AWS account.")
    parser.add_argument("--version", action="version", version=f"sluice {version('sluice')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "Start the local cloud, deploy the stacks into it, stream a first answer.")
    up.add_argument("--detach", action="store_true", help="return, and leave it running")
    up.add_argument("--container", action="store_true", help="build the model's image and run it by docker or podman")
    up.add_argument(
        "-c", dest="set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="change a setting"
    )
    up.add_argument(
        "--time-scale", type=float, default=1, metavar="S", help="seconds of AWS's limits in one of ours (1)"
    )
    up.add_argument(
        "--lambda-concurrency",
        type=int,
        default=1,
        metavar="N",
        help="invocations in one environment of functions that do not say it themselves, as on Managed Instances (1)",
    )
    up.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this name too, beside localhost: host.docker.internal, or a forwarded port's; may be repeated",
    )
    up.add_argument("--tls", action="store_true", help="speak HTTPS, with a certificate of its own")
    command("down", _down, "Stop the local cloud.")
    env = command("env", _env, 'Print the variables of OpenAI clients, for eval "$(sluice env)".')
    values.add_stack(env)
    env.add_argument("--aws", action="store_true", help="those of AWS clients instead, for the running local cloud")
    chat = command("chat", _chat, "Talk to a deployed model.")
    values.add_stack(chat)
    chat.add_argument("question", nargs="*", help="one question; without it, a conversation")
    chat.add_argument("--model", help="another model than the stack's first")

    doctor = command("doctor", _doctor, "Show every hop's limits as deployed; fail if they contradict each other.")
    values.add_stack(doctor)
    _add_cost(command("cost", _cost, "Compute what requests and tokens cost on AWS, and the share of each service."))
    add_keys(commands)
    operate.add(commands)
    add_usage(commands)
    add_audit(commands)
    text = "Check whether an address answers as OpenAI's chat-completions API does; exit with 1 where it does not."
    checked = command("check", _check, text)
    checked.add_argument("url", nargs="?", metavar="URL", help="the base URL that clients have (the local stack's)")
    checked.add_argument("--key", help="API key (the local stack's own; elsewhere OPENAI_API_KEY)")
    checked.add_argument("--model", help="which model (the first of the list)")
    checked.add_argument("--json", action="store_true", help="a report for programs")
    checked.add_argument("--failing-prompt", metavar="TEXT", help="a prompt that makes the model fail in its answer")
    checked.add_argument("--silent-prompt", metavar="TEXT", help="a prompt that makes the model wait for 20 s")
    _add_fault(commands)
    return parser


def _add_cost(cost: argparse.ArgumentParser) -> None:
    cost.add_argument("--stage", default="prod", choices=["dev", "prod"], help="whose settings (prod)")
    cost.add_argument(
        "-c", dest="set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="change a setting"
    )
    cost.add_argument("--completion-tokens", type=int, default=300, metavar="N", help="of one answer (300)")
    cost.add_argument("--tokens-per-second", type=float, default=40.0, metavar="N", help="of one stream (40)")
    cost.add_argument("--first-token", type=float, default=0.5, metavar="S", help="seconds to the first one (0.5)")
    cost.add_argument(
        "--throughput", type=float, metavar="N", help="tokens a second of an instance (all its slots at that speed)"
    )
    cost.add_argument("--utilisation", type=float, default=0.3, metavar="P", help="of that, over paid hours (0.3)")
    cost.add_argument("--streams-per-vcpu", type=int, default=16, metavar="N", help="on Managed Instances (16)")
    cost.add_argument("--instance-hour", type=float, metavar="USD", help="another price of an instance's hour")


def _add_fault(commands: Any) -> None:
    from cli.commands.fault import kinds

    text = "Make things go wrong in the running local cloud, the same way each time."
    fault = commands.add_parser("fault", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    text = "Show the faults that are set, and how many requests each has seen and struck."
    fault.add_parser("list", help=text, description=text).set_defaults(run=_fault_list)
    text = "Set a fault and print its id. Without --count and --probability it strikes once."
    added = fault.add_parser(
        "set", help=text, description=text, epilog=kinds(), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    added.set_defaults(run=_fault_set)
    added.add_argument("kind", metavar="KIND", help="what goes wrong, see below")
    added.add_argument("--scope", default="*", metavar="PATTERN", help="names of what it strikes, with * and ? (all)")
    added.add_argument("--operation", default="*", metavar="PATTERN", help="DynamoDB calls, such as PutItem (all)")
    added.add_argument(
        "--containing",
        metavar="TEXT",
        help="only DynamoDB calls, or requests to a container, that have this text in their JSON",
    )
    added.add_argument("--count", type=int, metavar="N", help="strike so many requests at most")
    added.add_argument("--probability", type=float, metavar="P", help="strike each request with this probability")
    added.add_argument("--seed", type=int, default=0, metavar="N", help="decides which ones, with their number (0)")
    added.add_argument("--after", default="0", metavar="BYTES", help="bytes of the answer before it, or LEAST-MOST (0)")
    added.add_argument("--seconds", type=float, metavar="S", help="how long, for those that wait (1)")
    added.add_argument("--status", type=int, metavar="STATUS", help="of a container's error (500)")
    text = "Take all faults away, or one."
    cleared = fault.add_parser("clear", help=text, description=text)
    cleared.set_defaults(run=_fault_clear)
    cleared.add_argument("id", nargs="?", help="as `sluice fault set` printed it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give the exit status: 0, 1 when it failed, 2 for a command line that makes no sense."""
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help()
        return 0
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except CommandError as error:
        errors.print("[red]✗[/red]", escape(printable(str(error))))
        if error.log is not None:
            errors.print(f"  The log says more: {error.log}")
        return 1
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        errors.print("[red]✗[/red]", literal(f"{error.strerror or error}{place}"))
        return 1
    except KeyboardInterrupt:
        console.print()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
