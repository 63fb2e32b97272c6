"""The local guardrail answers stock boto3 with the API's shapes, errors and limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError

from lambda_fn.aws.guardrails import MAX_TEXT
from local import bedrock

Apply = Callable[..., Awaitable[Any]]


@pytest.fixture(name="apply")
async def _apply() -> AsyncIterator[Apply]:
    """Return a function that calls a guardrail with boto3."""
    application = web.Application()
    application.router.add_post("/guardrail/{id}/version/{version}/apply", bedrock.apply)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )

    async def apply(text: str, identifier: str = "a1b2", version: str = "1") -> Any:
        return await asyncio.to_thread(
            client.apply_guardrail,
            guardrailIdentifier=identifier,
            guardrailVersion=version,
            source="OUTPUT",
            content=[{"text": {"text": text}}],
        )

    yield apply
    client.close()
    await runner.cleanup()


async def test_verdicts(apply: Apply) -> None:
    """A text passes, is blocked, or would be masked."""
    assert (await apply("a text"))["action"] == "NONE"
    blocked = await apply(f"a {bedrock.BLOCKED_WORD} text")
    assert blocked["action"] == "GUARDRAIL_INTERVENED"
    assert blocked["assessments"][0]["contentPolicy"]["filters"][0]["action"] == "BLOCKED"
    masked = await apply(f"a {bedrock.MASKED_WORD} text")
    assert masked["outputs"] == [{"text": "a {SECRET} text"}]
    assert masked["usage"]["contentPolicyUnits"] == 1


@pytest.mark.parametrize(
    ("text", "identifier", "version", "kind"),
    [
        ("x", "missing1", "1", "ResourceNotFoundException"),
        ("x", "throttled", "1", "ThrottlingException"),
        ("x", "A-B", "1", "ValidationException"),
        ("x", "a1", "0", "ValidationException"),
        ("x" * (MAX_TEXT + 1), "a1", "DRAFT", "ValidationException"),
    ],
)
async def test_errors(apply: Apply, text: str, identifier: str, version: str, kind: str) -> None:
    """Each error has the name that the API has."""
    with pytest.raises(ClientError) as found:
        await apply(text, identifier, version)
    assert found.value.response["Error"]["Code"] == kind


async def test_the_most_text_units(apply: Apply) -> None:
    """A call of 25 units passes, which is the most that the function sends."""
    assert (await apply("x" * MAX_TEXT))["usage"]["contentPolicyUnits"] == 25
