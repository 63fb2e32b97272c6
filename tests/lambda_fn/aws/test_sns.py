"""Messages reach a topic."""

import asyncio
import json
from contextlib import closing
from functools import partial

import boto3
import pytest

from lambda_fn import limits
from lambda_fn.aws.sns import NotPublished, Topic
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS

REGION = "eu-west-1"


def topic(http: Client, url: str, arn: str) -> Topic:
    """Return a topic at an address."""
    return Topic(http, arn=arn, url=url, credentials=lambda: CREDENTIALS)


async def test_a_message_arrives(http: Client, moto_url: str) -> None:
    """A subscriber gets subject and text, with what forms and XML would take for their own."""
    options = {
        "endpoint_url": moto_url,
        "region_name": REGION,
        "aws_access_key_id": CREDENTIALS.access_key,
        "aws_secret_access_key": CREDENTIALS.secret_key,
    }

    client = partial(boto3.client, **options)

    def subscribe() -> tuple[str, str]:
        with closing(client("sns")) as sns, closing(client("sqs")) as sqs:
            arn = sns.create_topic(Name="budgets")["TopicArn"]
            queue = sqs.create_queue(QueueName="budgets")["QueueUrl"]
            found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
            sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=found["Attributes"]["QueueArn"])
        return arn, queue

    arn, queue = await asyncio.to_thread(subscribe)
    text = "80 % of <10 USD> & more\nÄ=1+1"
    await topic(http, moto_url, arn).publish("A subject " + "x" * 200, text)

    def receive() -> dict[str, str]:
        with closing(client("sqs")) as sqs:
            (found,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=5)["Messages"]
        body: dict[str, str] = json.loads(found["Body"])
        return body

    body = await asyncio.to_thread(receive)
    assert body["Message"] == text
    assert body["Subject"] == ("A subject " + "x" * 200)[:100]


async def test_a_topic_that_is_not_there_is_told(
    http: Client, moto_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejected message and a service that does not answer raise, without the text."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    arn = f"arn:aws:sns:{REGION}:123456789012:none"
    with pytest.raises(NotPublished, match="status 404 NotFound"):
        await topic(http, moto_url, arn).publish("subject", "text")
    with pytest.raises(NotPublished):
        await topic(http, "http://127.0.0.1:1", arn).publish("subject", "text")
