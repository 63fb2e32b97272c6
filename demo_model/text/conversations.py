"""Whole conversations, as lists of ``(role, text)``, in two lengths."""

import random
from collections.abc import Iterator

from demo_model.text import knowledge, objects, smalltalk, stories, sums, tools, unknown
from demo_model.text.words import NOUNS, invented

Message = tuple[str, str]

_KINDS = (
    (knowledge.exchange, 36),
    (unknown.exchange, 14),
    (sums.exchange, 18),
    (objects.exchange, 12),
    (smalltalk.exchange, 14),
    (stories.exchange, 6),
)
_SYSTEM = (
    "You are a helpful assistant.", "You are a helpful assistant", "You are the demo model of Sluice.", "Be brief.",
    "You are a poet.", "Answer in English.", "You are a friendly bot. Be kind.", "You are an expert on clouds.",
    "Always be polite.", "Be concise.", "You are a helpful, honest and harmless assistant.",
    "Answer as well as you can.", "You are a pirate.", "Speak like a pirate.", "You are a test.",
    "Reply with one word.", "You are a teacher. Explain things simply.", "Use short sentences.", "You are an AI.",
    "You help people with their questions about Sluice.", "Do not make things up.", "Today is Monday.",
    "You are a story teller.", "Think step by step.", "You answer questions of users in a chat window.",
    "You are Bob.", "Respond in a formal tone.", "Be nice.",
)  # fmt: skip
_TOO_LONG = "That is a long text, and I was not taught to work with it. Ask me about streaming, HTTP or clouds instead."


def short(rng: random.Random) -> list[Message]:
    """Return a conversation of one to four exchanges, mostly one or two: about 30 to 600 tokens."""
    if rng.random() < 0.03:
        return tools.conversation(rng)
    count = rng.choices((1, 2, 3, 4), (60, 20, 12, 8))[0]
    return _system(rng) + _messages([_exchange(rng) for _ in range(count)])


def long(rng: random.Random, characters: int) -> list[Message]:
    """Return a conversation of many exchanges.

    It has about `characters` characters in all; a token has four to five.
    """
    messages = _system(rng)
    introduction = smalltalk.named(rng) if rng.random() < 0.3 else None
    if introduction:
        messages += _messages([introduction[:1]])
    size = 0
    while size < characters:
        if rng.random() < 0.04:
            new = _pasted(rng, min(characters - size, rng.randint(300, 9000)))
        elif rng.random() < 0.03:
            new = _messages([introduction[1:] if introduction else smalltalk.nameless(rng)])
        else:
            new = _messages([_exchange(rng)])
        size += sum(len(text) for _, text in new)
        messages += new
    return messages


def endless(seed: int, maker=short) -> Iterator[list[Message]]:
    """Yield conversations from `maker` endlessly. The same seed yields the same ones."""
    rng = random.Random(seed)
    while True:
        yield maker(rng)


def _exchange(rng: random.Random) -> list[tuple[str, str]]:
    kind = rng.choices([kind for kind, _ in _KINDS], [weight for _, weight in _KINDS])[0]
    return kind(rng)


def _messages(exchanges: list[list[tuple[str, str]]]) -> list[Message]:
    pairs = [pair for turns in exchanges for pair in turns]
    return [
        message
        for question, reply in pairs
        for message in (("user", question), ("assistant", reply))
    ]


def _system(rng: random.Random) -> list[Message]:
    if rng.random() < 0.65:
        return []
    text = " ".join(rng.sample(_SYSTEM, rng.choice((1, 1, 1, 2, 3))))
    return [("system", text)]


def _pasted(rng: random.Random, characters: int) -> list[Message]:
    """Return a turn with a long pasted text, with or without a question after it."""
    roll = rng.random()
    if roll < 0.4:
        word = rng.choice((rng.choice(NOUNS), invented(rng), "hello", "word", "test", "token", "x"))
        text = " ".join([word] * (characters // (len(word) + 1)))
    else:
        pick = [
            rng.choice((rng.choice(NOUNS), invented(rng), "the", "and", "of", "a", "to"))
            for _ in range(characters // 5)
        ]
        text = " ".join(pick)[:characters]
    if rng.random() < 0.3:
        return [("user", text), ("assistant", _TOO_LONG)]
    question, reply = _exchange(rng)[0]
    return [("user", f"{text}\n\n{question}"), ("assistant", reply)]
