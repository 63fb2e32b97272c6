"""`sluice chat`: talks to a deployed stack through the stock OpenAI client."""

import contextlib
import sys
import time
from http import HTTPStatus
from typing import Any

from rich.markup import escape

from cli.lib.printable import printable
from cli.lib.project import CommandError
from cli.lib.terminal import console

_Message = dict[str, str]


class Unavailable(CommandError):
    """The API answered 503."""


def answer(client: Any, *, model: str, messages: list[_Message], temperature: float | None = None) -> str:
    """Stream one answer to the screen, with its figures after it; no temperature is the model's own.

    What could steer the terminal is shown and not sent to it; the text that is returned is the model's own.

    Raises:
        CommandError: the API refused, or the answer broke off; Unavailable: with a 503.

    """
    import openai

    started = time.monotonic()
    first = 0.0
    parts: list[str] = []
    tokens = 0
    options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
    try:
        with client.chat.completions.create(
            model=model, messages=messages, stream=True, stream_options={"include_usage": True}, **options
        ) as stream:
            for chunk in stream:
                if chunk.usage is not None:
                    tokens = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    if choice.delta.content:
                        first = first or time.monotonic()
                        parts.append(choice.delta.content)
                        # character by character, so that no sequence is made of what comes in two chunks
                        sys.stdout.write(printable(choice.delta.content))
                        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(" …\n")
        return "".join(parts)
    except openai.APIError as error:
        if parts:
            sys.stdout.write("\n")
            sys.stdout.flush()  # before what is said on the other stream
        kind = Unavailable if getattr(error, "status_code", None) == HTTPStatus.SERVICE_UNAVAILABLE else CommandError
        raise kind(f"The API says: {printable(error.message)}") from None
    seconds = time.monotonic() - (first or started)
    rate = f", {tokens / seconds:.0f} tokens/s" if seconds > 0 and tokens else ""
    sys.stdout.write("\n")
    console.print(f"[dim]{tokens} tokens, first after {((first or started) - started) * 1000:.0f} ms{rate}[/dim]")
    return "".join(parts)


def converse(client: Any, *, model: str) -> None:
    """Talk until the end of input."""
    messages: list[_Message] = []
    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):  # where it exists, `input` gets line editing and a history
            import readline  # noqa: F401
        console.print(f"[dim]{escape(printable(model, keep=''))}. Ctrl-C stops an answer, Ctrl-D ends.[/dim]")
    while True:
        try:
            line = input("> " if terminal else "").strip()
        except (EOFError, KeyboardInterrupt):
            if terminal:
                sys.stdout.write("\n")
            return
        if line:
            messages.append({"role": "user", "content": line})
            text = answer(client, model=model, messages=messages)
            messages.append({"role": "assistant", "content": text})
