"""The admin API's OpenAPI document: FastAPI's, with additions that FastAPI cannot make."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

DESCRIPTION = """Creates API keys, sets their limits and budgets, and reports their usage.

Send the admin secret as a bearer token; it is in Secrets Manager, and both its current and its
previous version are valid. Or invoke the function through IAM
(`lambda:InvokeFunction`) with an event such as
`{"method": "GET", "path": "/admin/v1/keys", "query": "limit=10"}`, and no secret.

Money is decimal text in currency units, with up to nine decimals; times are Unix seconds, days and
hours UTC."""

_TAGS = {
    "keys": "Create, list, change, rotate, revoke and delete keys.",
    "budgets": "What a key may spend in a day and in a month, and what it has spent.",
    "usage": "Reports, and single requests.",
    "audit": "What was done through this API, and by whom.",
    "books": "Compare accounts, ledger and rollups, and repair them.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the document. It is made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        )
        for operations in document["paths"].values():
            for operation in operations.values():
                # The error handlers turn a 422 into a 400, in the shape of all errors.
                operation["responses"].pop("422", None)
                for response in operation["responses"].values():
                    response.setdefault("headers", {})["x-request-id"] = {
                        "schema": {"type": "string"},
                        "description": "Names the request in the log.",
                    }
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        document["components"]["securitySchemes"] = {
            "adminSecret": {"type": "http", "scheme": "bearer", "description": "The admin secret."}
        }
        document["security"] = [{"adminSecret": []}]
        document["servers"] = [{"url": "/"}]
        app.openapi_schema = document
    return app.openapi_schema
