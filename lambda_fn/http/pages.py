"""Queries of URLs, and pages of lists in OpenAI's form: `limit`, `after` and `order`."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.requests import Request

from lambda_fn.errors import InvalidRequest

PAGE, MAX_PAGE = 20, 100
"""The default and the maximum of `limit`."""
_MAX_NUMBER = 2**53 - 1
"""The largest whole number that clients in JavaScript can write."""


def parameters(request: Request, *names: str, ignored: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return the query of a request, which may have these parameters, each once.

    Those of `ignored` may be there, too.

    Raises:
        InvalidRequest: it has another one, or one twice.

    """
    given = [name for name, _ in request.query_params.multi_items() if name not in ignored]
    for name in given:
        if name not in names:
            known = f"Supported: {', '.join(names)}." if names else "There are none here."
            raise InvalidRequest(f"Unknown parameter '{name[:40]}'. {known}", param=name[:40])
        if given.count(name) > 1:
            raise InvalidRequest(f"'{name}' is given twice. Send it once.", param=name)
    return request.query_params


def whole_number(text: str, name: str, minimum: int = 0, maximum: int = _MAX_NUMBER) -> int:
    """Return the number in a parameter. Raises InvalidRequest."""
    if not re.fullmatch("[0-9]{1,16}", text) or not minimum <= int(text) <= maximum:
        raise InvalidRequest(
            f"'{name}' must be a whole number from {minimum} to {maximum}.", param=name
        )
    return int(text)


class AskedPage(NamedTuple):
    """What a list asks for. `after` is the id of the last element of the page before."""

    limit: int
    after: str | None
    backward: bool


def asked_page(request: Request, *ignored: str, order: str = "desc") -> AskedPage:
    """Return the page that a request asks for. `order` is the default.

    Parameters of `ignored` may be there, too. Raises InvalidRequest.
    """
    params = parameters(request, "limit", "after", "order", ignored=ignored)
    order = params.get("order", order)
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be one of asc, desc.", param="order")
    limit = whole_number(params.get("limit", str(PAGE)), "limit", 1, MAX_PAGE)
    return AskedPage(limit, params.get("after"), order == "desc")


def ids_of(ids: Sequence[str], asked: AskedPage) -> tuple[list[str], bool]:
    """Return the ids of a page, and whether there are more behind it.

    Args:
        ids: All ids, the oldest first.
        asked: What the list asks for.

    Raises:
        InvalidRequest: there is no `after`.

    """
    found = list(reversed(ids)) if asked.backward else list(ids)
    if asked.after is not None:
        if asked.after not in found:
            raise no_position(f"There is no item '{asked.after[:80]}'.")
        found = found[found.index(asked.after) + 1 :]
    return found[: asked.limit], len(found) > asked.limit


def no_position(message: str) -> InvalidRequest:
    """Return the error for a parameter `after` that is no position of the list."""
    return InvalidRequest(message, param="after", code="invalid_page_token")


def page_of(items: Sequence[dict[str, Any]], asked: AskedPage) -> dict[str, Any]:
    """Return a page of items that have an `id`, the oldest first. Raises as `ids_of`."""
    names, more = ids_of([item["id"] for item in items], asked)
    by_id = {item["id"]: item for item in items}
    return list_object([by_id[name] for name in names], names, has_more=more)


def list_object(data: Sequence[Any], ids: Sequence[str], *, has_more: bool) -> dict[str, Any]:
    """Return a list as OpenAI's API returns it. `ids` are those of its elements."""
    return {
        "object": "list",
        "data": data,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": has_more,
    }
