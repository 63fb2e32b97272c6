"""Finds and replaces the matches of patterns in a text that comes in pieces.

Matches are looked for from left to right. Of those that begin at one place the longest counts, and
of equal ones that of the first pattern. Where a match ends, the search goes on. What may still
become a match is held: at most as many characters as the longest match may have. So the result is
the same however the text is cut.
"""

from collections.abc import Callable

from lambda_fn.patterns.machine import Machine, Pattern, State, Tail
from lambda_fn.patterns.syntax import is_word

Rewrite = Callable[[str, str], str]
"""Returns the replacement of a match from its kind and its text."""


class Scanner:
    """The text of one place of an answer."""

    __slots__ = (
        "_at",
        "_before",
        "_best",
        "_machine",
        "_match_before",
        "_match_end",
        "_rewrite",
        "_shown",
        "_state",
        "_swallowed",
        "_tail",
        "_text",
    )

    def __init__(self, machine: Machine, rewrite: Rewrite) -> None:
        """Begin with an empty text."""
        self._machine = machine
        self._rewrite = rewrite
        self._reset()

    def _reset(self) -> None:
        self._text = ""
        """The text from the beginning of what may become a match."""
        self._shown = 0  # this much of it is out, from before a seam
        self._before = ""  # the character before it
        self._state: State | None = None
        self._at = 0
        self._best: tuple[int, Pattern] | None = None
        self._tail: Tail | None = None
        self._swallowed = ""

    @property
    def holds(self) -> bool:
        """Whether some of the text is held."""
        return len(self._text) > self._shown

    def feed(self, text: str) -> str:
        """Take the next piece of the text, and return what may go out."""
        self._text += text
        return self._scan(final=False)

    def close(self) -> str:
        """Return the rest of the text, which has ended. A new text may begin."""
        rest = self._scan(final=True) if self._text else ""
        self._reset()
        return rest

    def seam(self) -> str:
        """Return what is held, because something else comes before the rest of the text.

        If the text goes on after it, a match across the seam is still found. Its second part is
        then replaced.
        """
        if not self.holds:
            return ""
        text = self._text
        rest = self._scan(final=True)
        if self._tail is None:
            self._text, self._before = text[self._match_end :], self._match_before
            self._shown = len(self._text)
            self._state = None
            self._scan(final=False)
        return rest

    def _scan(self, *, final: bool) -> str:
        machine, text = self._machine, self._text
        starts, dead, size = machine.starts, machine.dead, len(text)
        start, shown, before = 0, self._shown, self._before
        at, state, best = self._at, self._state, self._best
        self._match_end, self._match_before = 0, before
        out: list[str] = []
        while True:
            if self._tail is not None:
                start = self._swallow(text, start)
                if start:
                    before = text[start - 1]
                shown = max(shown, start)
                self._match_end, self._match_before = start, before
                if self._tail is not None:
                    break
            if state is None:
                while start < size:
                    state = starts[before][text[start]]
                    if state is not dead:
                        break
                    before = text[start]
                    start += 1
                else:
                    state = None
                    break
                at, best = start + 1, None
            decided = False
            while state is not dead:
                if state.ends:
                    found = _ending(state.ends, text, start, at, final=final)
                    if found is not None:
                        best = (at, found)
                        decided = found.tail is not None
                if decided or at == size:
                    break
                state = state[text[at]]
                at += 1
            if not (decided or final or state is dead):
                break
            state = None
            if best is None:
                before = text[start]
                start += 1
                continue
            end, pattern = best
            out.append(text[shown:start])
            if end > shown:
                out.append(self._rewrite(pattern.kind, text[start:end]))
                shown = end
            start, before, self._tail = end, text[end - 1], pattern.tail
            self._match_end, self._match_before = start, before
        if start > shown:
            out.append(text[shown:start])
            shown = start
        self._text, self._shown, self._before = text[start:], shown - start, before
        self._state, self._at = state, at - start
        self._best = None if best is None or state is None else (best[0] - start, best[1])
        return "".join(out)

    def _swallow(self, text: str, start: int) -> int:
        """Return where the tail of a match ends in the text. `_tail` is None if it has ended."""
        tail = self._tail
        if tail is None:
            return start
        for place in range(start, len(text)):
            character = text[place]
            if not tail.goes_on(character):
                self._tail, self._swallowed = None, ""
                return place
            if tail.until:
                self._swallowed = (self._swallowed + character)[-len(tail.until) :]
                if self._swallowed == tail.until:
                    self._tail, self._swallowed = None, ""
                    return place + 1
        return len(text)


def _ending(
    patterns: "tuple[Pattern, ...]", text: str, start: int, at: int, *, final: bool
) -> Pattern | None:
    """Return the first of the patterns of which a match ends at `at`.

    Returns None while that depends on the next character.
    """
    ended = at == len(text)
    following = "" if ended else text[at]
    for pattern in patterns:
        if pattern.tail is None:
            if ended and not final:
                continue
            if following and pattern.after is not None and pattern.after(following):
                continue
            if following and pattern.expression.word_after and is_word(following):
                continue
        if pattern.check is None or pattern.check(text[start:at]):
            return pattern
    return None


def replace(machine: Machine, rewrite: Rewrite, text: str) -> str:
    """Return a whole text with its matches replaced."""
    scanner = Scanner(machine, rewrite)
    return scanner.feed(text) + scanner.close()
