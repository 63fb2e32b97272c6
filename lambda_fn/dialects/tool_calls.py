"""Tells the tool calls of one choice apart, and writes their pieces as OpenAI does. Pure.

A piece belongs to a call by its index, its id and its order, of which servers send all, some or
none: Ollama gives every call the index 0, others send no index, and others another id with each
piece. The results have indexes from 0 in the order in which calls begin, an id and the type on a
call's first piece, and arguments that are text.
"""

import hashlib
from typing import Any

import msgspec

_json = msgspec.json.encode
_MOST = 2**20
"""Characters of a call's arguments that are kept, to see whether they are complete."""
_MOST_CALLS = 1_000
_DIGITS = 3
_ARGUMENTS = ("arguments", "parameters", "input", "args", "params")
_NO_ARGUMENTS = ("{}", "null")


class _Call:
    """A call that has begun. `index` is ours, and `server_index` is the server's."""

    def __init__(self, index: int, server_index: int | None, server_id: str, own_id: str) -> None:
        self.index = index
        self.server_index = server_index
        self.server_id = server_id
        self.id = own_id
        self.name = ""
        self.held = False
        """Whether arguments without members came, which other ones may still replace."""
        self._arguments: list[str] = []
        self._size = 0

    def add(self, text: str) -> None:
        self._size += len(text)
        if self._size <= _MOST:
            self._arguments.append(text)

    @property
    def empty(self) -> bool:
        """Whether nothing but white space has come."""
        return self._size < _MOST and not "".join(self._arguments).strip()

    @property
    def complete(self) -> bool:
        """Whether the arguments are one JSON value, so that a piece with a name begins a call."""
        if self.held and self.empty:
            return True
        if self._size > _MOST:
            return False
        try:
            msgspec.json.decode("".join(self._arguments), type=msgspec.Raw)
        except (ValueError, RecursionError):
            return False
        return True

    def said(self, text: str) -> bool:
        """Return whether the arguments are this text already."""
        return self._size == len(text) and "".join(self._arguments) == text

    def rest_of(self, text: str) -> str:
        """Return what a text adds to the arguments if it begins with all of them, else the text."""
        so_far = "".join(self._arguments) if 0 < self._size <= _MOST else ""
        return text[len(so_far) :] if so_far.strip() and text.startswith(so_far) else text


class ToolCalls:
    """The calls of one choice."""

    def __init__(self) -> None:
        """Begin with no call."""
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        """Return whether a call has begun."""
        return bool(self._calls)

    def read(self, pieces: list[dict[str, Any]], seed: bytes) -> list[dict[str, Any]]:
        """Return the pieces as OpenAI writes them.

        Args:
            pieces: Those of one delta or message, as the server sent them.
            seed: The record's bytes, from which ids are made that a server does not send.

        Raises:
            ValueError: there are too many calls.

        """
        out = []
        here: set[int] = set()  # the calls that this list has a piece of
        for place, piece in enumerate(pieces):
            function = piece.get("function")
            fields = function if isinstance(function, dict) else piece
            name = _text(fields.get("name"))
            arguments = _arguments(next((it for n in _ARGUMENTS if (it := fields.get(n))), None))
            index, sent_id = _index(piece.get("index")), _text(piece.get("id"))
            call = self._find(index, sent_id, name, arguments, piece, from_end=len(pieces) - place)
            if call is not None and call.index in here and name and not sent_id:
                call = None
            opened = call is None
            if call is None:
                if len(self._calls) >= _MOST_CALLS:
                    raise ValueError("too many tool calls")
                own_id = sent_id if sent_id and not self._known(sent_id) else self._new_id(seed)
                call = _Call(len(self._calls), index, sent_id, own_id)
                self._calls.append(call)
            here.add(call.index)
            written = self._write(call, name, arguments, opened=opened)
            if written is not None:
                out.append(written)
        return out

    def close(self, *, cut: bool = False) -> list[dict[str, Any]]:
        """Return the pieces that end calls without arguments, which become `{}`.

        If the response was `cut` at a limit, the last call has not come to its arguments.

        Raises:
            ValueError: a call has no name.

        """
        ended = [
            call for call in self._calls if not cut or call.held or call is not self._calls[-1]
        ]
        if any(not call.name for call in ended):
            raise ValueError("a tool call without a name")
        return [
            {"index": call.index, "function": {"arguments": "{}"}} for call in ended if call.empty
        ]

    def _write(
        self, call: _Call, name: str, arguments: str, *, opened: bool
    ) -> dict[str, Any] | None:
        if call.empty and arguments.startswith('"'):
            arguments = _inner(arguments)
        if call.empty and arguments.strip() in _NO_ARGUMENTS:
            call.held, arguments = True, ""  # some servers open every call with them
        if name == call.name and not opened:
            name = ""  # some servers repeat it with each piece
            arguments = call.rest_of(arguments)  # and some all arguments so far
        if arguments and not opened and call.said(arguments) and call.complete:
            arguments = ""  # the whole call once more
        call.name += name
        call.add(arguments)
        function = {"name": name} if name else {}
        if opened:
            return {
                "index": call.index,
                "id": call.id,
                "type": "function",
                "function": {**function, "arguments": arguments},
            }
        if not name and not arguments:
            return None
        return {"index": call.index, "function": {**function, "arguments": arguments}}

    def _find(
        self,
        index: int | None,
        sent_id: str,
        name: str,
        arguments: str,
        piece: dict[str, Any],
        *,
        from_end: int,
    ) -> _Call | None:
        """Return the call that a piece continues, or None if it begins one.

        `from_end` is the piece's place in its list, counted from the end from 1.
        """
        for call in reversed(self._calls):
            if sent_id and call.server_id == sent_id and index in (None, call.server_index):
                # A server that gives all its calls one id: a name and arguments begin another.
                other = name and _begins(arguments) and call.complete and not call.said(arguments)
                return None if other else call
        same = [call for call in self._calls if index in (None, call.server_index)]
        if not same:
            return None
        last = same[-1]
        if index is None and not name and not sent_id:
            return self._calls[-from_end] if from_end <= len(self._calls) else last
        if not name:
            return last  # also with another id, as Poolside sends
        if sent_id:
            # Only an id that comes late belongs to a call which has begun already.
            late = not last.server_id and name == last.name and last.empty and not last.held
            return last if late else None
        if not last.name:
            return last
        if name == last.name:
            return None if _begins(arguments) and last.complete else last
        if index is not None and last.empty and not last.held and "type" not in piece:
            return last  # the name itself comes in pieces
        return None

    def _known(self, sent_id: str) -> bool:
        return any(call.id == sent_id for call in self._calls)

    def _new_id(self, seed: bytes) -> str:
        digest = hashlib.blake2s(seed, digest_size=12, salt=b"%d" % (len(self._calls) % 10**8))
        return f"call_{digest.hexdigest()}"


def _begins(arguments: str) -> bool:
    return arguments.lstrip().startswith("{")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if type(value) is int else ""


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _DIGITS:
        return int(value)
    return value if type(value) is int else None


def _arguments(value: Any) -> str:
    """Return arguments as text. Null, and an object without members, are not text yet."""
    if isinstance(value, str):
        return value
    return "" if value in (None, {}) else _json(value).decode()


def _inner(text: str) -> str:
    """Return the object in arguments that were serialised twice, else the text itself."""
    try:
        inner = msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return text
    return inner if _begins(inner) else text
