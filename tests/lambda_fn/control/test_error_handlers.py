"""Errors in OpenAI's shape."""

from lambda_fn import ids
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from tests.support.admin import Admin, Make


async def test_the_table_that_does_not_answer_is_a_503(admin: Admin) -> None:
    """A table that does not answer is a 503 in the common shape, without internals."""
    table = admin.services.table
    admin.services.table = Table(
        Client(), url="http://127.0.0.1:9", region="eu-west-1", name="t", credentials=_nobody
    )
    error = await admin.refused(503, "GET", "/keys")
    assert (error["code"], "127.0.0.1" in error["message"]) == ("service_unavailable", False)
    admin.services.table = table


def _nobody() -> Credentials:
    return Credentials("a", "b", "")


async def test_a_body_that_is_no_json(admin: Admin) -> None:
    """A body that is not JSON is a 400 with the code `invalid_json`."""
    long = b'{"name": "x", "limits": {"tokens_per_day": ' + b"9" * 5000 + b"}}"
    for content in (b"{", b"\xff\xfe", b'{"name": "n"', b"[" * 100_000, long):
        response = await admin.client.post(
            "/admin/v1/keys", content=content, headers={"content-type": "application/json"}
        )
        assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


async def test_paths_and_methods_that_are_not_there(admin: Admin, make: Make) -> None:
    """An unknown path or key is a 404, a wrong method a 405, and an invalid key id a 400."""
    assert (await admin.refused(404, "GET", "/nothing"))["code"] == "not_found"
    assert (await admin.refused(405, "PUT", "/keys"))["code"] == "method_not_allowed"
    nobody = ids.new_key_id()
    for method, path, body in (
        ("GET", f"/keys/{nobody}", None),
        ("PATCH", f"/keys/{nobody}", {"name": "n"}),
        ("POST", f"/keys/{nobody}/rotate", {}),
        ("DELETE", f"/keys/{nobody}", None),
        ("GET", f"/keys/{nobody}/budget", None),
        ("PATCH", f"/keys/{nobody}/budget", {"cost_per_day": 1}),
    ):
        assert (await admin.refused(404, method, path, body))["code"] == "key_not_found"
    for wrong in ("ABC", "sk-" + nobody, nobody + "x", "..%2f..%2fetc"):
        assert (await admin("GET", f"/keys/{wrong}")).status_code in {400, 404}
    secret = (await make())["secret"]
    error = await admin.refused(400, "GET", f"/keys/{secret}")
    assert secret not in error["message"]
