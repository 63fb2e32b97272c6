"""The OpenAPI document of the admin API."""

from openapi_spec_validator import validate

from tests.support.admin import Admin


def test_the_document_is_valid_and_complete(admin: Admin) -> None:
    """The document is OpenAPI 3.1. Every operation has an id, a summary and its errors.

    It promises no 422.
    """
    validate(admin.document)
    operations = [it for path in admin.document["paths"].values() for it in path.values()]
    assert len({it["operationId"] for it in operations}) == len(operations) == 27
    for operation in operations:
        assert operation["summary"]
        assert {"400", "401", "403", "500", "503"} <= operation["responses"].keys()
        assert "422" not in operation["responses"]
    assert "HTTPValidationError" not in admin.document["components"]["schemas"]
