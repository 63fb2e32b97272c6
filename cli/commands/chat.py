"""`sluice chat`: ask a deployed model one question, or have a conversation with it."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.markup import escape

from cli.lib import values
from cli.lib.completions import Message, Refused, client, complete
from cli.lib.endpoint_state import explained
from cli.lib.printable import printable
from cli.lib.project import CommandError, UsageError
from cli.lib.stack import LocalStack
from cli.lib.terminal import console, show_error

HELP = "Talk to a deployed model."
_LIST_S = 10.0
"""Seconds for the list of models, which only adds to a message."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    parser.add_argument("question", nargs="*", help="one question; without it, a conversation")
    parser.add_argument("--model", help="the model (the stack's first)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the answer to the question, or converse."""
    stack = LocalStack.of(args.stage, args.stack_name)
    if not stack.api_key:
        raise CommandError(
            f"No key is set for the stage {args.stage}: export OPENAI_API_KEY=..., with a "
            "key that `sluice keys create "
            f"--stage {args.stage}` made."
        )
    if args.stage == "local":
        stack.warn_of_other_key()
    model = args.model or stack.model
    api = client(stack)

    def ask(messages: list[Message], parts: list[str]) -> None:
        with explained(args.stage, stack.name), _named(args.model, stack):
            complete(api, model=model, messages=messages, parts=parts)

    if args.question:
        ask([{"role": "user", "content": " ".join(args.question)}], [])
    else:
        converse(ask, model=model)


@contextlib.contextmanager
def _named(model: str | None, stack: LocalStack) -> Iterator[None]:
    """Add to the refusal of a model that was named the models that the stack has."""
    try:
        yield
    except Refused as error:
        if model is None or error.code != "model_not_found":
            raise
        names = _models(stack)
        if not names:
            raise
        raise UsageError(f"{error} `--model` may be: {', '.join(names)}.") from None


def _models(stack: LocalStack) -> list[str]:
    """Return the names of the stack's models; none if its API does not list them (now)."""
    from openai import OpenAIError

    try:
        return sorted(str(it.id) for it in client(stack).models.list(timeout=_LIST_S))
    except (OpenAIError, ValueError, TypeError, AttributeError, RecursionError):
        return []  # the client passes on what Python says of a list that is none


def converse(ask: Callable[[list[Message], list[str]], None], *, model: str) -> None:
    """Read lines and answer each, until the end of input.

    `ask` gets the messages so far, prints the answer, and adds its pieces to a list. On a terminal,
    a failure is printed and the conversation goes on, unless the first answer has not begun. It
    goes on with the part of the answer that came. If none came, the question is removed.

    Raises:
        CommandError: the first answer did not begin, or one failed and the input is no terminal.

    """
    messages: list[Message] = []
    terminal = sys.stdin.isatty()
    if terminal:
        # where it exists, `input` gets line editing and a history
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401
        console.print(
            f"[dim]{escape(printable(model, keep=''))}. Ctrl-C stops an answer, Ctrl-D ends.[/dim]"
        )
    while True:
        try:
            line = input("> " if terminal else "").strip()
        except EOFError:
            if terminal:
                sys.stdout.write("\n")
            return
        if line:
            messages.append({"role": "user", "content": line})
            parts: list[str] = []
            try:
                with contextlib.suppress(KeyboardInterrupt):
                    ask(messages, parts)
            except CommandError as error:
                if not terminal or (len(messages) == 1 and not parts):
                    raise
                show_error(error)
                if not parts:
                    messages.pop()
                    continue
            messages.append({"role": "assistant", "content": "".join(parts)})
