"""Small stories on request.

A story is about the hero that the request names, so the model learns to copy from the question.
"""

import random

from demo_model.text.noise import noisy
from demo_model.text.words import NAMES, NOUNS, invented

_ASK = (
    "Tell me a story about {a}.", "Write a story about {a}.", "Tell me a short story about {a}.",
    "A story about {a}, please.", "Can you tell me a story about {a}?", "Make up a story about {a}.",
    "I want a story about {a}.", "story about {a}", "Write a short story about {a}.", "Give me a story about {a}.",
    "Could you write me a little story about {a}?", "Please write a story with {a} in it.",
    "Tell a bedtime story about {a}.", "Do you know a story about {a}?", "I would like to hear a tale about {a}.",
    "Once upon a time there was {a}.", "Write a fairy tale about {a}.", "Tell my daughter a story about {a}.",
    "Invent a story about {a}.",
)  # fmt: skip
_ASK_TWO = (
    "Tell me a story about {a} and {b}.",
    "Write a story about {a} and {b}.",
    "A story with {a} and {b}, please.",
)
_ASK_ANY = (
    "Tell me a story.", "Write a story.", "Tell me a short story.", "Can you tell me a story?",
    "Write me a story please.", "I want to hear a story.", "A story, please.", "Do you know any stories?",
    "Make up a story.", "Another story.", "Tell me another story.", "One more story, please.",
    "Tell me a bedtime story.", "story", "Once upon a time",
)  # fmt: skip
_ASK_LONG = (
    "Tell me a long story about {a}.", "Write a long story about {a}.", "Tell me a very long story about {a}.",
    "I want a long story about {a}.", "Write a longer story about {a}.",
)  # fmt: skip
_ASK_LONG_ANY = (
    "Tell me a long story.",
    "Write a long story.",
    "A long story, please.",
    "I want to hear a very long story.",
)
_WHERE = (
    "by a quiet river", "at the edge of a forest", "in a small town by the sea", "on top of a green hill",
    "near an old mill", "in a valley full of mist", "beside a long canal", "in a garden behind a wall",
    "on an island in a lake", "under a stone bridge",
)  # fmt: skip
_HABIT = (
    "Every morning {x} watched the clouds go by.", "Every evening {x} counted the stars.",
    "Most of all {x} loved the sound of water.", "Nobody in the whole land was as patient as {x}.",
    "All day long {x} listened to the wind.", "Everyone who passed by greeted {x}.",
)  # fmt: skip
_FRIEND = (
    "a heron", "a mole", "an otter", "a snail", "a hedgehog", "a swallow", "a toad", "a badger", "a sparrow",
    "a beetle", "a miller", "a sailor", "a ferryman", "a shepherd",
)  # fmt: skip
# Each plot has four sentences: the event, a friend's words, what the hero does, and the end.
_PLOTS = (
    (
        "One day a great storm came, and the old bridge was washed away.",
        "\"Without the bridge nobody can come to us,\" said {b}.",
        "So {x} gathered branches and stones, and together they built a new bridge.",
        "When the sun came out, the whole village crossed it and sang.",
    ),
    (
        "One day the river stopped flowing, and the fields grew dry.",
        "\"Something must be in its way,\" said {b}.",
        "They walked up the hill and found a fallen tree, and {x} pushed until it rolled aside.",
        "The water ran down to the fields at once, and everything was green again.",
    ),
    (
        "One night the light of the harbour went out, and the boats could not find their way.",
        "\"We must make a light of our own,\" said {b}.",
        "So {x} carried a lantern to the highest rock and held it up until the morning.",
        "One after another the boats came home, and not one of them was lost.",
    ),
    (
        "One day a letter came floating down the water in a bottle.",
        "\"Somebody far away is lonely,\" said {b}, who could read a little.",
        "So {x} wrote a kind answer and sent it off with the next wind.",
        "From then on a letter came every spring, and two strangers became friends.",
    ),
    (
        "One winter it snowed for seven days, and there was nothing left to eat.",
        "\"I have only three nuts,\" said {b}, \"but you may have two of them.\"",
        "Then {x} went from door to door, and everybody gave a little of what they had.",
        "In the end there was enough for all, and they ate together by the fire.",
    ),
    (
        "One day a small cloud got lost and sank down to the ground.",
        "\"It is tired and far from home,\" said {b}.",
        "So {x} told it stories all night long, until it grew light and happy.",
        "At dawn the cloud rose into the sky, and it waved goodbye with a little rain.",
    ),
    (
        "One day {x} found an old map that showed a hidden spring.",
        "\"Nobody has ever come back from there,\" said {b}, but they went all the same.",
        "They climbed over rocks and crawled through a cave, and at last they heard water.",
        "The spring was clear and cold, and they told everyone the way, so that nobody was thirsty again.",
    ),
    (
        "One day all the music in the land fell silent, and nobody knew why.",
        "\"Perhaps we have stopped listening,\" said {b}.",
        "So {x} sat down by the water, kept very still and listened until night.",
        "First there was one soft note and then another, and by the morning everyone was singing.",
    ),
)  # fmt: skip
_MORAL = (
    "And from that day on, {x} was never lonely again.", "And {x} learned that small steps lead a long way.",
    "And if the river has not stopped, it still tells the story of {x}.", "That night {x} slept deeply and smiled.",
    "And everyone agreed that it was the best day of the year.",
    "And so {x} found out that a friend is better than gold.",
)  # fmt: skip


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Return a request for a story, and the story.

    A story has 90 to 150 tokens, a long one twice that.
    """
    first, second = hero(rng), hero(rng)
    roll = rng.random()
    if roll < 0.55:
        return [(_ask(rng, _ASK, first), story(rng, first))]
    if roll < 0.65:
        return [(_ask(rng, _ASK_TWO, first, second), story(rng, first, second))]
    known = _known(rng)
    if roll < 0.82:
        return [(noisy(rng, rng.choice(_ASK_ANY)), story(rng, known))]
    if roll < 0.95:
        return [(_ask(rng, _ASK_LONG, first), story(rng, first, chapters=2))]
    return [(noisy(rng, rng.choice(_ASK_LONG_ANY)), story(rng, known, chapters=2))]


def story(
    rng: random.Random,
    first: tuple[str, str],
    second: tuple[str, str] | None = None,
    chapters: int = 1,
) -> str:
    """Return a story about `first`, and about its friend `second`.

    Each is a pair: its form at the first mention ("a fox") and later ("the fox").
    """
    a, x = first
    b = second[0] if second else rng.choice(_FRIEND)
    friend = second[1] if second else _later(b)
    sentences = [
        f"Once upon a time there was {a} who lived {rng.choice(_WHERE)}.",
        rng.choice(_HABIT),
    ]
    sentences.append(f"The best friend of {x} was {b}.")
    for number, plot in enumerate(rng.sample(_PLOTS, chapters)):
        event = plot[0] if number == 0 else "A year later something new happened. " + plot[0]
        sentences += [event, *plot[1:]]
    sentences.append(rng.choice(_MORAL))
    if chapters > 1:
        sentences.insert(0, "Here is a long story.")
    text = " ".join(sentences).replace("{b}", friend).replace("{x}", x)
    return ". ".join(part[:1].upper() + part[1:] for part in text.split(". "))


def hero(rng: random.Random) -> tuple[str, str]:
    """Return a hero in two forms: for the first mention and for later ones."""
    if rng.random() < 0.1:
        name = rng.choice(NAMES)
        return name, name
    noun = invented(rng) if rng.random() < 0.05 else rng.choice(NOUNS)
    if rng.random() < 0.2:
        noun = (
            rng.choice(
                (
                    "little",
                    "old",
                    "brave",
                    "red",
                    "small",
                    "friendly",
                    "lost",
                    "tiny",
                    "blue",
                    "sleepy",
                )
            )
            + " "
            + noun
        )
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun}", f"the {noun}"


def _known(rng: random.Random) -> tuple[str, str]:
    noun = rng.choice(
        ("fox", "heron", "lighthouse keeper", "little boat", "miller", "cloud", "lantern", "otter")
    )
    return ("an " if noun[0] in "aeiou" else "a ") + noun, f"the {noun}"


def _later(mention: str) -> str:
    return "the " + mention.split(" ", 1)[1]


def _ask(
    rng: random.Random,
    wordings: tuple[str, ...],
    first: tuple[str, str],
    second: tuple[str, str] | None = None,
) -> str:
    text = noisy(rng, rng.choice(wordings)).replace("{a}", first[0])
    return text.replace("{b}", second[0]) if second else text
