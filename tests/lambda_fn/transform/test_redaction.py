"""What must not be shown appears in no event, wherever it is cut and in whichever part it comes."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import UpstreamFailed
from lambda_fn.events import NULL, Delta, End, Event, Failure, Finish, Usage
from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import machine_of
from lambda_fn.patterns.scanner import replace
from lambda_fn.transform.redaction import Redact, label, pseudonyms
from tests.support.secrets_of_texts import EXAMPLES

ALL = machine_of(frozenset(KINDS))
OWN = machine_of(frozenset(), (("name", "Ada Lovelace|Grace"),))
PARTS = ("content", "reasoning_content", "refusal", "arguments")
SECRET = "ada@example.com"


def delta(fields: dict[str, Any], index: int = 0, tokens: int = 1, logprobs: Any = None) -> Delta:
    """Return a delta."""
    sent = NULL if logprobs is None else msgspec.Raw(json.dumps(logprobs).encode())
    return Delta(msgspec.Raw(json.dumps(fields).encode()), index, tokens, sent)


def piece(part: str, text: str, call: int = 0) -> dict[str, Any]:
    """Return the fields of a delta with a piece of one part of an answer."""
    if part == "arguments":
        return {"tool_calls": [{"index": call, "function": {"arguments": text}}]}
    return {part: text}


def said(events: list[Event]) -> dict[tuple[int, str], str]:
    """Return the whole texts of an answer, by choice and part."""
    texts: dict[tuple[int, str], str] = {}
    for event in events:
        if not isinstance(event, Delta):
            continue
        fields = msgspec.json.decode(event.delta)
        pieces = {name: fields.get(name) for name in PARTS if fields.get(name)}
        for call in fields.get("tool_calls") or ():
            name = f"arguments {call['index']}"
            pieces[name] = pieces.get(name, "") + call["function"].get("arguments", "")
        for name, text in pieces.items():
            texts[event.index, name] = texts.get((event.index, name), "") + text
    return texts


def run(redact: Redact, events: list[Event], *, choices: int = 1) -> list[Event]:
    """Return what goes out of an answer that comes event by event, and ends."""
    ending: list[Event] = [*(Finish("stop", index) for index in range(choices)), Usage(1, 9), End()]
    return [it for event in [*events, *ending] for it in redact.feed([event])]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("secret", [text for text, _ in EXAMPLES])
def test_a_secret_appears_in_no_part(part: str, secret: str) -> None:
    """Cut at every place, it is in no event, and the text around it stays."""
    text = f"It is {secret}, or not."
    written = json.dumps({"a": text}, ensure_ascii=False) if part == "arguments" else text
    whole = replace(ALL, label, text)
    for cut in range(len(written)):
        events: list[Event] = [delta(piece(part, it)) for it in (written[:cut], written[cut:])]
        out = run(Redact(1, ALL, label), events)
        ((_, found),) = said(out).items()
        assert (json.loads(found)["a"] if part == "arguments" else found) == whole
        assert json.dumps(secret)[1:-1].encode() not in msgspec.json.encode(out)
        assert sum(it.tokens for it in out if isinstance(it, Delta)) == 2


def pieces(text: str, cuts: list[int]) -> list[str]:
    """Return a text in pieces."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


TEXTS = st.lists(
    st.sampled_from(["Ada ", "Lovelace", "Grace", "gracious", SECRET, "4111 ", "1111 ", ".", "é"]),
    max_size=8,
).map("".join)
CUTS = st.lists(st.integers(0, 80), max_size=6)


@given(st.lists(st.tuples(st.integers(0, 2), TEXTS, CUTS), max_size=4), st.randoms())
def test_choices_are_apart(answers: list[tuple[int, str, list[int]]], order: Any) -> None:
    """Of several choices that come by turns, each is the redaction of its whole text."""
    texts = {index: (text, cuts) for index, text, cuts in answers}
    queues = {index: pieces(text, cuts) for index, (text, cuts) in texts.items()}
    events: list[Event] = []
    while left := [index for index, queue in queues.items() if queue]:
        index = order.choice(left)
        events.append(delta({"content": queues[index].pop(0)}, index))
    found = said(run(Redact(3, ALL, label), events, choices=3))
    assert found == {
        (index, "content"): replace(ALL, label, text) for index, (text, _) in texts.items() if text
    }


@given(st.lists(st.tuples(st.sampled_from(PARTS), TEXTS), max_size=8))
def test_parts_that_come_by_turns(several: list[tuple[str, str]]) -> None:
    """Where parts come by turns, no secret is whole in any of them, and nothing else is lost."""
    events: list[Event] = [delta(piece(part, text)) for part, text in several]
    out = run(Redact(1, OWN, label), events)
    for (_, part), text in said(out).items():
        name = part.partition(" ")[0]
        before = "".join(text for part, text in several if part == name)
        assert "Ada Lovelace" not in text
        if "[NAME]" not in text and name != "arguments":
            assert text == before


@pytest.mark.parametrize("part", PARTS[:3])
@pytest.mark.parametrize(
    "empty", [{"content": ""}, {"reasoning_content": ""}, {"refusal": ""}, {"tool_calls": []}, {}]
)
def test_an_empty_piece_divides_no_secret(part: str, empty: dict[str, Any]) -> None:
    """Servers send pieces without a text, and half a secret before one is not shown."""
    events: list[Event] = [
        delta(piece(part, SECRET[:8])),
        delta(empty),
        delta(piece(part, SECRET[8:])),
    ]
    [text] = said(run(Redact(1, ALL, label), events)).values()
    assert text == "[EMAIL]"


def test_the_order_of_parts_stays() -> None:
    """What is held of the content goes out before a call, as it came."""
    call = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    events: list[Event] = [delta({"content": "Let me look"}), delta(call)]
    out = run(Redact(1, ALL, label), events)
    names = [name for it in out if isinstance(it, Delta) for name in msgspec.json.decode(it.delta)]
    assert names == ["content", "content", "tool_calls"]


def test_calls_that_come_by_turns() -> None:
    """The arguments of several calls are apart, and so are their names and ids scanned."""
    written = [json.dumps({"a": f"x {SECRET}"}), json.dumps({"b": "4111 1111 1111 1111"})]
    events: list[Event] = [
        delta(piece("arguments", text[place : place + 1], call))
        for place in range(40)
        for call, text in enumerate(written)
        if place < len(text)
    ]
    found = said(run(Redact(1, ALL, label), events))
    assert json.loads(found[0, "arguments 0"]) == {"a": "x [EMAIL]"}
    assert json.loads(found[0, "arguments 1"]) == {"b": "[CARD]"}
    named = {"tool_calls": [{"index": 0, "id": SECRET, "function": {"name": SECRET}}]}
    assert SECRET.encode() not in msgspec.json.encode(run(Redact(1, ALL, label), [delta(named)]))


def test_content_that_is_json() -> None:
    """In an answer that is JSON, escapes are decoded and numbers stay values."""
    text = '{"mail":"ada\\u0040example.com","card":4111111111111111}'
    for cut in range(len(text)):
        events: list[Event] = [delta({"content": it}) for it in (text[:cut], text[cut:])]
        found = said(run(Redact(1, ALL, label, json=True), events))[0, "content"]
        assert json.loads(found) == {"mail": "[EMAIL]", "card": "[CARD]"}


def entry(token: str, *others: str) -> dict[str, Any]:
    """Return the log probabilities of a token."""
    candidates = [{"token": it, "logprob": -1.0, "bytes": list(it.encode())} for it in others]
    return {"token": token, "logprob": 0.0, "bytes": None, "top_logprobs": candidates}


def logprobs_of(events: list[Event]) -> list[Any]:
    """Return the log probabilities that went out."""
    return [
        msgspec.json.decode(it.logprobs)
        for it in events
        if isinstance(it, Delta) and it.logprobs is not NULL
    ]


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_log_probabilities_of_hidden_tokens(cut: int) -> None:
    """Tokens that were held or replaced have none, and candidates that are secrets are left out."""
    tokens = ["- ", SECRET[:cut], SECRET[cut:], " ", "\n"]
    events: list[Event] = [
        delta({"content": it}, logprobs={"content": [entry(it, SECRET, "?")], "refusal": None})
        for it in tokens
    ]
    out = run(Redact(1, ALL, label), events)
    found = [it["content"][0] for it in logprobs_of(out)]
    assert found == [entry(it, "?") for it in ("- ", "\n")]
    assert SECRET.encode() not in msgspec.json.encode(out)


def test_log_probabilities_of_another_text() -> None:
    """Entries that are not those of the text that they come with are left out."""
    sent = {"content": [entry("ada@"), entry("example.com")], "refusal": None}
    whole = {"content": [entry(SECRET)], "refusal": None}
    for text, logprobs in (("", sent), ("! ", sent), ("! ", whole), ("", whole)):
        out = run(Redact(1, ALL, label), [delta({"content": text}, logprobs=logprobs)])
        assert logprobs_of(out) == []


@pytest.mark.parametrize(
    "malformed",
    [
        Delta(msgspec.Raw(b'{"content":7}')),
        Delta(msgspec.Raw(b'{"tool_calls":[{"function":7}]}')),
        Delta(msgspec.Raw(b'{"content":"! "}'), logprobs=msgspec.Raw(b'{"content":[7]}')),
    ],
)
def test_what_cannot_be_read_is_not_passed_on(malformed: Delta) -> None:
    """A malformed delta ends the response, because it cannot be scanned."""
    with pytest.raises(UpstreamFailed):
        Redact(1, ALL, label).feed([malformed])


def test_members_that_are_not_scanned_are_left_out() -> None:
    """A delta goes out with the members that were scanned."""
    out = Redact(1, ALL, label).feed([delta({"content": "! ", "audio": SECRET, "role": "x"})])
    assert [msgspec.json.decode(it.delta) for it in out if isinstance(it, Delta)] == [
        {"content": "! "}
    ]


@pytest.mark.parametrize("end", [Failure("crashed", "It broke."), End()])
def test_a_failure_loses_no_text(end: Event) -> None:
    """What was held goes out before the end, replaced if it is a match."""
    redact = Redact(2, ALL, label)
    events: list[Event] = [delta({"content": "So " + SECRET}), delta({"content": "it"}, 1), end]
    out = redact.feed(events)
    assert said(out) == {(0, "content"): "So [EMAIL]", (1, "content"): "it"}
    assert out[-1] is end
    assert redact.feed([end]) == [end]


def test_tokens_without_text_are_counted() -> None:
    """The tokens of text that is swallowed go out at the choice's finish."""
    key = "-----BEGIN PRIVATE KEY-----"
    events: list[Event] = [delta({"content": it}) for it in (key, "abc", "def")]
    out = run(Redact(1, ALL, label), events)
    assert said(out) == {(0, "content"): "[PRIVATE_KEY]"}
    assert sum(it.tokens for it in out if isinstance(it, Delta)) == 3


def test_pseudonyms() -> None:
    """A pseudonym is the same for one text and one key, and differs for all others."""
    first = pseudonyms("secret", "key")
    assert first("email", "Ada@Example.com") == first("email", "ada@example.com")
    assert first("card", "4111 1111 1111 1111") == first("card", "4111-1111-1111-1111")
    names = {
        first("email", "a@b.de"),
        first("email", "a@b.df"),
        first("name", "a@b.de"),
        pseudonyms("secret", "other")("email", "a@b.de"),
        pseudonyms("other", "key")("email", "a@b.de"),
    }
    assert len(names) == 5
    assert first("jwt", "eyJhbGciOi") == "[JWT]"
    assert replace(ALL, first, first("email", "a@b.de")) == first("email", "a@b.de")
