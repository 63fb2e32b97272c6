"""The only place for keys, attributes, indexes and versions of the items in StreamTable.

    pk                 sk                             item
    R#<response id>    HEAD                           `HEAD`: the state of a response
    R#<response id>    HEAD#READER#<slot>             `READER`: one of `SLOTS` that tail it
    R#<response id>    B#<name>#<part>                `BODY`: a part of a body
    R#<response id>    S#<event number>               `SEGMENT`: events from that number on
    R#<response id>    P#<event number>#<writer>#<n>  `PART`: a part of a segment that is too large
    I#<key id>#<name>  I                              `IDENTITY`: the response to a request
    C#<connection id>  HEAD                           `CONNECTION`: the state of a socket
    C#<connection id>  F#<response id>                `FRAME`: a message that makes a response
    C#<connection id>  N#<span>                       `SPAN`: how many messages it sent then
    C#KEY#<key id>     SOCKETS                        `SOCKETS`: the open sockets of a key
    L#<key id>         <slot>                         `FOLLOWING`: a call that follows a response
    T#<hash>           T                              `TICKET`: opens one socket, once
    Q#                 KEY#<key id>                   `PLACES`: a key's unended background responses
    Q#                 RUNNING                        `PLACES`: all that run in the background
    W#                 <response id>                  `NOTICE`: an end to tell a webhook
    V#<conversation>   HEAD                           `CONVERSATION`: the state of a conversation
    V#<conversation>   E#<place>                      `ENTRY`: the items of one append
    V#<conversation>   P#<place>#<writer>#<n>         `PART`: a part of an entry that is too large
    ERASE              <key id>                       `ERASURE`: a key whose answers are deleted

A response id is the id of the request that made the response. Event numbers are zero-padded, so
that sort keys have the order of the events. One query of the sort keys that begin with `HEAD` reads
the state and the readers. An event number has one segment at most, whoever writes it: a segment is
put on the condition that its key is free.

The name of an identity is the digest of a request, or `K#` and the hash of an `Idempotency-Key`, or
`C#` and the digest of a request that may be answered from the cache (`identities`).

All items of a response have the same `expires`, by which DynamoDB deletes them after some days at
most. Readers look at that of HEAD only, which decides on time. A conversation expires some days
after its last item, so its entries live longer than its HEAD, and their `expires` is moved with it
(`conversations`).

A head that was deleted has the owner `DELETED` until all other items of its partition are removed.
So one partition of the index `owners` lists all removals that are not finished. The heads of
conversations have an owner with a prefix (`conversations_of`), so lists of responses do not read
them. So have messages that no function has taken yet (`messages_of`).

**Versions.** Each item is put with `v`, the version of its layout; `metering.keys` says how to
migrate. `check_version` raises for an item that a later deployment wrote.
"""

from collections.abc import Mapping
from typing import Any

from lambda_fn.aws.dynamodb import Query

VERSION = 1
"""The version of the layouts that this code writes."""
READABLE = 1
"""The latest version that this code reads."""
VERSIONED = {"v": VERSION}
"""The attribute `v` that every new item gets."""
SLOTS = 4
"""The number of readers that may tail one response at once."""

_SHARED = {
    "pk": "partition key",
    "sk": "sort key",
    "v": "version of the layout",
    "expires": "Unix seconds after which the response does not exist; the TTL attribute",
}
HEAD = {
    **_SHARED,
    "owner": "id of the key that made the response; partition key of the index `owners`",
    "created": "Unix seconds, whole; sort key of the index `owners`",
    "status": "queued | in_progress | completed | incomplete | failed | cancelled",
    "model": "the public name",
    "metadata": "what the request attached to the response; absent without",
    "chat": "true for a chat completion that its request wanted stored; absent otherwise",
    "form": "the encoder, `encode.base.Form`",
    "kept": "segments | result: whether events are logged, or only the result is",
    "deleted": "Unix seconds; absent until the response is deleted",
    "again": "random name of a writer that was late for the removal of its items; absent without",
    "head": "`encode.Head` as JSON; absent when it is in the body `head`",
    "bodies": "name of a body -> number of its parts; absent without bodies",
    "endpoint": "the endpoint, which a cancel has to call",
    "component": "its inference component; absent without",
    "dialect": "the dialect of its server",
    "writer": "random name of the producer",
    "lease": "Unix seconds of the producer's last sign of life",
    "prompt_tokens": "raw count; while in progress as of the last renewal of the lease",
    "completion_tokens": "likewise",
    "ended": "Unix seconds, with milliseconds; absent until the status is final",
    "ended_by": "random name of whoever ended the response: the producer's, or another",
    "event": "the terminal event as JSON",
    "last": "number of the terminal event if the producer ended the response",
    "invoked": "Unix seconds at which the function that runs a queued response was called; absent "
    "while a response waits for capacity",
    "starter": "random name of whoever called that function last",
    "until": "Unix seconds until which a queued response may wait for capacity",
    "run": "id of the request that runs a queued response, which the ledger has",
    "tailer": "random name of the reader that took a slot last; absent before the first one",
}
READER = {
    **_SHARED,
    "reader": "random name of the reader",
    "since": "Unix seconds, with milliseconds, at which it took the slot",
    "tail_until": "Unix seconds until which it tails the response, unless it renews that",
}
WATCHED = ("status", "deleted", "tailer", "tail_until")
"""The attributes of heads and readers' slots that a producer's environment reads."""
BODY = {**_SHARED, "body": "a part of the deflated body, at most `MAX_PART` bytes"}
SEGMENT = {
    **_SHARED,
    "w": "random name of the writer",
    "n": "number of events",
    "d": "the events (`segments`); absent if they are in parts",
    "z": "true if the events are deflated",
    "parts": "number of parts; absent without",
    "p": "raw count of the prompt's tokens until here",
    "t": "raw count of the sampled tokens until here",
    "end": "true in the terminal segment",
}
IDENTITY = {
    **_SHARED,
    "response_id": "the response that repeats of the request get",
    "digest": "SHA-256 of the request, in hex",
    "revision": "what made the response: model, encoders and filters; only in the cache",
}
PLACES = {
    **_SHARED,
    "answers": "response id -> fingerprint of its request, or id of its run",
}
NOTICE = {
    **_SHARED,
    "status": "the final status of the response",
    "ended": "Unix seconds, whole, at which it ended",
    "due": "Unix seconds at which the webhook is called next",
    "attempts": "the number of calls until now",
    "told": "true once the webhook has taken it; absent before",
}
PART = {**_SHARED, "d": "a part of the deflated events or items, at most `MAX_PART` bytes"}
CONVERSATION = {
    **_SHARED,
    "owner": "`conversations_of` the key that made it; partition key of the index `owners`",
    "created": "Unix seconds, whole; sort key of the index `owners`",
    "metadata": "what its owner attached to it; absent without",
    "next": "the place of the next entry",
    "count": "number of items",
    "size": "bytes of their JSON",
    "rev": "number of changes of the items",
    "lasts": "Unix seconds until which no entry expires",
    "lock": "who changes the items now: a response id, or a random name; absent without",
    "until": "Unix seconds after which the lock does not hold any more",
    "deleted": "Unix seconds; absent until the conversation is deleted",
    "again": "as in `HEAD`",
}
ENTRY = {
    **_SHARED,
    "w": "the response id or random name of its writer",
    "ids": "the ids of its items, in order",
    "d": "the items as a deflated JSON array; absent if they are in parts",
    "name": "random name of the parts; absent without",
    "parts": "number of parts; absent without",
    "size": "bytes of the JSON of the items",
}
ERASURE = {
    **_SHARED,
    "at": "Unix seconds at which the key was deleted",
}

CONNECTION = {
    **_SHARED,
    "n": "number of changes; each one is conditional on it",
    "w": "random name of the last change",
    "owner": "id of the key that opened it",
    "hash": "hash of that key's secret",
    "address": "the address that it was opened from",
    "state": "`socket.gateway.state.State` as JSON",
}
FRAME = {
    **_SHARED,
    "w": "random name of the writer",
    "owner": "`messages_of` the key that sent it; partition key of the index `owners`; absent without `body`",
    "created": "Unix seconds, whole; sort key of the index `owners`; absent without `body`",
    "body": "the message, as it came; absent once a function has taken it",
    "sent": "Unix seconds, with milliseconds, at which API Gateway took it; absent without `body`",
}
SPAN = {**_SHARED, "count": "messages that API Gateway took in these seconds; some count twice"}
SOCKETS = {
    **_SHARED,
    "n": "number of changes; each one is conditional on it",
    "w": "random name of the last change",
    "state": "connection id -> Unix seconds at which it ends at the latest, as JSON",
}
FOLLOWING = {
    **_SHARED,
    "reader": "random name of the call",
    "tail_until": "Unix seconds until which the slot is taken",
}
TICKET = {
    **_SHARED,
    "owner": "id of the key that asked for it",
    "hash": "hash of that key's secret",
}

OWNERS_INDEX = "owners"
"""The index by `owner` and `created`. Only heads, and messages that were not taken, have both."""
OWNERS_INDEX_KEY = ("owner", "created")
OWNERS_PROJECTED = ("status", "model", "metadata", "form", "kept", "chat", "expires", "deleted")
"""The attributes of a head that the index has beside the keys."""
DELETED = "DELETED"
"""The owner of heads that were deleted, and whose partitions are not removed yet."""
ERASE = "ERASE"
"""The partition of the keys whose answers are being deleted."""
TTL = "expires"
"""The table's TTL attribute."""
MAX_PART = 300_000
"""The maximum size in bytes of a part of a body. An item may have 400 kB."""
HEAD_PREFIX = "HEAD"
"""The prefix of the sort keys of the head and the readers."""
SEGMENT_PREFIX = "S#"
"""The prefix of the sort keys of segments."""
ENTRY_PREFIX = "E#"
"""The prefix of the sort keys of a conversation's entries."""
PREFIXES = ("chatcmpl-", "cmpl-", "msg_", "resp_", "req_")
"""The prefixes with which clients get a response id."""
MESSAGES = "C#"
"""The prefix of the partitions of sockets, and of the owners of their messages."""
NOTICES = "W#"
"""The partition of the ends that the webhook is to be told."""
QUEUE = "Q#"
"""The partition of the background responses that have not ended."""
RUNNING_KEY = {"pk": QUEUE, "sk": "RUNNING"}
"""The primary key of the places of all that run in the background."""
_KEY_PREFIX = "KEY#"
_DIGITS = 10


class UnknownVersion(ValueError):
    """A later deployment wrote the item, and this code cannot read it."""


def check_version(item: Mapping[str, Any]) -> None:
    """Raise UnknownVersion if this code cannot read an item."""
    if item.get("v", 0) > READABLE:
        where = f"{item.get('pk')} {item.get('sk')}"
        text = f"{where} has version {item['v']}, and this code reads up to {READABLE}."
        raise UnknownVersion(f"{text} Deploy the later code.")


def response_id(public: str) -> str:
    """Return the response id within an id as clients get it, with or without a prefix."""
    for prefix in PREFIXES:
        if public.startswith(prefix):
            return public.removeprefix(prefix)
    return public


def conversation_id(public: str) -> str:
    """Return the conversation id within an id as clients get it."""
    return public.removeprefix("conv_")


def partition(response_id: str) -> str:
    """Return the partition of a response."""
    return f"R#{response_id}"


def head_key(response_id: str) -> dict[str, str]:
    """Return the primary key of a head."""
    return {"pk": partition(response_id), "sk": "HEAD"}


def reader_keys(response_id: str) -> list[tuple[str, str]]:
    """Return partition key and sort key of all readers' slots."""
    pk = partition(response_id)
    return [(pk, reader_key(response_id, slot)["sk"]) for slot in range(SLOTS)]


def reader_key(response_id: str, slot: int) -> dict[str, str]:
    """Return the primary key of a reader's slot, which is below `SLOTS`."""
    return {"pk": partition(response_id), "sk": f"HEAD#READER#{slot}"}


def identity_key(key_id: str, name: str) -> dict[str, str]:
    """Return the primary key of an identity of a key's request."""
    return {"pk": f"I#{key_id}#{name}", "sk": "I"}


def connection_key(connection_id: str) -> dict[str, str]:
    """Return the primary key of a socket's state."""
    return {"pk": f"C#{connection_id}", "sk": "HEAD"}


def frame_key(connection_id: str, name: str) -> dict[str, str]:
    """Return the primary key of the message of a socket that makes a response."""
    return {"pk": f"C#{connection_id}", "sk": f"F#{name}"}


def span_key(connection_id: str, number: int) -> dict[str, str]:
    """Return the primary key of the count of a socket's messages in a span of time."""
    return {"pk": f"C#{connection_id}", "sk": f"N#{number}"}


def sockets_key(key_id: str) -> dict[str, str]:
    """Return the primary key of a key's open sockets. No connection id begins with `KEY#`."""
    return {"pk": f"C#KEY#{key_id}", "sk": "SOCKETS"}


def following_key(key_id: str, slot: int) -> dict[str, str]:
    """Return the primary key of a slot of a key, for a call that follows a response."""
    return {"pk": f"L#{key_id}", "sk": str(slot)}


def ticket_key(name: str) -> dict[str, str]:
    """Return the primary key of the ticket whose secret has a hash."""
    return {"pk": f"T#{name}", "sk": "T"}


def places_key(key_id: str) -> dict[str, str]:
    """Return the primary key of a key's unended background responses."""
    return {"pk": QUEUE, "sk": f"{_KEY_PREFIX}{key_id}"}


def notice_key(response_id: str) -> dict[str, str]:
    """Return the primary key of the notice of a response's end."""
    return {"pk": NOTICES, "sk": response_id}


def places_owner(sort: str) -> str | None:
    """Return the key id in the sort key of places, or None for those of all that run."""
    return sort.removeprefix(_KEY_PREFIX) if sort.startswith(_KEY_PREFIX) else None


def body_key(response_id: str, name: str, part: int) -> dict[str, str]:
    """Return the primary key of a part of a body."""
    return {"pk": partition(response_id), "sk": f"B#{name}#{part:04d}"}


def body_range(response_id: str, name: str) -> Query:
    """Return the query of all parts of a body, in their order."""
    return _begins(response_id, f"B#{name}#")


def segment_sort(number: int) -> str:
    """Return the sort key of the segment that begins with an event."""
    return f"{SEGMENT_PREFIX}{number:0{_DIGITS}d}"


def segment_key(response_id: str, number: int) -> dict[str, str]:
    """Return the primary key of the segment that begins with an event."""
    return {"pk": partition(response_id), "sk": segment_sort(number)}


def segment_number(item: Mapping[str, Any]) -> int:
    """Return the number of the first event of a segment."""
    return int(item["sk"].removeprefix(SEGMENT_PREFIX))


def part_key(response_id: str, number: int, writer: str, part: int) -> dict[str, str]:
    """Return the primary key of a part of a segment."""
    sort = f"P#{number:0{_DIGITS}d}#{writer}#{part:04d}"
    return {"pk": partition(response_id), "sk": sort}


def part_range(response_id: str, number: int, writer: str) -> Query:
    """Return the query of all parts of a segment, in their order."""
    return _begins(response_id, f"P#{number:0{_DIGITS}d}#{writer}#")


def head_range(response_id: str) -> Query:
    """Return the query of the head and the readers' slots."""
    return _begins(response_id, HEAD_PREFIX)


def segment_range(response_id: str, number: int) -> Query:
    """Return the query of the segments that begin with an event or a later one, in their order."""
    return _between(response_id, segment_sort(number))


def last_segment(response_id: str) -> Query:
    """Return the query of the last segment."""
    return _between(response_id, SEGMENT_PREFIX, backward=True, limit=1)


def conversations_of(key_id: str) -> str:
    """Return the owner in the heads of a key's conversations."""
    return f"V#{key_id}"


def messages_of(key_id: str) -> str:
    """Return the owner in the messages of a key's sockets."""
    return f"{MESSAGES}{key_id}"


def conversation_key(conversation_id: str) -> dict[str, str]:
    """Return the primary key of a conversation's head."""
    return {"pk": f"V#{conversation_id}", "sk": "HEAD"}


def entry_key(conversation_id: str, place: int) -> dict[str, str]:
    """Return the primary key of an entry of a conversation."""
    return {"pk": f"V#{conversation_id}", "sk": f"{ENTRY_PREFIX}{place:0{_DIGITS}d}"}


def entry_place(item: Mapping[str, Any]) -> int:
    """Return the place of an entry."""
    return int(item["sk"].removeprefix(ENTRY_PREFIX))


def entry_part_key(conversation_id: str, place: int, writer: str, part: int) -> dict[str, str]:
    """Return the primary key of a part of an entry."""
    sort = f"P#{place:0{_DIGITS}d}#{writer}#{part:04d}"
    return {"pk": f"V#{conversation_id}", "sk": sort}


def entry_part_range(conversation_id: str, place: int, writer: str) -> Query:
    """Return the query of all parts of an entry, in their order."""
    prefix = f"P#{place:0{_DIGITS}d}#{writer}#"
    values = {":pk": f"V#{conversation_id}", ":prefix": prefix}
    return Query("pk = :pk AND begins_with(sk, :prefix)", values)


def entry_range(conversation_id: str, begin: int = 0, **options: Any) -> Query:
    """Return the query of the entries from a place on."""
    values = {
        ":pk": f"V#{conversation_id}",
        ":begin": entry_key("", begin)["sk"],
        ":end": f"{ENTRY_PREFIX}~",
    }
    return Query("pk = :pk AND sk BETWEEN :begin AND :end", values, **options)


def erasure_key(key_id: str) -> dict[str, str]:
    """Return the primary key of the erasure of a key's answers."""
    return {"pk": ERASE, "sk": key_id}


def _begins(response_id: str, prefix: str) -> Query:
    values = {":pk": partition(response_id), ":prefix": prefix}
    return Query("pk = :pk AND begins_with(sk, :prefix)", values)


def _between(response_id: str, begin: str, **options: Any) -> Query:
    values = {":pk": partition(response_id), ":begin": begin, ":end": f"{SEGMENT_PREFIX}~"}
    return Query("pk = :pk AND sk BETWEEN :begin AND :end", values, **options)
