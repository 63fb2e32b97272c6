"""Pages of lists in OpenAI's form: `limit`, `after` and `order`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from starlette.requests import Request

from lambda_fn.errors import InvalidRequest
from lambda_fn.recall.streams import parameters, whole_number

PAGE, MAX_PAGE = 20, 100
"""The default and the maximum of `limit`."""


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
            raise InvalidRequest(f"There is no item '{asked.after[:80]}'.", param="after")
        found = found[found.index(asked.after) + 1 :]
    return found[: asked.limit], len(found) > asked.limit


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
