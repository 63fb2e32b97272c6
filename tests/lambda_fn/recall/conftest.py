"""Fixtures: the recall function's application over both tables."""

from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.aws.dynamodb import Table
from lambda_fn.http.client import Client
from lambda_fn.recall.app import create_app
from tests.support.function import CREDENTIALS, Call, StandIn, caller
from tests.support.kept import Kept


@pytest.fixture
def make_recall(
    moto_url: str, sagemaker: StandIn, http: Client, streams: Any, _patient: None
) -> Callable[..., Call]:
    """Return a function that makes applications with other settings."""

    def make(**changes: Any) -> Call:
        settings = {"stream_table": streams.name, **changes}
        return caller(moto_url, sagemaker, http, settings, create_app)

    return make


@pytest.fixture
def recall(make_recall: Callable[..., Call], account: dict[str, str]) -> Call:
    """Return a function that calls the application with a key that exists."""
    return make_recall()


@pytest.fixture
def kept(moto_url: str, http: Client, streams: Any, _patient: None) -> Kept:
    """Return what writes responses into the application's table."""
    return Kept(
        Table(
            http,
            url=moto_url,
            region="eu-west-1",
            name=streams.name,
            credentials=lambda: CREDENTIALS,
        )
    )
