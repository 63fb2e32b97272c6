"""A chat in the terminal: Ctrl-C stops an answer, and one that was cut off goes on where it was.

The server keeps the conversation. This program keeps the ids of its last answer and of one that
runs, with the number of the last event that it has shown, in the file that it gets as argument.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from httpx import HTTPError
from openai import BadRequestError, NotFoundError, OpenAI, OpenAIError

STATE = Path(sys.argv[1] if len(sys.argv) > 1 else "chat.json")
AGAIN = "Start again with the same file to get the rest, or with another for a new answer."
client = OpenAI()
model = os.environ.get("SLUICE_MODEL", "sluice-demo")


def load() -> dict[str, Any]:
    """Return what was saved: the last whole answer, and one that runs with its last event."""
    if not STATE.exists():
        return {"last": None, "running": None}
    try:
        state: dict[str, Any] = json.loads(STATE.read_text())
        return {"last": state["last"], "running": state["running"]}
    except (ValueError, KeyError, TypeError, OSError):
        sys.exit(f"{STATE} is no file of this program. Name another, or none.")


def save(state: dict[str, Any]) -> None:
    """Save it at once: the file is whole even if the program is killed while it writes."""
    new = STATE.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.replace(STATE)


def show(events: Iterable[Any], state: dict[str, Any]) -> None:
    """Print an answer as it comes. Ctrl-C stops it on the server, and with it the GPU's work."""
    has_ended = False
    try:
        for event in events:
            if event.type == "response.created":
                state["running"] = {"id": event.response.id, "seen": 0}
            elif event.type == "response.output_text.delta":
                print(event.delta, end="", flush=True)
            elif event.type in ("response.completed", "response.incomplete"):
                state["last"], has_ended = event.response.id, True
            elif event.type == "response.failed":
                error, has_ended = event.response.error, True  # no error: it was cancelled
                print(f"\n({error.message if error else event.response.status})", end="")
            state["running"]["seen"] = event.sequence_number
            save(state)
    except KeyboardInterrupt:
        if state["running"]:
            with contextlib.suppress(BadRequestError, NotFoundError):  # it has ended meanwhile
                client.responses.cancel(state["running"]["id"])
        print("\n(stopped)", end="")
        has_ended = True
    if not has_ended:
        sys.exit(f"\nThe answer was cut off. {AGAIN}")
    state["running"] = None
    save(state)
    print("\n")


def main() -> None:
    """Finish an answer that was cut off, then answer each line until one is empty."""
    state = load()
    if state["running"]:
        before = state["running"]
        print("(the rest of the last answer)")
        try:
            events = client.responses.retrieve(
                before["id"], stream=True, starting_after=before["seen"]
            )
            show(events, state)
        except NotFoundError:
            print("(it is not kept any more)\n")
            save(state | {"running": None})
    while line := input("> ").strip():
        events = client.responses.create(
            model=model,
            input=line,
            previous_response_id=state["last"],
            background=True,  # it goes on without this program
            stream=True,
        )
        show(events, state)


if __name__ == "__main__":
    try:
        main()
    except (EOFError, KeyboardInterrupt):  # Ctrl-D or Ctrl-C at the prompt
        print()
    except (OpenAIError, HTTPError) as error:  # the second while an answer comes
        sys.exit(f"\n{error}\n{AGAIN}")
