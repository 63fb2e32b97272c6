"""Escapes CSV cells that a spreadsheet would take for formulas. Pure."""

# The last four are full-width forms, which Excel accepts too.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_FIRST = ("\t", "\r", "\n")


def inert(cell: object) -> str:
    """Return the text of a cell, with an apostrophe before it if a spreadsheet would compute it."""
    text = str(cell)
    return f"'{text}" if text.startswith(_FIRST) or text.lstrip().startswith(_FORMULA) else text
