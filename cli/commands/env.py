"""`sluice env`: print environment variables for OpenAI clients, or for AWS clients."""

import argparse
import sys

from cli.lib import values
from cli.lib.project import UsageError
from cli.lib.stack import LocalStack, running_cloud
from cli.lib.terminal import print_json

HELP = 'Print the variables of OpenAI clients, for eval "$(sluice env)".'


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    parser.add_argument(
        "--aws",
        action="store_true",
        help="print the variables of AWS clients, for the running local cloud",
    )
    parser.add_argument("--json", action="store_true", help="print the variables as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print lines that a POSIX shell can evaluate."""
    if args.aws:
        if args.stage != "local":
            raise UsageError(
                "--aws is for the local cloud; a stage on AWS is reached with your own credentials."
            )
        variables = running_cloud().aws_environment()
        if args.json:
            print_json(variables)
            return
        sys.stdout.write("unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN\n")
        sys.stdout.write(values.exports(variables))
        return
    stack = LocalStack.of(args.stage, args.stack_name)
    variables = {"OPENAI_BASE_URL": stack.base_url}
    if stack.websocket_url is not None:
        variables["OPENAI_WEBSOCKET_BASE_URL"] = stack.websocket_url
    if stack.api_key:
        variables["OPENAI_API_KEY"] = stack.api_key
    if stack.authority is not None:
        from cli.lib.trust import bundle

        trusted = str(bundle(stack.authority))
        variables |= {"SSL_CERT_FILE": trusted, "NODE_EXTRA_CA_CERTS": trusted}
    if args.json:
        print_json(variables)
        return
    sys.stdout.write(values.exports(variables))
    if not stack.api_key:
        command = f"sluice keys create --stage {args.stage} --name NAME"
        sys.stdout.write(
            f"# Set OPENAI_API_KEY yourself. This makes a key, and shows it once: {command}\n"
        )
