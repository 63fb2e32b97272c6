"""Small sums and counting.

Numbers go up to twenty. For larger ones the model learns to say that it cannot calculate them.
"""

import random

from demo_model.text.noise import noisy
from demo_model.text.words import FRUITS, NAMES

LIMIT = 20
TIMES_LIMIT = 10
TOO_LARGE = "That is too large for me. I can only work with whole numbers up to twenty."
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()  # noqa: SIM905, E501 (reads as what it is)
_ASK = (
    "What is {s}?", "What's {s}?", "{s}", "{s}?", "{s} =", "{s} = ?", "How much is {s}?", "Calculate {s}.",
    "Compute {s}.", "What does {s} equal?", "Can you calculate {s}?", "Solve {s}.", "Tell me what {s} is.",
    "What is the result of {s}?", "Please work out {s}.", "Do you know what {s} is?", "Answer with a number: {s}",
    "what do you get for {s}",
)  # fmt: skip
_SPOKEN = {
    "+": (" plus ", " and "),
    "-": (" minus ", " take away "),
    "*": (" times ", " multiplied by "),
}
_COUNT = (
    "Count to {n}.", "Count from 1 to {n}.", "Can you count to {n}?", "Please count to {n}.", "Count up to {n}.",
    "Count from one to {n}.", "count 1 to {n}", "Say the numbers from 1 to {n}.", "List the numbers from 1 to {n}.",
    "Write the numbers 1 to {n}.", "Count slowly to {n}.", "Give me the numbers from 1 to {n}.",
)  # fmt: skip
_COUNT_DOWN = (
    "Count down from {n}.",
    "Count backwards from {n}.",
    "Count down from {n} to 1.",
    "Give me a countdown from {n}.",
)
_COUNT_TO = (3, 5, 5, 10, 10, 10, 20, 20, 20, 30, 50, 100)


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Return one kind of exchange about numbers.

    It is a sum, sometimes with a follow-up, many sums in a row, a sum in words, a count, a
    comparison, or a sum that is too large.
    """
    roll = rng.random()
    if roll < 0.2:
        return [turn for _ in range(rng.randint(3, 10)) for turn in _sum(rng)]
    if roll < 0.62:
        return _sum(rng)
    if roll < 0.74:
        return [_apples(rng)]
    if roll < 0.88:
        return [_count(rng)]
    if roll < 0.94:
        return [_compare(rng)]
    return [_too_large(rng)]


def _operands(rng: random.Random) -> tuple[str, int, int, int]:
    sign = rng.choices("+-*", (4, 4, 3))[0]
    if sign == "+":
        a, b = rng.randint(0, LIMIT), rng.randint(0, LIMIT)
        return sign, a, b, a + b
    if sign == "-":
        a = rng.randint(0, LIMIT)
        b = rng.randint(0, a)
        return sign, a, b, a - b
    a, b = rng.randint(0, TIMES_LIMIT), rng.randint(0, TIMES_LIMIT)
    return sign, a, b, a * b


def _written(rng: random.Random, sign: str, a: int, b: int) -> str:
    roll = rng.random()
    if roll < 0.5:
        return f"{a} {sign} {b}" if sign != "*" else f"{a} {rng.choice('*x*')} {b}"
    if roll < 0.65:
        return f"{a}{sign}{b}"
    spoken = rng.choice(_SPOKEN[sign])
    if roll < 0.85:
        return f"{a}{spoken}{b}"
    return f"{_WORDS[a]}{spoken}{_WORDS[b]}"


def _sum(rng: random.Random) -> list[tuple[str, str]]:
    sign, a, b, result = _operands(rng)
    turns = [
        (
            noisy(rng, rng.choice(_ASK)).replace("{s}", _written(rng, sign, a, b)),
            f"{a} {sign} {b} = {result}.",
        )
    ]
    if rng.random() < 0.15 and result <= LIMIT:
        plus = rng.randint(1, 10)
        wording = rng.choice(
            ("And plus {s}?", "Now add {s}.", "Add {s} to that.", "plus {s}", "And {s} more?")
        )
        turns.append(
            (noisy(rng, wording).replace("{s}", str(plus)), f"{result} + {plus} = {result + plus}.")
        )
    return turns


def _apples(rng: random.Random) -> tuple[str, str]:
    who, fruit = rng.choice(NAMES), rng.choice(FRUITS) + "s"
    a, b = rng.randint(1, LIMIT), rng.randint(1, LIMIT)
    if rng.random() < 0.5:
        wording = rng.choice((
            "{who} has {a} {fruit} and gets {b} more. How many {fruit} does {who} have?",
            "If {who} has {a} {fruit} and buys {b} more, how many are there?",
            "{who} has {a} {fruit}. A friend brings {b} more. How many {fruit} are there now?",
        ))  # fmt: skip
        answer = f"{a} + {b} = {a + b}, so {who} has {a + b} {fruit}."
    else:
        a, b = max(a, b), min(a, b)
        wording = rng.choice((
            "{who} has {a} {fruit} and eats {b}. How many {fruit} are left?",
            "If {who} has {a} {fruit} and gives away {b}, how many are left?",
            "{who} has {a} {fruit} and loses {b} of them. How many does {who} have now?",
        ))  # fmt: skip
        answer = f"{a} - {b} = {a - b}, so {who} has {a - b} {fruit}."
    return wording.format(who=who, fruit=fruit, a=a, b=b), answer


def _count(rng: random.Random) -> tuple[str, str]:
    roll = rng.random()
    if roll < 0.2:
        top = rng.choice((3, 5, 10, 10, 12, 15, 20))
        numbers = range(top, 0, -1)
        wording = rng.choice(_COUNT_DOWN)
    else:
        top = rng.choice(_COUNT_TO) if rng.random() < 0.6 else rng.randint(2, 20)
        numbers = range(1, top + 1)
        wording = rng.choice(_COUNT)
    written = _WORDS[top] if top <= LIMIT and rng.random() < 0.4 else str(top)
    if top == 100 and rng.random() < 0.4:
        written = rng.choice(("one hundred", "a hundred"))
    return noisy(rng, wording).replace("{n}", written), ", ".join(map(str, numbers)) + "."


def _compare(rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(range(LIMIT + 1), 2)
    wording, better = rng.choice((
        ("Which is larger, {a} or {b}?", max), ("Is {a} larger than {b}?", max), ("What is more, {a} or {b}?", max),
        ("Which is smaller, {a} or {b}?", min),
    ))  # fmt: skip
    word = "larger" if better is max else "smaller"
    first = better(a, b)
    return noisy(rng, wording).replace("{a}", str(a)).replace(
        "{b}", str(b)
    ), f"{first} is {word} than {a + b - first}."


def _too_large(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randint(41, 9999), rng.randint(21, 9999)
    if rng.random() < 0.4:
        a, b = rng.randint(41, 99), rng.randint(21, 99)
    sign = rng.choice("+-*/")
    wording = rng.choice((*_ASK, "What is the square root of {s}?"))
    return noisy(rng, wording).replace("{s}", f"{a} {sign} {b}"), TOO_LARGE
