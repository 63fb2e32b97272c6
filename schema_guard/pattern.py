"""Checks regular expressions: anchored, bounded, linear, and almost without look-around.

With `lenient`, anchors may be missing and look-around may be anywhere. All engines read an accepted
pattern in the same way, or ignore parts of it, as llama.cpp does with `\\d`. The parser makes one
pass with a stack of open groups.
"""

from dataclasses import dataclass, field

from schema_guard import limits
from schema_guard.limits import Limit
from schema_guard.readings import (
    ANY,
    Automaton,
    Character,
    Choice,
    Node,
    Repeat,
    Row,
    TooManyPositions,
)

_KNOWN_LOOKAHEADS = (
    "(?!^[-+.]*$)",
    "(?!\\.)",
    "(?!.*\\.\\.)",
    "(?!.*W)",
    "(?=\\d|T\\d)",
    "(?=\\d)",
)
"""Lookaheads that pydantic (Decimal) and zod (email, duration) write.

llama.cpp accepts any string for a pattern that has one.
"""
_SETS = frozenset("dwsDWS")
_CONTROLS = frozenset("nrt")
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ")
_META = frozenset("\\^$.|?*+()[]{}")
_LOOKS_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
_HEX = frozenset("0123456789abcdefABCDEF")

_ANY = Character(ANY)


class PatternRefused(ValueError):
    """The reason why a pattern is not accepted, as the end of a sentence."""


@dataclass(slots=True)
class _Part:
    """One element of a sequence: a character, a set or a group, with its quantifier."""

    size: int = 1
    empty: bool = False
    varies: bool = False  # its length is not fixed
    endless: bool = False  # a repetition without end is in it, and nothing of fixed length beside
    many: bool = False  # it is a set, a group or a repetition
    unbounded: bool = False  # a repetition without end is in it
    after: int = 0  # the share of its size that is within or after such a repetition
    wide: bool = False  # it is a character outside ASCII: llama.cpp would repeat its last byte
    node: Node = _ANY
    ends: int = 1  # the places where it may end, repetitions written out


@dataclass(slots=True)
class _Group:
    """A group that is still open: totals of its earlier alternatives, parts of the current one."""

    size: int = 0
    empty: bool = False
    endless: bool = False
    unbounded: bool = False
    after: int = 0
    ends: int = 0
    start: int = 1  # where the current alternative begins
    texts: set[str] = field(default_factory=set)
    parts: list[_Part] = field(default_factory=list)
    choices: list[Node] = field(default_factory=list)

    def end_alternative(self) -> None:
        """Add the current alternative to the totals, and begin the next one."""
        parts, self.parts = self.parts, []
        self.choices.append(Row([part.node for part in parts]))
        self.size += sum(part.size for part in parts)
        for part in reversed(parts):
            self.ends += part.ends
            if not part.empty:
                break
        unbounded = False
        for part in parts:
            self.after += part.size if unbounded else part.after
            unbounded |= part.unbounded
        self.unbounded |= unbounded
        self.empty |= all(part.empty for part in parts)
        self.endless |= any(part.endless for part in parts) and all(part.varies for part in parts)

    def closed(self) -> _Part:
        """End the group, and return it as a part."""
        if self.parts or not self.texts:
            self.end_alternative()
        return _Part(
            size=self.size,
            empty=self.empty,
            varies=self.empty or self.endless,
            endless=self.endless,
            many=True,
            unbounded=self.unbounded,
            after=self.after,
            node=Choice(self.choices),
            ends=max(1, self.ends),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a pattern in llama.cpp's own grammars; zero if the check is lenient."""

    transitions: int = 0  # positions, and pairs of positions that may follow each other
    readings: int = 0  # ways to read on, times the pattern's size
    ends: int = 1  # places where a text may end at once


def check_pattern(pattern: str, *, lenient: bool) -> Cost:
    """Check that a pattern has an accepted form, and return its cost.

    With `lenient`, a pattern may lack an anchor; it may then match anywhere in a string.

    Raises:
        PatternRefused: the pattern is not accepted.

    """
    _within(limits.PATTERN_TEXT, len(pattern))
    before = pattern[:-1]
    ends = pattern.endswith("$") and (
        not lenient or (len(before) - len(before.rstrip("\\"))) % 2 == 0
    )
    begins = pattern.startswith("^")
    if not (lenient or (begins and ends)):
        raise PatternRefused("is not anchored: begin it with '^' and end it with '$'")
    text = f"{'' if begins else '^'}{pattern}{'' if ends else '$'}"
    return _Parser(text, begins=begins, ends=ends, lenient=lenient).parse()


def _within(limit: Limit, count: int) -> None:
    if count > limit.most:
        raise PatternRefused(f"has more than {limit.most:,} ({limit.counts})")


class _Parser:
    def __init__(self, pattern: str, *, begins: bool, ends: bool, lenient: bool) -> None:
        self._text = pattern
        self._lenient = lenient
        self._looks_around = False
        self._begins = begins
        self._loose = not begins and not ends
        self._at = 1
        self._groups = [_Group()]
        self._empty = 0
        self._alternatives = 1
        self._sets = 0

    def parse(self) -> Cost:
        """Read the whole pattern, and return its cost. Raises PatternRefused."""
        text, last = self._text, len(self._text) - 1
        while self._at < last:
            if text.startswith("$|^", self._at) and len(self._groups) == 1:
                self._alternative(3)
            elif text[self._at] == "(":
                self._open()
            elif text[self._at] == ")":
                self._close()
            elif text[self._at] == "|":
                if len(self._groups) == 1 and not self._loose:
                    raise PatternRefused("has alternatives outside a group: write '^(a|b)$'")
                self._alternative(1)
            else:
                self._add(self._element())
        if len(self._groups) > 1:
            raise PatternRefused("has a group that is not closed")
        whole = self._groups[0].closed()
        _within(limits.PATTERN_SIZE, whole.size)
        _within(limits.PATTERN_AFTER, whole.after if self._begins else whole.size)
        return Cost() if self._lenient else _cost(whole)

    def _alternative(self, width: int) -> None:
        self._at += width
        self._alternatives += 1
        _within(limits.PATTERN_ALTERNATIVES, self._alternatives)
        self._end_alternative(self._at - width)

    def _end_alternative(self, end: int) -> None:
        group = self._groups[-1]
        text = self._text[group.start : end]
        if text in group.texts:
            raise PatternRefused("has the same alternative twice in a group: leave one out")
        group.texts.add(text)
        if len(group.parts) == 1 and group.parts[0].many:
            self._sets += 1
            _within(limits.PATTERN_SETS, self._sets)
        group.start = self._at
        group.end_alternative()

    def _open(self) -> None:
        known = next(
            (known for known in _KNOWN_LOOKAHEADS if self._text.startswith(known, self._at)), None
        )
        if known is not None:
            self._at += len(known)
            return
        around = next(
            (form for form in _LOOKS_AROUND if self._text.startswith(form, self._at)), None
        )
        if around is not None and self._lenient:  # the engine ignores such a pattern
            self._at += len(around) - 1
            self._looks_around = True
        elif self._text.startswith("(?", self._at):
            if not self._text.startswith("(?:", self._at):
                raise PatternRefused(
                    "has a group of a form that is not supported: use '(…)' or '(?:…)'"
                )
            self._at += 2
        self._at += 1
        self._groups.append(_Group(start=self._at))
        _within(limits.PATTERN_DEPTH, len(self._groups) - 1)

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise PatternRefused("closes a group that is not open")
        if self._groups[-1].texts:
            self._end_alternative(self._at)
        self._at += 1
        self._add(self._groups.pop().closed())

    def _add(self, part: _Part) -> None:
        part = self._quantified(part)
        _within(limits.PATTERN_SIZE, part.size)
        self._empty += part.empty
        _within(limits.PATTERN_EMPTY, self._empty)
        self._groups[-1].parts.append(part)

    def _quantified(self, part: _Part) -> _Part:
        sign = self._text[self._at]
        if sign == "{":
            least, most = self._counts()
        elif sign in "*+?":
            self._at += 1
            least, most = (1 if sign == "+" else 0), (1 if sign == "?" else None)
        else:
            return part
        if self._text[self._at] == "?":  # a lazy quantifier accepts the same strings
            self._at += 1
        if self._text[self._at] in "*+?{":
            raise PatternRefused(
                "repeats a repetition: put the inner one into a group, or leave one out"
            )
        if part.wide:
            raise PatternRefused("repeats a character outside ASCII: put it in brackets, as '[é]+'")
        if most != 1 and part.empty:
            raise PatternRefused(
                "repeats what may be empty: each repetition must have at least one character"
            )
        if most is None and part.endless:
            raise PatternRefused(
                "repeats a repetition without end: each repetition must begin or end with something fixed"
            )
        size = part.size * max(1, least, most or 0)
        once = most == 1
        return _Part(
            size=size,
            unbounded=most is None or part.unbounded,
            after=size if most is None or (part.unbounded and not once) else part.after,
            empty=part.empty or least == 0,
            varies=part.varies or least != most,
            endless=part.endless or most is None,
            many=True,
            node=Repeat(part.node, least, most),
            ends=part.ends * (2 if most is None else most - max(1, least) + 1),
        )

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        given = self._text[self._at + 1 : end] if end > 0 else ""
        low, comma, high = given.partition(",")
        if not (_digits(low) and (_digits(high) or not high)):
            raise PatternRefused(
                "has '{' that begins no repetition: write {n}, {m,} or {m,n}, or '\\{' for the sign"
            )
        self._at = end + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        _within(limits.PATTERN_REPEAT, max(least, most or 0))
        if most is not None and least > most:
            raise PatternRefused(
                f"repeats at least {least} and at most {most} times: the first must not be larger"
            )
        return least, most

    def _element(self) -> _Part:
        sign = self._text[self._at]
        bits = ANY
        if sign == "\\":
            code = self._escape(in_set=False)
            bits = _SETS_BITS[self._text[self._at - 1]] if code is None else _bit(code)
        elif sign == "[":
            bits = self._set()
        elif sign == ".":
            self._at += 1
        elif sign in "*+?{":
            raise PatternRefused(f"has '{sign}' with nothing to repeat before it")
        elif sign in "^$" and self._looks_around:
            self._at += 1
        elif sign in "^$":
            raise PatternRefused(f"has '{sign}' inside: write '\\{sign}' for the sign itself")
        elif sign in _META:
            raise PatternRefused(f"has '{sign}' alone: write '\\{sign}' for the sign itself")
        else:
            code = self._character()
            return _Part(wide=code > 127, node=Character(_bit(code)))
        return _Part(many=sign in "[." or self._text[self._at - 1] in _SETS, node=Character(bits))

    def _character(self) -> int:
        code = ord(self._text[self._at])
        _printable(code)
        self._at += 1
        return code

    def _escape(self, *, in_set: bool) -> int | None:
        """Read an escape. Return the code of its character, or None if it names a set."""
        if self._at + 2 == len(self._text):
            raise PatternRefused("ends in an escaped dollar sign: put another '$' behind it")
        sign = self._text[self._at + 1]
        width = {"x": 2, "u": 4}.get(sign, 0)
        if width:
            digits = self._text[self._at + 2 : self._at + 2 + width]
            if len(digits) < width or not _HEX.issuperset(digits):
                raise PatternRefused(f"has '\\{sign}' without its {width} hexadecimal digits")
            self._at += 2 + width
            code = int(digits, 16)
            _printable(code)
            return code
        if sign not in _SETS | _CONTROLS | _PUNCTUATION:
            raise PatternRefused(
                f"has the escape '\\{sign if sign.isprintable() else '?'}', which is not supported:"
                " \\d, \\w, \\s, \\D, \\W, \\S, \\n, \\r, \\t, \\xHH, \\uHHHH and escaped signs are"
            )
        self._at += 2
        if sign in _SETS:
            return None
        return {"n": 10, "r": 13, "t": 9}.get(sign, ord(sign)) if in_set else ord(sign)

    def _set(self) -> int:
        others = self._text.startswith("[^", self._at)
        self._at += 2 if others else 1
        start, before, bits = self._at, None, 0
        while self._text[self._at] != "]":
            if self._text[self._at] == "[":
                raise PatternRefused("has '[' inside brackets: write '\\['")
            is_range = (
                self._text[self._at] == "-"
                and before is not None
                and self._text[self._at + 1] != "]"
            )
            if is_range:
                self._at += 1
            code = self._escape(in_set=True) if self._text[self._at] == "\\" else self._character()
            if is_range and (code is None or code < (before or 0)):
                raise PatternRefused("has a range in brackets whose end comes before its start")
            if code is None:
                bits |= _SETS_BITS[self._text[self._at - 1]]
            else:
                bits |= _bits(before if is_range and before is not None else code, code)
            before = None if is_range else code
            if self._at >= len(self._text) - 1:
                raise PatternRefused("has brackets that are not closed")
        if self._at == start:
            raise PatternRefused("has empty brackets")
        self._at += 1
        return ANY & ~bits if others else bits


def _bit(code: int) -> int:
    return 1 << min(code, 128)


def _bits(low: int, high: int) -> int:
    return (_bit(high) << 1) - _bit(low)


_DIGITS = _bits(48, 57)
_WORD = _DIGITS | _bits(65, 90) | _bits(97, 122) | _bit(95)
_SPACE = _bits(9, 13) | _bit(32)
_SETS_BITS = {
    "d": _DIGITS,
    "w": _WORD,
    "s": _SPACE,
    "D": ANY & ~_DIGITS,
    "W": ANY & ~_WORD,
    "S": ANY & ~_SPACE,
}


def _cost(whole: _Part) -> Cost:
    try:
        automaton = Automaton(whole.node, limits.PATTERN_TRANSITIONS.most)
    except TooManyPositions:
        _within(limits.PATTERN_TRANSITIONS, limits.PATTERN_TRANSITIONS.most + 1)
        raise
    readings = automaton.readings(limits.PATTERN_READINGS.most)
    if readings == 1:
        return Cost(automaton.size)
    return Cost(automaton.size, readings * whole.size, whole.ends)


def _digits(text: str) -> bool:
    return 0 < len(text) <= 9 and text.isascii() and text.isdigit()


def _printable(code: int) -> None:
    if code < 32 or 127 <= code < 160 or 0xD800 <= code < 0xE000:
        raise PatternRefused("has a control character or half of a surrogate pair")
