"""Cells of CSV that no spreadsheet takes for a formula. Pure."""

_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the last four are their full-width forms, which Excel takes too
_FIRST = ("\t", "\r", "\n")


def inert(cell: object) -> str:
    """Return a cell's text, behind an apostrophe where a spreadsheet would compute it: `=1+1`, ` @SUM(A1)`."""
    text = str(cell)
    return f"'{text}" if text.startswith(_FIRST) or text.lstrip().startswith(_FORMULA) else text
