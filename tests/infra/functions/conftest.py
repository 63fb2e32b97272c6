"""Fixtures: what CloudFormation is answered."""

import json
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.cloudformation import URL, Answers


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """Return the answers that functions send to CloudFormation's address."""
    found: Answers = []

    class Accepted:
        def read(self) -> bytes:
            return b""

    def urlopen(request: urllib.request.Request) -> Accepted:
        assert (request.full_url, request.get_method()) == (URL, "PUT")
        assert request.headers["Content-type"] == ""
        assert isinstance(request.data, bytes)
        found.append(json.loads(request.data))
        return Accepted()

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    yield found
    assert all(
        {"Status", "Reason", "PhysicalResourceId", "StackId", "RequestId", "LogicalResourceId"}
        == set(it)
        for it in found
    )
