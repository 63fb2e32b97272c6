"""`sluice responses`: what it asks of the admin API, and what it reads itself."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from cli.commands import responses
from cli.lib.project import CommandError
from cli.main import main
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage

KEY = "abcdefghijkl"
CONVERSATION = "c" * 26
IDS = ["0" * 25 + str(number) for number in range(3)]


def shown(number: int, **metadata: str) -> dict[str, Any]:
    """Return what the admin API has of an answer."""
    return {
        "id": IDS[number],
        "key": KEY,
        "created_at": 1_800_000_000,
        "model": "m",
        "status": "completed",
        "expires_at": 1_800_086_400,
        "metadata": metadata,
    }


class Api:
    """An admin API of three answers, the last of which runs."""

    def __init__(self) -> None:
        """Begin with no calls."""
        self.calls: list[tuple[str, str]] = []
        self.queries: list[dict[str, Any]] = []

    def __call__(self, method: str, path: str, body: object = None, **_: object) -> dict[str, Any]:
        """Answer a call."""
        self.calls.append((method, path))
        if method == "DELETE" and path.endswith(IDS[2]):
            raise CommandError("This response is still running. Cancel it first.")
        if path.endswith("/cancel"):
            return {"id": IDS[0], "cancelling": True}
        return {"id": path.rpartition("/")[2]} if method == "DELETE" else shown(0)

    def pages(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return a list."""
        self.queries.append({"path": path, **query})
        if path == "/keys":
            return [{"id": KEY}]
        if path == "/conversations":
            return [
                {"id": CONVERSATION, "key": KEY, "created_at": 1, "metadata": {"user": "u"}},
            ]
        return [shown(0, user="u"), shown(1, user="v"), shown(2, user="u")]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    """Put an admin API in the place of a deployed one."""
    found = Api()
    monkeypatch.setattr(responses, "admin", lambda *_: found)
    return found


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the answers whose items were removed with the caller's credentials."""
    names: list[str] = []

    async def remove(_: object, ids: list[str], conversations: list[str]) -> None:
        names.extend([*ids, *conversations])

    monkeypatch.setattr(responses, "_remove", remove)
    return names


def test_a_list_asks_each_key_without_content(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `--key`, all keys are asked; with it, only that one is."""
    assert main(["responses", "list", "--json"]) == 0
    assert [it["id"] for it in json.loads(capsys.readouterr().out)] == IDS
    assert [it["path"] for it in api.queries] == ["/keys", "/responses"]
    api.queries.clear()
    assert main(["responses", "list", "--key", KEY, "--status", "failed", "--most", "1"]) == 0
    [query] = api.queries
    assert (query["key"], query["status"]) == (KEY, "failed")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([IDS[0]], [IDS[0]]),
        (["--metadata", "user=u"], [IDS[0], IDS[2], CONVERSATION]),
        (["--key", KEY], [*IDS, CONVERSATION]),
        (["--key", KEY, "--metadata", "user=v"], [IDS[1]]),
    ],
)
def test_a_deletion_takes_what_is_named(
    api: Api,
    removed: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: list[str],
) -> None:
    """One answer, or all of a key or with a field, conversations too. What runs is named, and the
    others are deleted.
    """
    assert main(["responses", "delete", *arguments, "--yes", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    deleted = [it for it in expected if it != IDS[2]]
    assert ([*printed["deleted"], *printed["conversations"]], removed) == (deleted, deleted)
    assert printed["running"] == [it for it in expected if it == IDS[2]]
    assert [path for method, path in api.calls if method == "DELETE"] == [
        f"/conversations/{name}" if name == CONVERSATION else f"/responses/{name}"
        for name in expected
    ]


@pytest.mark.parametrize("arguments", [[], [IDS[0], "--key", KEY]])
def test_a_deletion_needs_one_selection(
    api: Api, removed: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """Neither nothing nor two at once."""
    assert main(["responses", "delete", *arguments, "--yes"]) == 2
    assert "Name one answer" in capsys.readouterr().err
    assert (api.calls, removed) == ([], [])


def test_a_deletion_without_a_terminal_is_confirmed(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it would delete."""
    assert main(["responses", "delete", IDS[0]]) == 1
    assert "Delete 1 answer for good?" in capsys.readouterr().err
    assert api.calls == []


@pytest.mark.parametrize("command", ["show", "cancel", "delete"])
def test_what_is_not_an_id_is_not_asked_for(
    api: Api, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The admin API would say only which pattern an id has."""
    with pytest.raises(SystemExit):
        main(["responses", command, "nope"])
    assert "not an answer's id; `sluice responses list`" in capsys.readouterr().err
    assert api.calls == []


def test_a_deletion_of_nothing_asks_nothing(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to confirm where no answer was found."""
    assert main(["responses", "delete", "--metadata", "user=nobody"]) == 0
    assert capsys.readouterr().out == "Deleted no answers.\n"
    assert api.calls == []


def test_an_answer_is_cancelled(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """The command tells that its function ends it soon."""
    assert main(["responses", "cancel", IDS[0]]) == 0
    assert "within 5 seconds" in capsys.readouterr().out
    assert api.calls == [("POST", f"/responses/{IDS[0]}/cancel")]


class Contents:
    """A table of which a test counts what was read and what was printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
        """Take the place of the table and its readers."""
        self.said = said
        self.read = self.most = 0
        monkeypatch.setattr(responses, "own_table", self.table)
        monkeypatch.setattr(responses, "_name_of_table", lambda _: "streams")
        monkeypatch.setattr(responses, "aws_options", lambda _: {})
        monkeypatch.setattr(responses, "_content", self.content)
        monkeypatch.setattr(responses, "_items", self.items)
        monkeypatch.setattr("sys.stdout.write", self.write)
        self.printed: list[str] = []

    @asynccontextmanager
    async def table(self, name: str, _: object) -> AsyncIterator[str]:
        """Yield the table."""
        yield name

    async def content(self, _: object, name: str) -> dict[str, Any] | None:
        """Return what an answer says. The last one has gone."""
        if name == IDS[2]:
            return None
        self.read += 1
        self.most = max(self.most, self.read - len(self.printed))
        return {"output": [{"content": self.said}]}

    async def items(self, _: object, name: str, key: str) -> list[Any]:
        """Return the items of a conversation."""
        assert (name, key) == (CONVERSATION, KEY)
        self.read += 1
        return [{"id": "msg_a"}]

    def write(self, text: str) -> int:
        """Take what is printed."""
        self.printed.append(text)
        return len(text)


def test_an_export_is_a_line_for_each_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the admin API has and what the table has stand together. What has gone is left out."""
    said = "ö\x9b31m\u202e"  # what a model says may be meant for the terminal
    contents = Contents(monkeypatch, said)
    assert main(["responses", "export", "--key", KEY]) == 0
    printed = "".join(contents.printed)
    assert printed.isascii()
    *lines, conversation = [json.loads(line) for line in printed.splitlines()]
    assert [(it["id"], it["model"], it["output"]) for it in lines] == [
        (name, "m", [{"content": said}]) for name in IDS[:2]
    ]
    assert (conversation["id"], conversation["items"]) == (CONVERSATION, [{"id": "msg_a"}])


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--json", "--status", "failed"]])
def test_an_export_holds_one_answer_at_a_time(
    api: Api, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """However many there are, each is printed before the next one is read or even asked for."""
    contents = Contents(monkeypatch, "x")
    asked = 0

    def pages(path: str, **_: Any) -> Iterator[dict[str, Any]]:
        nonlocal asked
        for _number in range(500 if path == "/responses" else 0):
            asked += 1
            assert asked <= len(contents.printed) + 1
            yield shown(0)

    api.pages = pages  # type: ignore[assignment,method-assign]
    assert main(["responses", "export", "--key", KEY, *arguments]) == 0
    assert (contents.read, contents.most) == (500, 1)
    printed = "".join(contents.printed)
    lines = json.loads(printed) if arguments else printed.splitlines()
    assert len(lines) == 500


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e400", "-1e400"])
def test_no_number_of_a_client_breaks_an_export(number: str) -> None:
    """Members that the API does not read are kept as they came. They are printed as texts."""
    found = responses.item_of(msgspec.Raw(b'{"role":"user","n":[%b,1,0.5]}' % number.encode()))
    assert found == {"role": "user", "n": [number, 1, 0.5]}
    json.dumps(found, allow_nan=False)


def test_an_export_of_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON it is an empty list."""
    contents = Contents(monkeypatch, "x")
    api.pages = lambda path, **_: []  # type: ignore[method-assign]
    assert main(["responses", "export", "--key", KEY, "--json"]) == 0
    assert json.loads("".join(contents.printed)) == []


@pytest.mark.parametrize("name", ["", "\x1b[31m", "../keys/x", "a?b", "x" * 61])
def test_what_is_no_id_of_an_answer(
    api: Api, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """It is refused before it becomes a part of a path."""
    for command in (["show"], ["cancel"], ["delete", "--yes"]):
        with pytest.raises(SystemExit) as ended:
            main(["responses", *command, name])
        assert ended.value.code == 2
        assert "this is not an answer's id" in capsys.readouterr().err
    assert api.calls == []


def test_what_a_client_got_is_put_together() -> None:
    """Texts, reasoning, refusals and calls of each choice are joined in their order."""

    def delta(index: int = 0, **fields: Any) -> Delta:
        return Delta(msgspec.Raw(msgspec.json.encode(fields)), index, 1)

    def call(**fields: Any) -> list[dict[str, Any]]:
        return [{"index": 0, **fields}]

    events: list[Event] = [
        Start(1),
        delta(reasoning_content="so"),
        delta(content="a"),
        delta(1, refusal="no"),
        delta(content="b"),
        delta(tool_calls=call(id="c", function={"name": "f", "arguments": ""})),
        delta(tool_calls=call(function={"arguments": "{}"})),
        Finish("tool_calls"),
        Finish("stop", 1),
        Usage(1, 5),
        End(),
    ]
    assert responses.output_of(events) == [
        {
            "index": 0,
            "content": "ab",
            "tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}],
            "reasoning_content": "so",
            "finish_reason": "tool_calls",
        },
        {"index": 1, "content": "", "tool_calls": [], "refusal": "no", "finish_reason": "stop"},
    ]


def test_who_may_not_read_the_table_is_told_that_answers_are_hidden(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The deletion counts. Its items go when they expire."""

    @asynccontextmanager
    async def denied(name: str, _: object) -> AsyncIterator[None]:
        if name == "streams":
            raise CommandError("AccessDenied")
        yield

    monkeypatch.setattr(responses, "own_table", denied)
    monkeypatch.setattr(responses, "_name_of_table", lambda _: "streams")
    monkeypatch.setattr(responses, "aws_options", lambda _: {})
    assert main(["responses", "delete", IDS[0], "--yes"]) == 0
    assert "They are hidden" in capsys.readouterr().out


def test_at_most_so_many_is_a_number_from_1() -> None:
    """A limit that would show nothing is an invalid command line."""
    with pytest.raises(SystemExit) as ended:
        main(["responses", "list", "--most=0"])
    assert ended.value.code == 2
