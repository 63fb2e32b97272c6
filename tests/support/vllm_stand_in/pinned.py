"""The signatures of the pinned vLLM.

They make the stand-in take the same arguments and no others.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from typing import Any, TypeVar

from tests.support.vllm_stand_in.signatures import FILE

F = TypeVar("F", bound=Callable[..., Any])
_KINDS = {
    "positional": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "var_positional": inspect.Parameter.VAR_POSITIONAL,
    "keyword": inspect.Parameter.KEYWORD_ONLY,
    "var_keyword": inspect.Parameter.VAR_KEYWORD,
}
CLASSES: dict[str, Any] = json.loads(FILE.read_text())["classes"]


def class_of(name: str) -> Any:
    """Return what is pinned of a class, by the class's own name."""
    (found,) = [value for key, value in CLASSES.items() if key.rpartition(".")[2] == name]
    return found


def signature(owner: str, method: str) -> inspect.Signature:
    """Return the pinned signature of a method, with `self` or `cls`."""
    parameters = []
    for item in class_of(owner)["methods"][method]["parameters"]:
        kind = _KINDS[item["kind"]]
        optional = not item["required"] and not item["kind"].startswith("var_")
        default = None if optional else inspect.Parameter.empty
        parameters.append(inspect.Parameter(item["name"], kind, default=default))
    return inspect.Signature(parameters)


def as_pinned(owner: str) -> Callable[[F], F]:
    """Return a decorator that checks a method's arguments against the pinned signature.

    Arguments that the pinned method does not take raise TypeError.
    """

    def decorate(method: F) -> F:
        pinned = signature(owner, method.__name__)

        @functools.wraps(method)
        def checked(*args: Any, **kwargs: Any) -> Any:
            pinned.bind(*args, **kwargs)
            return method(*args, **kwargs)

        return checked  # type: ignore[return-value]

    return decorate


class Record:
    """A value with the pinned fields of its class and of the other classes in `pinned`."""

    pinned: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        fields = {
            name: item for owner in self.pinned for name, item in class_of(owner)["fields"].items()
        }
        given = dict(zip(fields, args, strict=False)) | kwargs
        if unknown := set(given) - set(fields):
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        if missing := {name for name, item in fields.items() if item.get("required")} - set(given):
            raise TypeError(f"{type(self).__name__} needs {', '.join(sorted(missing))}")
        self.__dict__.update(dict.fromkeys(fields), **given)
