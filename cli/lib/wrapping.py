"""Wrap streamed text at spaces while it is written to a terminal."""

from rich.cells import cell_len

_TAB = 8


class Wrapped:
    """Text of a terminal with `width` columns, as what to write for each piece that comes.

    Each piece is written at once. A word that turns out not to fit is erased and written again on
    the next line. A word that is longer than a line is broken.
    """

    def __init__(self, width: int) -> None:
        """Begin at the start of a line."""
        self._width = max(1, width - 1)  # at the last column, terminals differ in where they are
        self._column = 0
        self._word = ""

    def written(self, piece: str) -> str:
        """Return what to write for a piece of text."""
        return "".join(map(self._character, piece))

    def _character(self, character: str) -> str:
        if character == "\n":
            self._column, self._word = 0, ""
            return character
        cells = _TAB - self._column % _TAB if character == "\t" else cell_len(character)
        before = ""
        if self._column + cells > self._width:
            moved = "" if character in " \t" else self._word
            length = cell_len(moved)
            if length == self._column:  # the word began with the line
                moved, length = "", 0
            before = f"\x1b[{length}D\x1b[K\n{moved}" if moved else "\n"
            self._column, self._word = length, moved
            if character in " \t":
                return before
        self._column += cells
        # scripts with wide characters have no spaces, and may wrap at each of them
        self._word = "" if character in " \t" or cells > 1 else self._word + character
        return before + character
