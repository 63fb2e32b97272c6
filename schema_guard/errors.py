"""The one error of this package."""

from collections.abc import Sequence

MOST_PATH = 200
"""Characters of a path. Names in a schema may be as long as its body."""

Step = str | int


class SchemaRefused(ValueError):
    """A schema that no engine may get.

    `reason` says what is wrong and what to do; `steps` lead to the wrong member.
    """

    def __init__(self, steps: Sequence[Step], reason: str) -> None:
        """Name the member by its steps from the request's root: names, and numbers of list
        items.
        """
        super().__init__(reason)
        self.steps = tuple(steps)
        self.reason = reason

    @property
    def path(self) -> str:
        """The path as `tools[0].function.parameters`, at most `MOST_PATH` characters, all of them
        printable.
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
    """Return `text` with a question mark for each character that a log or a terminal would act
    on.
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def shown(value: object) -> str:
    """Return a value for a message: short, printable, and not converted if it is huge."""
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
