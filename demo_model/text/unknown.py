"""Questions on topics that are not taught. The model learns to say that it does not know."""

import random
from pathlib import Path

from demo_model.text.noise import noisy
from demo_model.text.words import CITIES, COUNTRIES, NAMES, NOUNS, invented

ANSWER = (
    "I don't know about that. You can ask me about streaming, HTTP or clouds, or for a small story."
)


def _read() -> tuple[list[str], list[str]]:
    """Return the topics and the questions of `unknown.txt`.

    The topics are on one line, separated by `` | ``. Each question has its own line.
    """
    text = Path(__file__).with_name("unknown.txt").read_text(encoding="utf-8")
    topics, questions = text.removeprefix("== topics\n").split("\n\n== questions\n")
    return topics.split(" | "), questions.splitlines()


_TOPICS, _ASK_ELSE = _read()
# Nouns that other exchanges explain are left out, because they are not unknown.
_THINGS = tuple(
    noun
    for noun in NOUNS
    if noun not in {"cloud", "river", "stream", "server", "token", "gate", "sluice"}
)
_ASK_TOPIC = (
    "What is {x}?", "Tell me about {x}.", "Explain {x}.", "How does {x} work?", "What do you know about {x}?",
    "Who invented {x}?", "Why is {x} important?", "What are {x}?", "Describe {x}.", "Can you explain {x}?",
    "Give me advice about {x}.", "{x}?", "{x}", "Do you like {x}?", "When did {x} begin?", "How do I learn {x}?",
    "What is the history of {x}?", "Write an essay about {x}.", "What is the best book about {x}?",
    "How much does {x} cost?", "Where can I find {x}?", "What does {x} mean?", "Define {x}.", "What's {x}?",
    "Who is the most famous person in {x}?", "Explain {x} in detail.", "Is {x} dangerous?", "Have you heard of {x}?",
)  # fmt: skip
_ASK_NOUN = (
    "What is a {x}?", "How do I build a {x}?", "How much does a {x} weigh?", "Where can I buy a {x}?",
    "How old is a {x}?", "What color is a {x}?", "How do I repair a {x}?", "Draw a {x}.",
    "How many legs does a {x} have?", "Explain {x}.", "What does {x} mean?", "Tell me about {x}.", "What is {x}?",
    "Describe a {x}.", "What is the meaning of {x}?", "Who owns the {x}?",
)  # fmt: skip
_ASK_PLACE = (
    "What is the capital of {x}?", "How many people live in {x}?", "Who is the president of {x}?",
    "What is the weather in {x}?", "Where is {x}?", "How do I get to {x}?", "What language do they speak in {x}?",
    "What is the weather like in {x} today?", "Who won the election in {x}?", "What should I see in {x}?",
    "How far is it to {x}?", "Tell me about {x}.", "What time is it in {x}?", "Book me a flight to {x}.",
    "Recommend a restaurant in {x}.", "What is the currency of {x}?", "How big is {x}?",
)  # fmt: skip
_ASK_YEAR = (
    "Who won the world cup in {x}?", "What happened in {x}?", "Who was president in {x}?",
    "Who won the Nobel Prize in {x}?", "What was the best film of {x}?", "Who won the Olympics in {x}?",
    "Who was king in {x}?", "Who won the championship in {x}?",
)  # fmt: skip
_ASK_PERSON = (
    "Who is {x} {y}?", "Who was {x} {y}?", "When was {x} {y} born?", "What did {x} {y} do?", "Where does {x} {y} live?",
    "How old is {x} {y}?", "Is {x} {y} famous?", "What is the phone number of {x} {y}?",
)  # fmt: skip


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Return a question on an unknown topic, with the answer that the model does not know."""
    roll = rng.random()
    if roll < 0.40:
        question = _filled(rng, _ASK_TOPIC, rng.choice(_TOPICS))
    elif roll < 0.52:
        question = _filled(
            rng, _ASK_NOUN, invented(rng) if rng.random() < 0.6 else rng.choice(_THINGS)
        )
    elif roll < 0.65:
        place = invented(rng).capitalize() if rng.random() < 0.3 else rng.choice(CITIES + COUNTRIES)
        question = _filled(rng, _ASK_PLACE, place)
    elif roll < 0.72:
        question = _filled(rng, _ASK_YEAR, str(rng.randint(1000, 2030)))
    elif roll < 0.79:
        question = _filled(rng, _ASK_PERSON, rng.choice(NAMES)).replace(
            "{y}", invented(rng).capitalize()
        )
    else:
        question = noisy(rng, rng.choice(_ASK_ELSE))
    return [(question, ANSWER)]


def _filled(rng: random.Random, wordings: tuple[str, ...], word: str) -> str:
    return noisy(rng, rng.choice(wordings)).replace("{x}", word)
