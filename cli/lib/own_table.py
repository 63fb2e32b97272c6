"""A table of a deployment, read and written with the caller's own AWS credentials."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cli.lib.project import CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from lambda_fn.aws.dynamodb import Table


@asynccontextmanager
async def own_table(name: str, options: dict[str, str]) -> AsyncIterator[Table]:
    """Yield a table. `options` are the arguments of boto3's clients (`aws_options`).

    Raises:
        CommandError: there are no credentials, or DynamoDB does not let the caller in.

    """
    import boto3

    from lambda_fn.aws.dynamodb import MeterUnavailable, Table
    from lambda_fn.aws.signing import Credentials
    from lambda_fn.http.client import Client

    api = boto3.client("dynamodb", **options)
    session = boto3.Session(
        **{key: value for key, value in options.items() if key != "endpoint_url"}
    )
    found = session.get_credentials()
    if found is None:
        raise CommandError("There are no AWS credentials.")

    def credentials() -> Credentials:
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    client = Client()
    try:
        yield Table(
            client,
            url=api.meta.endpoint_url.rstrip("/"),
            region=api.meta.region_name,
            name=name,
            credentials=credentials,
        )
    except MeterUnavailable as error:
        raise CommandError(f"The table {name} cannot be used: {error}") from None
    finally:
        client.close()
