"""Rewrites patterns of JSON schemas for llguidance: anchored at both ends, without look-around.

Pure.
"""

from __future__ import annotations

import re

# One element of a pattern: an escape, brackets, how a group opens, or a single character.
_ELEMENT = re.compile(r"\\.|\[\^?(?:\\.|[^\\\]])*\]|\(\?(?:P?<?[=!]|:|P?<\w+>)?|.", re.DOTALL)
_OPENS = re.compile(r"\((?:\?(?::|P?<\w+>))?")
# escapes for positions in a text, and for the text of groups
_UNKNOWN_ESCAPES = frozenset("bBkGAzZ123456789")
_SET_OPERATORS = ("--", "&&", "~~")  # within brackets only; elsewhere they are two characters
_ANY = "(?s:.*)"


def anchored(pattern: str) -> str | None:
    """Return a pattern for whole strings that accepts those in which `pattern` is found.

    Return None if there is no such pattern.
    """
    alternatives: list[list[str]] = [[]]
    depth = 0
    for element in _ELEMENT.findall(pattern):
        if _unsaid(element) or (element in "^$" and depth > 0):
            return None
        depth += element.startswith("(") - (element == ")")
        if element == "|" and depth == 0:
            alternatives.append([])
        else:
            alternatives[-1].append(element)
    found = [_whole(elements) for elements in alternatives]
    return None if None in found else f"^(?:{'|'.join(filter(None, found))})$"


def _unsaid(element: str) -> bool:
    """Return whether llguidance cannot express an element, or reads it differently."""
    if element.startswith("("):
        return not _OPENS.fullmatch(element)
    if element.startswith("\\"):
        return element[1:] in _UNKNOWN_ESCAPES
    return element.startswith("[") and any(operator in element for operator in _SET_OPERATORS)


def _whole(elements: list[str]) -> str | None:
    """Return one alternative, with what may come before and after it in a string."""
    before = behind = _ANY
    if elements[:1] == ["^"]:
        before, elements = "", elements[1:]
    if elements[-1:] == ["$"]:
        behind, elements = "", elements[:-1]
    if "^" in elements or "$" in elements:
        return None
    return f"{before}(?:{''.join(elements)}){behind}"
