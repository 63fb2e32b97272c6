"""Stream completions of a deployed stack through the stock OpenAI client, and print them."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cli.lib.printable import printable
from cli.lib.project import CommandError, UsageError
from cli.lib.terminal import console
from cli.lib.wrapping import Wrapped

if TYPE_CHECKING:
    from cli.lib.stack import LocalStack

Message = dict[str, str]
_CANCEL_S = 5.0
"""Seconds that a cancel may take."""
_WRONG_INPUT = (400, 404, 413, 422)
"""Statuses of a question or a model that the API does not take."""


class Refused(CommandError):
    """The API refused a request, with an HTTP status and a code such as `rate_limit_exceeded`, or
    its completion broke off, without a status.
    """

    def __init__(self, message: str, *, http_status: int | None = None, code: str = "") -> None:
        """Keep the message; without an answer of the API there is no status."""
        super().__init__(message)
        self.http_status = http_status
        self.code = code
        if http_status in _WRONG_INPUT:
            self.status = UsageError.status


def client(stack: LocalStack) -> Any:
    """Return the stock OpenAI client for a stack."""
    import ssl

    from openai import DefaultHttpxClient, OpenAI

    trust = ssl.create_default_context(cafile=stack.authority) if stack.authority else True
    return OpenAI(
        base_url=stack.base_url,
        api_key=stack.api_key,
        max_retries=0,
        http_client=DefaultHttpxClient(verify=trust),
    )


def _cancel(client: Any, name: str) -> None:
    """Stop the model's work for an answer that is read no more. It raises nothing.

    Without this the answer is generated, and billed, to its end.
    """
    import httpx
    import openai

    path = f"/sluice/streams/{quote(name, safe='')}/cancel"
    with contextlib.suppress(openai.OpenAIError):
        client.with_options(timeout=_CANCEL_S).post(path, cast_to=httpx.Response)


def complete(
    client: Any,
    *,
    model: str,
    messages: list[Message],
    temperature: float | None = None,
    parts: list[str] | None = None,
) -> str:
    """Stream one completion to the screen, print its figures, and return its text.

    Without `temperature`, the model's default applies. Characters that could control the terminal
    are printed as escapes. The returned text is the model's own. `parts` gets its pieces as they
    come, so that a caller has those of an answer that was stopped.

    Raises:
        Refused: the API refused the request, or the completion broke off.
        KeyboardInterrupt: Ctrl-C stopped the answer, and the model's work for it.

    """
    import openai

    started = time.monotonic()
    first = 0.0
    parts = [] if parts is None else parts
    tokens, name = 0, ""
    wrapped = Wrapped(console.width) if console.is_terminal else None
    options: dict[str, Any] = {} if temperature is None else {"temperature": temperature}
    try:
        with client.chat.completions.create(
            model=model,
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
            **options,
        ) as stream:
            for chunk in stream:
                name = chunk.id
                if chunk.usage is not None:
                    tokens = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    if choice.delta.content:
                        first = first or time.monotonic()
                        parts.append(choice.delta.content)
                        # Escaped character by character: two chunks cannot form one escape
                        # sequence.
                        shown = printable(choice.delta.content)
                        sys.stdout.write(wrapped.written(shown) if wrapped else shown)
                        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stdout.write(" …\n")
        sys.stdout.flush()
        if name:
            _cancel(client, name)
        raise
    except openai.APIError as error:
        if parts:
            sys.stdout.write("\n")
            sys.stdout.flush()  # before the error on the other stream
        said = f"The API says: {printable(error.message)}"
        if isinstance(error, openai.APIConnectionError):
            said = f"There is no answer from {client.base_url}: {printable(error.message)}"
        raise Refused(
            said,
            http_status=getattr(error, "status_code", None),
            code=str(error.code or ""),
        ) from None
    seconds = time.monotonic() - (first or started)
    rate = f", {tokens / seconds:.0f} tokens/s" if seconds > 0 and tokens else ""
    sys.stdout.write("\n")
    console.print(
        f"[dim]{tokens:,} tokens, first after {((first or started) - started) * 1000:,.0f} "
        f"ms{rate}[/dim]"
    )
    return "".join(parts)
