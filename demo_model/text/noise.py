"""Varies questions as people type them: other openings, no capitals or punctuation, typing errors.

It works on the wording of a question before anything is filled into it, so a ``{slot}`` is never
damaged.
"""

import random
import re

_BEFORE = (
    "Please {q}", "Hey, {q}", "Hi! {Q}", "Hello, {q}", "Can you help me? {Q}", "Quick question: {q}", "Okay, {q}",
    "So, {q}", "{Q} Please.", "{Q} Thanks!", "I have a question. {Q}", "Now {q}", "One more thing: {q}", "Thanks. {Q}",
    "Great. {Q}", "And {q}", "Well, {q}", "{Q} Please answer briefly.", "I wonder, {q}",
)  # fmt: skip
_SAFE = re.compile(r"[a-z]{4,}")  # words that stay readable with one typing error


def noisy(rng: random.Random, question: str) -> str:
    """Return `question` as one of many people would type it. A third stay unchanged."""
    if rng.random() < 0.12:
        before = rng.choice(_BEFORE)
        # "AWS" and "I" keep their capitals; "What" becomes "what".
        keeps = len(question) < 2 or not question[1].islower() or "{" in question[:1]
        lower = question if keeps else question[0].lower() + question[1:]
        question = before.replace("{q}", lower).replace("{Q}", question)
    if rng.random() < 0.3:
        question = _outside_slots(question, str.lower)
    if rng.random() < 0.3:
        question = question.rstrip(".?!")
    elif rng.random() < 0.08:
        question = question.rstrip(".?!") + rng.choice(("??", "!", "...", " ?", "?!", "."))
    if rng.random() < 0.1:
        question = _slip(rng, question)
    if rng.random() < 0.02:
        question = _outside_slots(question, str.upper)
    return question


def _outside_slots(text: str, change) -> str:
    return "".join(
        part if part.startswith("{") else change(part) for part in re.split(r"(\{\w*\})", text)
    )


def _slip(rng: random.Random, text: str) -> str:
    """Return `text` with one letter of one word doubled, left out or swapped with the next one."""
    words = [
        match for match in _SAFE.finditer(text) if text[match.start() - 1 : match.start()] != "{"
    ]
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:at] + text[at + 1 :]
    if kind == 1:
        return text[:at] + text[at] + text[at:]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
