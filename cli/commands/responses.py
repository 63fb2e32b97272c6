"""`sluice responses ...`: what is kept of answers, without their content unless asked for it.

Lists, look-ups, cancels and deletions go through the admin API, which sees no content and writes
the audit trail. Content is read straight from the table with the caller's own AWS credentials, so
that CloudTrail can record who read it.
"""

import argparse
import asyncio
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

from cli.lib import values
from cli.lib.admin_api import Admin, add_access, admin
from cli.lib.own_table import own_table
from cli.lib.project import CommandError, UsageError
from cli.lib.stack import aws_options, outputs_of
from cli.lib.terminal import confirm, console, literal, print_json, require_terminal, show

if TYPE_CHECKING:
    from msgspec import Raw

    from lambda_fn.aws.dynamodb import Table as StreamTable
    from lambda_fn.events import Event

HELP = "List, show, cancel, delete and export the answers that are kept."
_COLUMNS = ("created", "id", "key", "model", "status", "expires")
_STATUSES = ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")
_ANSWER = re.compile(r"[A-Za-z0-9_-]{26,60}")  # as the admin API
_MAX_DIGITS = 4000  # Python reads 4,300
_COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow"}


def add(parser: argparse.ArgumentParser) -> None:
    """Add a parser for each subcommand."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        add_access(added)
        return added

    listing = command("list", _list, "List kept answers, without their content.")
    _add_selection(listing)
    text = "the maximum number of answers (100)"
    listing.add_argument("--most", type=values.entries, default=100, metavar="N", help=text)
    shown = command("show", _show, "Show one kept answer.")
    _add_id(shown)
    text = "print its text, too, read with your own AWS credentials"
    shown.add_argument("--content", action="store_true", help=text)
    cancel = command("cancel", _cancel, "Cancel an answer that runs, kept or not.")
    _add_id(cancel)
    text = (
        "Delete kept answers for good: one, or all of a key, or those with a metadata field, and "
        "conversations likewise. They are hidden at once. Their items are removed with your own "
        "AWS credentials, or by the sweeper."
    )
    delete = command("delete", _delete, text)
    text = "the value of x-sluice-stream"
    delete.add_argument("id", type=_answer, nargs="?", metavar="ANSWER", help=text)
    delete.add_argument("--key", type=values.key_id, help="all answers of this key")
    text = "only answers with this field of metadata, of all keys or of --key"
    delete.add_argument("--metadata", type=_field, metavar="NAME=VALUE", help=text)
    delete.add_argument(
        "--yes", action="store_true", help="do not ask; required without a terminal"
    )
    text = (
        "Print kept answers and conversations with their content as JSON lines, for the records. "
        "The content is read with your own AWS credentials."
    )
    export = command("export", _export, text)
    _add_selection(export)


def _add_id(parser: argparse.ArgumentParser) -> None:
    text = "the value of x-sluice-stream, or an answer's id"
    parser.add_argument("id", type=_answer, metavar="ANSWER", help=text)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", type=values.key_id, help="only answers of this key")
    text = f"only answers of this status: {', '.join(_STATUSES)}"
    parser.add_argument("--status", choices=_STATUSES, metavar="STATUS", help=text)
    text = "how far back (30d)"
    parser.add_argument(
        "--since", type=values.seconds, default=30 * 86_400, metavar="TIME", help=text
    )


def _answer(text: str) -> str:
    if _ANSWER.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(
            "this is not an answer's id; `sluice responses list` shows the ids"
        )
    return text


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not a field such as user=U")
    return name, value


def _kept(
    api: Admin, *, key: str | None, path: str = "/responses", **query: object
) -> Iterator[dict[str, Any]]:
    """Yield the kept answers of one key, or of all keys in turn."""
    keys = [key] if key is not None else [it["id"] for it in api.pages("/keys", limit=100)]
    for one in keys:
        yield from api.pages(path, key=one, limit=100, **query)


def _conversations(api: Admin, *, key: str | None, **query: object) -> Iterator[dict[str, Any]]:
    """Yield the conversations of one key, or of all keys in turn."""
    return _kept(api, key=key, path="/conversations", **query)


def _selected(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    since = int(time.time()) - args.since
    return _kept(admin(args), key=args.key, status=args.status, since=since)


def _list(args: argparse.Namespace) -> None:
    found = list(itertools.islice(_selected(args), max(args.most, 0)))
    if args.json:
        print_json(found)
    elif not found:
        console.print("No kept answers were found.")
    else:
        _table(found)


def _table(found: Iterable[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in _COLUMNS:
        table.add_column(name, no_wrap=name in {"created", "id", "key"}, overflow="fold")
    for it in found:
        table.add_row(
            values.when(it["created_at"]),
            *(literal(it[name]) for name in ("id", "key", "model")),
            f"[{_COLOURS.get(it['status'], 'default')}]{it['status']}[/]",
            values.when(it["expires_at"]),
        )
    show(table)


def _show(args: argparse.Namespace) -> None:
    found = admin(args)("GET", f"/responses/{args.id}")
    if args.content:
        found |= asyncio.run(_shown_content(args, found["id"]))
    if args.json:
        print_json(found)
        return
    _table([found])
    for output in found.get("output", ()):
        console.print()
        console.print(literal(output["content"]), markup=False, soft_wrap=True)


async def _shown_content(args: argparse.Namespace, name: str) -> dict[str, Any]:
    async with own_table(_name_of_table(args), aws_options(args.stage)) as table:
        content = await _content(table, name)
    if content is None:
        raise CommandError("The answer has just expired, or was deleted.")
    return content


def _cancel(args: argparse.Namespace) -> None:
    result = admin(args)("POST", f"/responses/{args.id}/cancel")
    if args.json:
        print_json(result)
    elif result["cancelling"]:
        console.print(f"{literal(result['id'])} ends within 5 seconds.")
    else:
        console.print(f"{literal(result['id'])} had already ended.")


def _delete(args: argparse.Namespace) -> None:
    if (args.id is None) == (args.key is None and args.metadata is None):
        raise UsageError("Name one answer, or --key, --metadata, or both of them.")
    api = admin(args)
    ids, conversations = [args.id], []
    if args.id is None:
        # Ids only: of a large deployment, all that is listed might not fit into memory.
        ids = [it["id"] for it in _kept(api, key=args.key) if _has(it, args.metadata)]
        conversations = [
            {"id": it["id"], "key": it["key"]}
            for it in _conversations(api, key=args.key)
            if _has(it, args.metadata)
        ]
    if (ids or conversations) and not args.yes:
        words = f"Delete {_counted(len(ids), len(conversations))} for good?"
        require_terminal(f"{words} Confirm it with --yes.")
        if not confirm(words):
            raise CommandError("Nothing was deleted.")
    deleted, running = [], []
    for name in ids:
        try:
            deleted.append(api("DELETE", f"/responses/{name}")["id"])
        except CommandError as error:
            if args.id is not None or "running" not in str(error):
                raise
            running.append(name)
    for it in conversations:
        api("DELETE", f"/conversations/{it['id']}", key=it["key"])
    gone = [it["id"] for it in conversations]
    asyncio.run(_remove(args, deleted, gone))
    if args.json:
        print_json({"deleted": deleted, "running": running, "conversations": gone})
        return
    console.print(f"Deleted {_counted(len(deleted), len(gone))}.")
    if running:
        console.print(f"Some answers still run. Cancel them first: {literal(' '.join(running))}")


def _counted(answers: int, conversations: int) -> str:
    also = f" and {values.counted(conversations, 'conversation')}" if conversations else ""
    return values.counted(answers, "answer") + also


def _has(found: dict[str, Any], field: tuple[str, str] | None) -> bool:
    return field is None or found["metadata"].get(field[0]) == field[1]


def _export(args: argparse.Namespace) -> None:
    asyncio.run(_export_all(args))


async def _export_all(args: argparse.Namespace) -> None:
    """Write one answer after another. One at a time is in memory, however many there are."""
    api, since = admin(args), int(time.time()) - args.since
    separator = "["

    def write(line: dict[str, Any]) -> None:
        nonlocal separator
        text = json.dumps(line)  # a terminal obeys more than JSON escapes
        sys.stdout.write(f"{separator}\n{text}" if args.json else f"{text}\n")
        separator = ","

    async with own_table(_name_of_table(args), aws_options(args.stage)) as table:
        for it in _kept(api, key=args.key, status=args.status, since=since):
            content = await _content(table, it["id"])
            if content is not None:
                write(it | content)
        if args.status is None:
            for it in _conversations(api, key=args.key, since=since):
                items = await _items(table, it["id"], it["key"])
                if items is not None:
                    write({**it, "items": items})
    if args.json:
        sys.stdout.write("[]\n" if separator == "[" else "\n]\n")


def _name_of_table(args: argparse.Namespace) -> str:
    outputs = outputs_of(args.stage, f"{args.stack_name}-{args.stage}-state") or {}
    if "StreamTableName" not in outputs:
        raise CommandError("This deployment keeps no answers: its setting persistence is off.")
    return outputs["StreamTableName"]


async def _content(table: "StreamTable", name: str) -> dict[str, Any] | None:
    """Return the content of an answer, read with the caller's own credentials.

    None means that it has expired, or was deleted.
    """
    from lambda_fn.stream_log.results import read_kept

    kept = await read_kept(table, name, now=time.time())
    if kept is None:
        return None
    head = kept.head
    return {
        "usage": {
            "prompt_tokens": head.prompt_tokens,
            "completion_tokens": head.completion_tokens,
        },
        "input": [item_of(raw) for raw in kept.input.items],
        "output": output_of(kept.events),
    }


async def _items(table: "StreamTable", name: str, key: str) -> list[Any] | None:
    """Return the items of a conversation, None if it has expired or was deleted."""
    from lambda_fn.stream_log.conversations import Conversations, Gone

    kept = Conversations(table, days=1)  # nothing is written
    try:
        await kept.read(name, key)
    except Gone:
        return None
    return [item_of(raw) async for entry in kept.entries(name) for raw in entry.items]


def item_of(raw: "Raw") -> Any:
    """Return an item as its client sent it. A number that Python cannot hold stays a text."""
    return json.loads(bytes(raw), parse_int=_whole, parse_float=_decimal)


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _decimal(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def output_of(events: Iterable["Event"]) -> list[dict[str, Any]]:
    """Return what the client of an answer got, by choice: text, reasoning, refusal and calls."""
    from lambda_fn.encode.base import read_delta
    from lambda_fn.events import Delta, Finish

    choices: dict[int, dict[str, Any]] = {}
    for event in events:
        if not isinstance(event, Delta | Finish):
            continue
        choice = choices.setdefault(event.index, {"content": "", "tool_calls": {}})
        if isinstance(event, Finish):
            choice["finish_reason"] = event.finish_reason
            continue
        delta = read_delta(event)
        choice["content"] += delta.content or ""
        for name in ("reasoning_content", "refusal"):
            if text := getattr(delta, name):
                choice[name] = choice.get(name, "") + text
        for piece in delta.tool_calls or ():
            call = choice["tool_calls"].setdefault(
                piece.index, {"id": "", "name": "", "arguments": ""}
            )
            call["id"] += piece.id or ""
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""
    return [
        {"index": index, **choice, "tool_calls": list(choice["tool_calls"].values())}
        for index, choice in sorted(choices.items())
    ]


async def _remove(args: argparse.Namespace, ids: list[str], conversations: list[str]) -> None:
    """Remove the items of what was deleted, if the caller's own credentials allow it."""
    from lambda_fn.stream_log.keys import conversation_key, head_key
    from lambda_fn.stream_log.removal import remove

    heads = [*map(head_key, ids), *map(conversation_key, conversations)]
    if not heads:
        return
    try:
        async with own_table(_name_of_table(args), aws_options(args.stage)) as table:
            for head in heads:
                await remove(table, head, now=int(time.time()))
    except CommandError as error:
        console.print(
            "They are hidden. The sweeper removes their items within minutes, because your own "
            f"credentials could not: {literal(error)}"
        )
