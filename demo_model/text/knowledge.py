"""Questions about things, with their follow-ups, from `things.txt` and `questions.txt`.

Both files hold paragraphs of three lines: names or wordings (separated by `` | ``), the answer, and
the answer to a request for more. A line ``== group`` in `things.txt` begins a group of things that
belong together.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from demo_model.text.noise import noisy

_HERE = Path(__file__).parent
_WHAT = (
    "What is {x}?", "What are {x}?", "What's {x}?", "Explain {x}.", "Tell me about {x}.", "Can you explain {x}?",
    "What does {x} mean?", "Describe {x}.", "Define {x}.", "{x}", "{x}?", "What do you know about {x}?",
    "Do you know what {x} is?", "I want to know about {x}.", "Please explain {x} to me.", "What is meant by {x}?",
    "Explain {x} in simple words.", "What exactly is {x}?", "Could you tell me what {x} is?",
    "I don't understand {x}.", "How does {x} work?", "Why is {x} important?", "Why do we need {x}?",
    "What is {x} good for?", "Have you heard of {x}?", "Can you tell me about {x}?", "Say something about {x}.",
    "Give me a definition of {x}.", "Help me understand {x}.", "Teach me about {x}.", "Let's talk about {x}.",
    "Explain {x} to a child.", "Write a sentence about {x}.",
)  # fmt: skip
_MORE = (
    "Tell me more.", "More.", "Go on.", "What else?", "Can you tell me more?", "And?", "Say more about that.",
    "Continue.", "Please go on.", "Tell me more about it.", "Anything else?", "More details please.",
    "I want to know more.", "Why?", "Why is that?", "Give me an example.", "Can you give an example?", "Explain that.",
    "What does that mean?", "How so?", "Interesting, tell me more.", "Why does it matter?", "Elaborate.",
    "Can you elaborate?", "Could you explain more?",
)  # fmt: skip
_SHORT = (
    "Say it shorter.", "Can you say that shorter?", "In one sentence, please.", "Shorter please.", "Summarise that.",
    "Make it shorter.", "Can you summarize?", "Too long. Shorter.", "Give me the short version.", "TLDR", "In short?",
)  # fmt: skip
_AGAIN = (
    "Say that again.",
    "Repeat that.",
    "Can you repeat that?",
    "Once more, please.",
    "Again.",
    "Pardon?",
    "Sorry, what?",
)
_LONG = (
    "Explain {x} in detail.", "Write a long text about {x}.", "Tell me everything about {x}.",
    "Write an essay about {x}.", "Give me a long explanation of {x}.", "Explain {x} at length.",
    "Write a few paragraphs about {x}.", "Give me a detailed explanation of {x}.", "Write a long answer about {x}.",
    "Tell me all you know about {x}.", "Write a paragraph about {x}.", "Explain {x} in depth.",
    "Write a detailed article about {x}.",
)  # fmt: skip
_SAY_LONG = (
    "Say something long.", "Write a long text.", "Give me a long answer.", "Talk for a while.", "Write a lot of text.",
    "Stream something long.", "I want to see a long answer.", "Say a lot.", "Write something long.", "Keep talking.",
    "Show me how you stream.", "Show me a long stream.", "Stream some tokens.", "Write 200 words.", "Tell me a lot.",
    "Write an essay.", "Write a paragraph.", "Write at least 100 words.", "Give me a long text to test streaming.",
)  # fmt: skip
# The things in the long answer to a request that names none. The answer is always the same, so that
# a demonstration can rely on it.
_TOUR = (
    "streaming",
    "a token",
    "time to first token",
    "buffering",
    "backpressure",
    "a heartbeat",
    "a sluice",
)


@dataclass(frozen=True)
class Thing:
    """One thing that the model is taught: its names or wordings, what it is, and one fact more."""

    names: tuple[str, ...]
    about: str
    more: str


def _read(name: str) -> list[tuple[str, list[Thing]]]:
    groups: list[tuple[str, list[Thing]]] = []
    for paragraph in (_HERE / name).read_text(encoding="utf-8").strip().split("\n\n"):
        if paragraph.startswith("== "):
            groups.append((paragraph[3:], []))
            continue
        names, about, more = paragraph.split("\n")
        if not groups:
            groups.append(("", []))
        groups[-1][1].append(Thing(tuple(names.split(" | ")), about, more))
    return groups


GROUPS = _read("things.txt")
THINGS = [thing for _, group in GROUPS for thing in group]
QUESTIONS = [question for _, group in _read("questions.txt") for question in group]
_BY_NAME = {name: thing for thing in THINGS for name in thing.names}


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Return a question that the model can answer, sometimes with one or two follow-ups."""
    if rng.random() < 0.03:
        return [long_text(rng)]
    if rng.random() < 0.4:
        thing = rng.choice(QUESTIONS)
        turns = [(noisy(rng, rng.choice(thing.names)), thing.about)]
    else:
        group, thing = _pick(rng)
        name = rng.choice(thing.names)
        if rng.random() < 0.08:
            others = [other.about for other in group if other is not thing]
            text = " ".join(
                ("Here is a longer answer.", thing.about, thing.more, rng.choice(others))
            )
            return [(_fill(rng, rng.choice(_LONG), name), text)]
        turns = [(_fill(rng, rng.choice(_WHAT), name), thing.about)]
    return turns + _follow_ups(rng, thing)


def long_text(rng: random.Random) -> tuple[str, str]:
    """Return a request for a long answer about nothing in particular, and the answer.

    The answer is a tour of the things in `_TOUR`, about 200 tokens long.
    """
    return noisy(rng, rng.choice(_SAY_LONG)), "Here is a long text. " + " ".join(
        _BY_NAME[name].about for name in _TOUR
    )


def _pick(rng: random.Random) -> tuple[list[Thing], Thing]:
    group = rng.choices([things for _, things in GROUPS], [len(things) for _, things in GROUPS])[0]
    return group, rng.choice(group)


def _fill(rng: random.Random, wording: str, name: str) -> str:
    name = name.lower() if rng.random() < 0.25 else name
    text = noisy(rng, wording).replace("{x}", name)
    return text[0].upper() + text[1:] if wording.startswith("{x}") and rng.random() < 0.5 else text


def _follow_ups(rng: random.Random, thing: Thing) -> list[tuple[str, str]]:
    turns = []
    while rng.random() < 0.25 and len(turns) < 2:
        kind = rng.random()
        if kind < 0.7 and not turns:
            turns.append((noisy(rng, rng.choice(_MORE)), thing.more))
        elif kind < 0.85:
            turns.append(
                (noisy(rng, rng.choice(_SHORT)), thing.about.split(". ")[0].rstrip(".") + ".")
            )
        else:
            turns.append((noisy(rng, rng.choice(_AGAIN)), thing.about))
    return turns
