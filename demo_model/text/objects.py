"""Answers in JSON: always one valid value and nothing around it."""

import json
import random

from demo_model.text.noise import noisy
from demo_model.text.words import (
    ANIMALS,
    CITIES,
    COLOURS,
    COUNTRIES,
    FRUITS,
    NAMES,
    NOUNS,
    invented,
)

_FIELDS = {
    "name": lambda rng: rng.choice(NAMES),
    "age": lambda rng: rng.randint(18, 60),
    "city": lambda rng: rng.choice(CITIES),
    "country": lambda rng: rng.choice(COUNTRIES),
    "color": lambda rng: rng.choice(COLOURS),
    "animal": lambda rng: rng.choice(ANIMALS),
    "price": lambda rng: rng.randint(1, 90),
    "count": lambda rng: rng.randint(1, 30),
    "id": lambda rng: rng.randint(1, 90),
    "active": lambda rng: rng.choice((True, False)),
    "status": lambda rng: rng.choice(("open", "done", "ready")),
    "title": lambda rng: rng.choice(("The River", "The Fox", "A Small Cloud")),
    "tags": lambda rng: rng.sample(("water", "cloud", "stream", "token"), 2),
    "email": lambda rng: rng.choice(NAMES).lower() + "@example.com",
    "year": lambda rng: rng.randint(1990, 2026),
    "score": lambda rng: rng.randint(1, 30),
}
_ASK = (
    "Give me a JSON object with {f}.", "Write a JSON object with {f}.", "JSON with {f}",
    "Return JSON with the keys {f}.", "Make a JSON object that has {f}.", "Answer in JSON with {f}.",
    "Output JSON with {f}.", "I need a JSON object with {f}.", "Please reply with a JSON object containing {f}.",
    "Show me a JSON object with {f}.", "Respond in JSON with fields {f}.", "Create a JSON object with the fields {f}.",
    "json object with {f} please", "Generate JSON with {f}.", "Give me valid JSON with {f}.",
    "Reply only with JSON that has {f}.", "Give me a person as JSON with {f}.",
)  # fmt: skip
_ASK_LIST = (
    "Give me a JSON list of {n} {what}.", "A JSON array of {n} {what}.", "List {n} {what} as JSON.",
    "Return {n} {what} in JSON.", "Write {n} {what} as a JSON array.", "Give me {n} {what} in JSON.",
)  # fmt: skip
_ASK_ANY = (
    "Give me a JSON object.", "Write some JSON.", "Show me some JSON.", "Answer in JSON.", "Give me JSON.",
    "Write a JSON object.", "Can you write JSON?", "Return valid JSON.", "An example of JSON, please.",
    "Reply in JSON.", "Show me a JSON example.", "Give me a user as JSON.", "Describe a person in JSON.",
    "Give me a person as a JSON object.", "Output JSON only.",
)  # fmt: skip
_LISTS = {
    "colors": COLOURS,
    "colours": COLOURS,
    "cities": CITIES,
    "animals": ANIMALS,
    "fruits": FRUITS,
    "names": NAMES,
    "countries": COUNTRIES,
}
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Return a request for JSON, and the JSON."""
    roll = rng.random()
    if roll < 0.62:
        fields = rng.sample(list(_FIELDS), rng.choices((1, 2, 3, 4), (2, 5, 4, 2))[0])
        if rng.random() < 0.3:
            fields = [
                "name",
                "age",
                *[field for field in fields if field not in {"name", "age"}][:2],
            ]
        if rng.random() < 0.06:
            fields[-1] = rng.choice((invented(rng), rng.choice(NOUNS)))
        return [
            (
                noisy(rng, rng.choice(_ASK)).replace("{f}", _joined(rng, fields)),
                _object(rng, fields),
            )
        ]
    if roll < 0.80:
        kind = rng.choice(list(_LISTS))
        n = rng.choice(list(_NUMBERS))
        text = noisy(rng, rng.choice(_ASK_LIST)).replace("{what}", kind)
        return [
            (
                text.replace("{n}", rng.choice((str(n), _NUMBERS[n]))),
                json.dumps(rng.sample(_LISTS[kind], n)),
            )
        ]
    if roll < 0.88:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        wording = rng.choice(
            (
                "What is {s}? Answer in JSON.",
                "Answer in JSON: what is {s}?",
                "{s} as JSON",
                "Give me {s} in JSON.",
            )
        )
        answer = json.dumps({"question": f"{a} + {b}", "answer": a + b})
        return [(noisy(rng, wording).replace("{s}", f"{a} + {b}"), answer)]
    return [(noisy(rng, rng.choice(_ASK_ANY)), _object(rng, ["name", "age", "city"]))]


def _object(rng: random.Random, fields: list[str]) -> str:
    return json.dumps(
        {field: _FIELDS[field](rng) if field in _FIELDS else "example" for field in fields}
    )


def _joined(rng: random.Random, fields: list[str]) -> str:
    if rng.random() < 0.15:
        fields = [f'"{field}"' for field in fields]
    if len(fields) > 1 and rng.random() < 0.7:
        return ", ".join(fields[:-1]) + " and " + fields[-1]
    return ", ".join(fields)
