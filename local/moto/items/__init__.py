"""Calls for DynamoDB's items, answered by moto's own code without the work that changes no answer.

Most calls of a deployment are for items, and moto spends a tenth of such a call on the item. A call
that is well-formed goes around moto's HTTP application (`calls`), and the parts of moto that it
meets are replaced by faster ones (`conditions`, `queries`, `updates`, `values`). All other calls
take moto's way. `tests/local/moto/items` compares the answers with those of moto as it is.
"""

from local.moto.items import conditions, queries, values


def install() -> None:
    """Replace parts of moto. It may be called more than once."""
    conditions.install()
    queries.install()
    values.install()
