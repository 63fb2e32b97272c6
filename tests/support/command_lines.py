"""Every command of `sluice` below a leaf of its parser, with a line that runs it."""

import argparse
from collections.abc import Iterator

LINES = (
    ("keys create", "keys create --name story --tokens-per-day 5k"),
    ("keys list", "keys list"),
    ("keys show", "keys show {key}"),
    ("keys update", "keys update {key} --owner somebody --tokens-per-day 50k"),
    ("keys rotate", "keys rotate {key}"),
    ("keys disable", "keys disable {key}"),
    ("keys enable", "keys enable {key}"),
    ("keys revoke", "keys revoke {key}"),
    ("keys delete", "keys delete {key} --keep-answers --yes"),
    ("usage", "usage --by key,model"),
    ("usage request", "usage request {request}"),
    ("usage reconcile", "usage reconcile"),
    ("usage rebuild", "usage rebuild 2026-11-01T00 2026-11-01T02"),
    ("usage replay", "usage replay /dev/null"),
    ("responses list", "responses list"),
    ("responses show", "responses show {answer}"),
    ("responses cancel", "responses cancel {answer}"),
    ("responses delete", "responses delete {answer} --yes"),
    ("top", "top --once"),
    ("trace", "trace {traced}"),
    ("audit", "audit --most 20"),
    ("doctor", "doctor"),
    ("cost", "cost"),
    ("check", "check --model {model}"),
    ("verify", "verify --list"),
    ("verify", "verify --only alarms"),
    ("endpoint start", "endpoint start"),
    ("fault set", "fault set table-throttled --scope nothing"),
    ("fault list", "fault list"),
    ("fault clear", "fault clear"),
    ("stop", "stop --status"),
    ("destroy", "destroy --plan"),
    ("playground", "playground --no-open"),
    ("env", "env"),
    ("env", "env --aws"),
)
"""The path of a leaf, and a line for it over a deployed stack, in an order that works."""

ELSEWHERE = {
    "up": "tests/setup interrupts it; it deploys a cloud of its own",
    "down": "ends the cloud that the tests share",
    "chat": "prints an answer, not facts; tests/cli/commands/test_chat.py",
    "completion": "prints a script for a shell",
    "load": "its status depends on how busy the machine is; tests/e2e/test_load.py",
    "endpoint stop": "as `start`, and takes the endpoint from other tests",
    "model push": "tests/cli/commands/test_model.py",
    "preflight": "tests/cli/commands/test_preflight.py",
    "responses export": "prints JSON lines; tests/cli/commands/test_responses.py",
    "restore": "makes a table; tests/e2e/test_restore.py",
    "smoke": "tests/e2e/test_smoke.py",
}
"""The other leaves, and why they are not among the lines."""

NO_FACTS = {"up", "down", "chat", "completion", "fault clear"}
"""Leaves without `--json`."""


def parsers(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield a parser and all below it, with their paths."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from parsers(below, f"{path} {name}".strip())


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[str, set[str]]]:
    """Yield each command that runs something, with its options."""
    for path, found in parsers(parser):
        if found.get_default("run") is not None:
            yield path, set(found._option_string_actions)
