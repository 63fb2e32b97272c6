"""The rules of composite alarms: ALARM, OK and INSUFFICIENT_DATA of other alarms, AND, OR, NOT.

Source: PutCompositeAlarm in the CloudWatch API reference.
"""

import re
from collections.abc import Mapping

from local.moto.alarms.states import State

_TOKEN = re.compile(
    r'\s*(?:(ALARM|OK|INSUFFICIENT_DATA)\(\s*"?([^")]+)"?\s*\)|(AND|OR|NOT|TRUE|FALSE|\(|\)))'
)
_MAX_DEPTH = 50


class RuleError(ValueError):
    """A rule is malformed."""


def holds(rule: str, states: Mapping[str, State]) -> bool:
    """Return whether a rule is true. Alarms are named by their names or ARNs.

    Raises:
        RuleError: see the class.

    """
    tokens: list[str | bool] = []
    at, rule = 0, rule.rstrip()
    while at < len(rule):
        match = _TOKEN.match(rule, at)
        if match is None:
            raise RuleError(f"{rule[at:][:40]!r} is not expected")
        if match[1]:
            name = match[2].strip().rpartition(":alarm:")[2]
            tokens.append(states.get(name, "INSUFFICIENT_DATA") == match[1])
        else:
            tokens.append({"TRUE": True, "FALSE": False}.get(match[3], match[3]))
        at = match.end()
    tokens.reverse()
    found = _either(tokens, 0)
    if tokens:
        raise RuleError(f"{tokens[-1]!r} is not expected")
    return found


def _either(tokens: list[str | bool], depth: int) -> bool:
    found = _both(tokens, depth)
    while tokens and tokens[-1] == "OR":
        tokens.pop()
        found = _both(tokens, depth) or found
    return found


def _both(tokens: list[str | bool], depth: int) -> bool:
    found = _atom(tokens, depth)
    while tokens and tokens[-1] == "AND":
        tokens.pop()
        found = _atom(tokens, depth) and found
    return found


def _atom(tokens: list[str | bool], depth: int) -> bool:
    if depth > _MAX_DEPTH:
        raise RuleError("the rule is nested too deeply")
    token = tokens.pop() if tokens else ""
    if isinstance(token, bool):
        return token
    if token == "NOT":  # noqa: S105 (a token of the rule)
        return not _atom(tokens, depth + 1)
    if token == "(":  # noqa: S105 (as above)
        found = _either(tokens, depth + 1)
        if tokens and tokens.pop() == ")":
            return found
    raise RuleError("the rule ends too early" if not token else f"{token!r} is not expected")
