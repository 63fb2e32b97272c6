"""Reads an `Accept` header as RFC 9110 defines it, section 12.5.1. Pure, and linear in the header.

Elements that are malformed are ignored, as if the client had not sent them.
"""

import re
from collections.abc import Mapping

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_PARAMETER = rf"({_NAME})=({_NAME}|{_QUOTED})"
# The patterns never backtrack.
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\Z))++', re.DOTALL)
_RANGE = re.compile(rf"[ \t]*+({_NAME})/({_NAME})((?:[ \t]*+;[ \t]*+(?:{_PARAMETER})?+)*+)[ \t]*+")
_WEIGHT = re.compile(r"0|1|0?\.[0-9]{1,9}|0\.|1\.0*")


def quality(accept: str, media_type: str, parameters: Mapping[str, str]) -> float:
    """Return the weight, 0 to 1, that a header gives to a response of a media type.

    The most specific range that matches decides. The weight is 0 if none matches, and 1 if the
    header has no range at all. `media_type` and `parameters` are in lower case.
    """
    best = (-1, 0.0)
    has_range = False
    for element in _ELEMENT.findall(accept):
        found = _RANGE.fullmatch(element)
        if found is None:
            continue
        wanted, weight = {}, "1"
        for name, text in re.findall(_PARAMETER, found[3]):
            if name.lower() == "q":  # nothing behind the weight belongs to the range
                weight = text
                break
            wanted[name.lower()] = text.strip('"').lower()
        if not _WEIGHT.fullmatch(weight):
            continue
        has_range = True
        if (level := _level(found[1].lower(), found[2].lower(), media_type)) < 0:
            continue
        if wanted.items() <= parameters.items():
            best = max(best, (level + len(wanted), float(weight)))
    return best[1] if has_range else 1.0


def _level(kind: str, subtype: str, media_type: str) -> int:
    """Return how specific a range is that matches, or -1 if it does not match."""
    if f"{kind}/{subtype}" == media_type:
        return 2
    if subtype != "*":
        return -1
    return 0 if kind == "*" else 1 if media_type.startswith(f"{kind}/") else -1
