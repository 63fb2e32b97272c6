"""The environment of a function process, and functions that cannot be started."""

import json
from dataclasses import replace

import pytest

from tests.support.function_plane import FUNCTION, Plane


async def test_environment_is_as_on_aws(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has the deployed variables and AWS's own, and a bare interpreter.

    It has nothing of the developer's environment.
    """
    monkeypatch.setenv("DEVELOPERS_OWN", "secret")
    status, text = await plane.text("/environment")
    body = json.loads(text)
    variables = body["variables"]
    code = variables["LAMBDA_TASK_ROOT"]
    assert status == 200
    assert "DEVELOPERS_OWN" not in variables
    assert variables["OWN"] == "value"
    assert variables["AWS_LAMBDA_EXEC_WRAPPER"] == f"{code}/bootstrap"
    assert variables["AWS_ACCESS_KEY_ID"] == "AK"
    assert variables["AWS_SESSION_TOKEN"] == "ST"
    assert variables["AWS_ENDPOINT_URL"] == "http://localhost:1"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["_HANDLER"] == "a.b"
    assert ".venv" not in body["executable"]
    assert int(body["headers"]["Lambda-Runtime-Deadline-Ms"]) > 0


async def test_functions_of_other_runtimes_are_refused_clearly(plane: Plane) -> None:
    """A function with a runtime other than Python is rejected, and the message says why."""
    await plane.functions.apply((replace(FUNCTION, environment={}, runtime="nodejs24.x"),))
    status, text = await plane.text("/")
    assert status == 501
    assert "nodejs24.x" in text
