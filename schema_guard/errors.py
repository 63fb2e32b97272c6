"""The error of this package, and how its messages show names and values."""

from collections.abc import Sequence

MOST_PATH = 200
"""Characters of a path. Names in a schema may be as long as its body."""

Step = str | int


class SchemaRefused(ValueError):
    """A schema that no engine may get.

    `reason` says what is wrong and what to do. `steps` lead to the wrong member.
    """

    def __init__(self, steps: Sequence[Step], reason: str) -> None:
        """Create the error. `steps` go from the request's root: names, and indices of items."""
        super().__init__(reason)
        self.steps = tuple(steps)
        self.reason = reason

    @property
    def path(self) -> str:
        """The steps as one printable text, such as `tools[0].function.parameters`.

        It has at most `MOST_PATH` characters.
        """
        text = ""
        for step in self.steps:
            text += (
                f"[{step}]"
                if isinstance(step, int)
                else f".{step[:MOST_PATH]}"
                if text
                else step[:MOST_PATH]
            )
            if len(text) > MOST_PATH:
                text = text[: MOST_PATH - 1] + "…"
                break
        return printable(text)


def printable(text: str) -> str:
    """Return `text` with a question mark in place of each character that is not printable."""
    return "".join(character if character.isprintable() else "?" for character in text)


def shown(value: object) -> str:
    """Return a short, printable text for a value in a message.

    A huge integer is described, because its conversion to decimal is slow.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return f"'{printable(value[:40])}{'…' if len(value) > 40 else ''}'"
    return "an object" if isinstance(value, dict) else "a list"
