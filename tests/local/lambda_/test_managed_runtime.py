"""Functions of a managed Python runtime, which have no exec wrapper."""

from dataclasses import replace

import pytest
from aiohttp import web

from local import listeners
from tests.support import function_code
from tests.support.function_plane import FUNCTION, Plane

HANDLER = """
def handler(event, context):
    if event.get("fail"):
        raise ValueError("told to")
    return {"got": event, "left": context.get_remaining_time_in_millis() > 0, "id": context.aws_request_id}
"""


async def test_managed_runtime(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local cloud's loop runs the handler of a function without a wrapper.

    An exception is a function error.
    """
    monkeypatch.setattr(function_code, "MAIN", HANDLER)
    monkeypatch.setattr(function_code.zipped, "__defaults__", (HANDLER,))
    await plane.functions.apply(
        (
            replace(
                FUNCTION,
                environment={},
                handler="main.handler",
                code_sha256="managed",
                runtime="python3.14",
            ),
        )
    )
    app = web.Application()
    app.router.add_post("/2015-03-31/functions/{name}/invocations", plane.functions.invoke)
    sock = listeners.bind([0])
    runner = await listeners.serve(app, sock, cancel=True)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/2015-03-31/functions"
    async with plane.session.post(f"{url}/{FUNCTION.arn}/invocations", json={"a": 1}) as response:
        body = await response.json()
        assert (response.status, body["got"], body["left"]) == (200, {"a": 1}, True)
    async with plane.session.post(f"{url}/small/invocations", json={"fail": 1}) as response:
        assert response.headers["X-Amz-Function-Error"] == "Unhandled"
        assert "told to" in (await response.json())["errorMessage"]
    async with plane.session.post(f"{url}/none/invocations") as response:
        assert response.status == 404
    await runner.cleanup()
