"""StreamTable as a test makes it."""

from typing import Any

from lambda_fn.stream_log.keys import OWNERS_INDEX, OWNERS_INDEX_KEY, OWNERS_PROJECTED

_TYPES = {"pk": "S", "sk": "S", "owner": "S", "created": "N"}


def stream_table(name: str) -> dict[str, Any]:
    """Return the arguments of `CreateTable`."""

    def schema(names: tuple[str, ...]) -> list[dict[str, str]]:
        return [
            {"AttributeName": key, "KeyType": kind}
            for key, kind in zip(names, ("HASH", "RANGE"), strict=True)
        ]

    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": schema(("pk", "sk")),
        "AttributeDefinitions": [
            {"AttributeName": key, "AttributeType": kind} for key, kind in _TYPES.items()
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": OWNERS_INDEX,
                "KeySchema": schema(OWNERS_INDEX_KEY),
                "Projection": {
                    "ProjectionType": "INCLUDE",
                    "NonKeyAttributes": list(OWNERS_PROJECTED),
                },
            }
        ],
    }
