"""`sluice check URL`: check whether an API behaves as OpenAI's clients expect."""

import argparse

from cli.lib.command_line import instead_of_stage

HELP = (
    "Check whether an address answers as OpenAI's chat-completions API does; exit with 1 where "
    "it does not."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="the base URL that clients use (the local stack's)"
    )
    parser.add_argument(
        "--key", help="the API key (the local stack's own; elsewhere OPENAI_API_KEY)"
    )
    parser.add_argument("--model", help="the model (the first of the API's list)")
    parser.add_argument("--json", action="store_true", help="print a report for programs")
    text = "a prompt that makes the model fail in the middle of its answer"
    parser.add_argument("--failing-prompt", metavar="TEXT", help=text)
    text = "a prompt that makes the model wait for 20 s before its first token"
    parser.add_argument("--silent-prompt", metavar="TEXT", help=text)
    text = "Give the URL: `sluice env --stage dev` prints that of a stage on AWS."
    instead_of_stage(parser, text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Check the API at `args.url`, or the local stack's."""
    from cli.commands.check.report import check
    from cli.lib.stack import LocalStack
    from cli.lib.trust import authority_of

    url, key = args.url, args.key
    if url is not None:
        authority = authority_of(url)
    else:
        stack = LocalStack.load()
        url, authority = stack.base_url, stack.authority
        if not key:
            key = stack.api_key
            stack.warn_of_other_key()
    check(
        url,
        key=key,
        authority=authority,
        model=args.model,
        as_json=args.json,
        failing_prompt=args.failing_prompt,
        silent_prompt=args.silent_prompt,
    )
