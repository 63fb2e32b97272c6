"""Greetings, thanks, names to remember, words to repeat, poems, lists and emoji."""

import random
from pathlib import Path

from demo_model.text.noise import noisy
from demo_model.text.words import ANIMALS, CITIES, COLOURS, FRUITS, NAMES, NOUNS, invented


def _read() -> list[tuple[list[str], str]]:
    """Return the wordings and the answer of each paragraph of `smalltalk.txt`.

    The first line of a paragraph has the wordings, separated by `` | ``, the second one the answer,
    with ``\\n`` for a new line.
    """
    paragraphs = (
        Path(__file__).with_name("smalltalk.txt").read_text(encoding="utf-8").strip().split("\n\n")
    )
    pairs = [paragraph.split("\n") for paragraph in paragraphs]
    return [(asks.split(" | "), answer.replace("\\n", "\n")) for asks, answer in pairs]


_FIXED = _read()
_HAIKU_ASK = (
    "Write a haiku.", "Write a haiku about {x}.", "Give me a haiku.", "Can you write a haiku?", "haiku",
    "A haiku about {x}, please.", "Compose a haiku.", "Make a haiku about {x}.",
)  # fmt: skip
_HAIKUS = (
    "Small words in the dark\none by one they come to you\na river of light",
    "Clouds above the hill\nthe rain begins to whisper\nthe river listens",
    "The old gate opens\nwater finds its way at once\nnothing waits behind",
    "One token, then two\nthe page fills while you read it\nmorning on the lake",
)
_POEM_ASK = (
    "Write a poem.", "Write a poem about {x}.", "Can you write a poem?", "Give me a poem about {x}.", "A poem, please.",
    "Tell me a poem.", "Write a short poem about {x}.", "Write a song.", "Write a rhyme about {x}.", "Sing a song.",
)  # fmt: skip
_POEM = (
    "The tokens come, the tokens go,\nlike little waves they softly flow.\nThey do not wait, they do not stay,\n"
    "they run to you and light your way."
)
_WORDS_TO_SAY = (
    "hello world",
    "streaming is fun",
    "one two three",
    "the river flows",
    "good morning",
    "tokens",
    "yes",
    "café",
    "okay",
)
_COLOUR_LISTS = {
    "colours": COLOURS,
    "colors": COLOURS,
    "animals": ANIMALS,
    "fruits": FRUITS,
    "cities": CITIES,
    "names": NAMES,
}


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Return one exchange of small talk."""
    roll = rng.random()
    if roll < 0.55:
        asks, answer = _FIXED[0] if rng.random() < 0.15 else rng.choice(_FIXED)
        return [(noisy(rng, rng.choice(asks)) if rng.random() < 0.5 else rng.choice(asks), answer)]
    if roll < 0.65:
        return [
            (noisy(rng, rng.choice(_HAIKU_ASK)).replace("{x}", _topic(rng)), rng.choice(_HAIKUS))
        ]
    if roll < 0.71:
        return [(noisy(rng, rng.choice(_POEM_ASK)).replace("{x}", _topic(rng)), _POEM)]
    if roll < 0.82:
        return [_repeat(rng)]
    if roll < 0.90:
        kind = rng.choice(list(_COLOUR_LISTS))
        wording = rng.choice(
            (
                "Name three {x}.",
                "List three {x}.",
                "Tell me three {x}.",
                "Give me three {x}.",
                "Name some {x}.",
            )
        )
        three = rng.sample(_COLOUR_LISTS[kind], 3)
        return [
            (
                noisy(rng, wording).replace("{x}", kind),
                f"Three {kind} are {three[0]}, {three[1]} and {three[2]}.",
            )
        ]
    return named(rng)[0:2]


def named(rng: random.Random) -> list[tuple[str, str]]:
    """Return two turns: somebody says their name, and later asks for it.

    A caller may put other turns between them.
    """
    name = rng.choice(NAMES) if rng.random() < 0.93 else invented(rng).capitalize()
    tell = rng.choice(
        (
            "My name is {x}.",
            "I am {x}.",
            "Hello, I am {x}.",
            "Hi, my name is {x}.",
            "Call me {x}.",
            "I'm {x}.",
        )
    )
    ask = rng.choice(
        (
            "What is my name?",
            "What's my name?",
            "Do you remember my name?",
            "Who am I?",
            "Do you know my name?",
        )
    )
    return [
        (
            noisy(rng, tell).replace("{x}", name),
            f"Nice to meet you, {name}! What would you like to know?",
        ),
        (noisy(rng, ask), f"Your name is {name}."),
    ]


def nameless(rng: random.Random) -> list[tuple[str, str]]:
    """Return a question for a name that the user has not told, and the answer."""
    ask = rng.choice(("What is my name?", "What's my name?", "Do you know my name?", "Who am I?"))
    return [(noisy(rng, ask), "You have not told me your name.")]


def _repeat(rng: random.Random) -> tuple[str, str]:
    words = rng.choice(_WORDS_TO_SAY)
    if rng.random() < 0.75:
        words = " ".join(
            (rng.choice(NOUNS) if rng.random() < 0.85 else invented(rng))
            for _ in range(rng.randint(1, 5))
        )
    wording = rng.choice(
        (
            "Say {x}.",
            "Repeat after me: {x}",
            "Repeat: {x}",
            "Say: {x}",
            "Please say {x}.",
            "Echo {x}",
            "Write {x}.",
            "Say exactly: {x}",
            'Say "{x}".',
        )
    )
    return noisy(rng, wording).replace("{x}", words), words


def _topic(rng: random.Random) -> str:
    return rng.choice(
        (rng.choice(NOUNS), "streaming", "the sea", "clouds", "tokens", "a river", "love", "spring")
    )
