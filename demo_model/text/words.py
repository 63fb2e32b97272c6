"""Words for the slots of sentences, from `words.txt`: nouns, names, places and others.

Invented words teach the model to copy.
"""

import random
from pathlib import Path

_LINES = Path(__file__).with_name("words.txt").read_text(encoding="utf-8").splitlines()
_LISTS = {key: tuple(words.split()) for key, words in (line.split(": ") for line in _LINES)}

NOUNS = _LISTS["nouns"]
NAMES = _LISTS["names"]
CITIES = _LISTS["cities"]
COUNTRIES = _LISTS["countries"]
COLOURS = _LISTS["colours"]
ANIMALS = _LISTS["animals"]
FRUITS = _LISTS["fruits"]


def invented(rng: random.Random) -> str:
    """Return a word that does not exist, such as "zomila".

    By learning to copy such words, the model learns to copy any word.
    """
    return "".join(rng.choices(_LISTS["syllables"], k=rng.randint(2, 3))) + rng.choice(
        ("", "n", "r", "l", "x", "ck", "st")
    )
