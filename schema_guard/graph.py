"""Checks a schema as a whole: references, alternatives, repetitions, and all bounds of a value."""

from collections.abc import Callable, Iterable

from schema_guard import limits
from schema_guard.bounds import Bounds, integer_fault, merge, pair_fault
from schema_guard.limits import Limit
from schema_guard.live import Live, alternatives
from schema_guard.nodes import Node
from schema_guard.vocabulary import check_vocabulary
from schema_guard.walk import Walk


def check_graph(walk: Walk, tokens: int = 0) -> None:
    """Check the nodes of a walk against the limits. `tokens` is as for `schema_guard.check`.

    Raises SchemaRefused for a schema that contains itself, leaves no value, or exceeds a limit.
    """
    order = _order(walk, lambda node: node.same, refuse_cycles=True)
    _alternatives(walk, order)
    _bounds(walk, order)
    _multiples(walk, order)
    merged = _merged_properties(walk, order)
    inner = _order(walk, lambda node: (*node.same, *node.inner), refuse_cycles=False)
    live = Live(walk, order, inner, merged)
    if tokens and not walk.lenient:
        check_vocabulary(walk, order, live, tokens)
    _sizes(walk, inner)


def _order(walk: Walk, edges: Callable[[Node], Iterable[int]], *, refuse_cycles: bool) -> list[int]:
    """Return the indices of all nodes, each after the nodes that its edges lead to.

    With `refuse_cycles`, a cycle is refused. Otherwise the edge that closes it is ignored.
    """
    order: list[int] = []
    state = [0] * len(walk.nodes)  # 1: begun, 2: done
    for start in range(len(walk.nodes)):
        if state[start]:
            continue
        state[start] = 1
        path = [(start, iter(edges(walk.nodes[start])))]
        while path:
            index, rest = path[-1]
            following = next(
                (inner for inner in rest if _open(walk, state, index, inner, refuse_cycles)), None
            )
            if following is None:
                state[index] = 2
                order.append(index)
                path.pop()
            else:
                state[following] = 1
                path.append((following, iter(edges(walk.nodes[following]))))
    return order


def _open(walk: Walk, state: list[int], index: int, inner: int, refuse_cycles: bool) -> bool:
    if state[inner] == 1 and refuse_cycles:
        more = ("$ref",) if walk.nodes[index].reference == inner else ()
        walk.refuse(
            index,
            "leads back to itself without a property or an item between: it would never end",
            *more,
        )
    return state[inner] == 0


def _alternatives(walk: Walk, order: list[int]) -> None:
    counts = [0] * len(walk.nodes)
    for index in order:
        node = walk.nodes[index]
        count = max(alternatives(walk, node), sum(counts[inner] for inner in node.same))
        counts[index] = _within(walk, index, limits.ALTERNATIVES, count)


def _bounds(walk: Walk, order: list[int]) -> None:
    merged: list[Bounds] = [{}] * len(walk.nodes)
    for index in order:
        node = walk.nodes[index]
        parts = [*node.all_of, *([node.reference] if node.reference >= 0 else [])]
        bounds = merge([node.bounds, *(merged[part] for part in parts)]) if parts else node.bounds
        merged[index] = bounds
        fault = pair_fault(bounds)
        if fault is None and "integer" in node.types:
            lenient = walk.lenient
            fault = integer_fault(node.bounds, lenient=lenient) or integer_fault(
                bounds, lenient=lenient
            )
        if fault is not None:
            name, reason = fault
            walk.refuse(index, reason, *([name] if name in node.bounds else []))


def _multiples(walk: Walk, order: list[int]) -> None:
    """Refuse more than one `multipleOf` for the same value.

    Together they act as their least common multiple, which may be large.
    """
    counts = [0] * len(walk.nodes)
    for index in order:
        node = walk.nodes[index]
        parts = [*node.all_of, *([node.reference] if node.reference >= 0 else [])]
        count = sum(counts[part] for part in parts) + max(
            (counts[part] for part in node.any_of), default=0
        )
        counts[index] = count = min(2, count + (node.fields.get("multipleOf") is not None))
        if count > 1:
            walk.refuse(index, "has more than one multipleOf for the same value: keep only one")


def _merged_properties(walk: Walk, order: list[int]) -> list[int]:
    """Limit the properties of the one object that the parts of `allOf` make together.

    The properties of alternatives within those parts are optional. Return their number for each
    node.
    """
    counts = [0] * len(walk.nodes)
    merged = [0] * len(walk.nodes)
    for index in order:
        node = walk.nodes[index]
        count = len(node.fields.get("properties") or ()) + sum(counts[part] for part in node.all_of)
        if node.reference >= 0:
            count += counts[node.reference]
        optional = [sum(counts[inner] for inner in walk.nodes[part].any_of) for part in node.all_of]
        merged[index] = _within(walk, index, limits.OPTIONAL, sum(optional))
        counts[index] = _within(walk, index, limits.PROPERTIES, count + sum(optional))
    return merged


def _sizes(walk: Walk, order: list[int]) -> None:
    expanded = [1] * len(walk.nodes)  # a node that a cycle leads back to counts once
    repeated = [1] * len(walk.nodes)
    for index in order:
        node = walk.nodes[index]
        parts = [*node.same, *node.inner]
        expanded[index] = _within(
            walk, index, limits.EXPANDED, 1 + sum(expanded[part] for part in parts)
        )
        items = max(node.bounds.get("minItems", 1), node.bounds.get("maxItems", 1), 1)
        lengths = [node.bounds.get(name, 1) for name in ("minLength", "maxLength")]
        # llguidance makes one automaton of a string, however long it is.
        length = 1 if walk.lenient else max(*lengths, 1)
        inner = max((repeated[part] for part in node.inner), default=1) * items
        same = max((repeated[part] for part in node.same), default=1)
        repeated[index] = _within(walk, index, limits.REPEATED, int(max(inner, same, length)))


def _within(walk: Walk, index: int, limit: Limit, count: int) -> int:
    if count > limit.most:
        walk.refuse(
            index, f"has more than {limit.most:,} {limit.counts}: reduce it, or split the request"
        )
    return count
