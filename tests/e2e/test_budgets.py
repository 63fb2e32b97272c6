"""Alerts about budgets over the local cloud: what a subscriber of the topic gets."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import openai
import pytest

from cli.lib import local_keys
from lambda_fn.ids import key_id_of
from lambda_fn.metering.accounts import Limits
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options, sweep
from tests.support.verified import target_of, variables

pytestmark = pytest.mark.e2e


@pytest.fixture
def queue(cloud: LocalCloud, scripted: Deployment) -> Iterator[Any]:
    """Yield a queue that gets what is sent to the deployment's topic."""
    queue = boto3.resource("sqs", **options(cloud)).create_queue(QueueName="people")
    sns = boto3.client("sns", **options(cloud))
    subscription = sns.subscribe(
        TopicArn=scripted.settings["alarm_topic"],
        Protocol="sqs",
        Endpoint=queue.attributes["QueueArn"],
    )
    yield queue
    sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    queue.delete()


def subjects(queue: Any, about: str) -> list[str]:
    """Receive all messages. Return the subjects of those that contain a text."""
    found = []
    while messages := queue.receive_messages(MaxNumberOfMessages=10, WaitTimeSeconds=1):
        for message in messages:
            body = json.loads(message.body)
            if about in body["Message"]:
                found.append(body["Subject"])
            message.delete()
    return sorted(found)


def test_each_level_rings_once(cloud: LocalCloud, scripted: Deployment, queue: Any) -> None:
    """A key that is used until it is refused gets three messages. More refusals add none."""
    limits = Limits(tokens_month=20_000)
    key = local_keys.create(scripted.table, name="small", limits=limits)
    client = scripted.client.with_options(api_key=key)
    said = json.dumps({"repeat": " word", "count": 500})
    refusals = 0
    while refusals < 5:
        try:
            client.chat.completions.create(
                model=scripted.model, messages=[{"role": "user", "content": said}], max_tokens=500
            )
        except openai.RateLimitError as error:
            # Until a request is settled, its hold may be what is missing. That is another code.
            refusals += error.code == "insufficient_quota"
    for _ in range(2):
        sweep(cloud, scripted)
    assert subjects(queue, f"Key: {key_id_of(key)}") == [
        f"{scripted.name}-local: Key small has spent 50 % of its budget",
        f"{scripted.name}-local: Key small has spent 80 % of its budget",
        f"{scripted.name}-local: Key small has used up its budget",
    ]


def test_a_reached_ceiling_rings_once(cloud: LocalCloud, scripted: Deployment, queue: Any) -> None:
    """The sweep that begins to refuse requests also sends the message of 100 %, once."""
    target = target_of(cloud, scripted)
    target.key = scripted.key
    name = scripted.outputs["FunctionName"]
    found = target.client("lambda").get_function_configuration(FunctionName=name)
    models = json.loads(found["Environment"]["Variables"]["SLUICE_MODELS"])
    models[scripted.model] |= {"prompt_price": 1000, "completion_price": 1000}
    priced = variables(SLUICE_MODELS=json.dumps(models))
    limited = variables(lambda it: it.outputs["SweeperName"], SLUICE_MONTHLY_CEILING="1000")
    try:
        with priced(cloud, target), limited(cloud, target):
            assert target.chat(max_tokens=2).status == 200
            for _ in range(2):
                sweep(cloud, scripted)
            refused = target.wait(
                lambda: it if (it := target.chat(max_tokens=2)).status == 429 else None
            )
            assert refused.json()["error"]["code"] == "monthly_ceiling_reached"
            sweep(cloud, scripted)
    finally:
        sweep(cloud, scripted)  # there is no ceiling any more, so this one lifts it
    levels = [
        subject.split("spent ")[1]
        for subject in subjects(queue, f"Deployment {scripted.name}-local has")
    ]
    assert levels == ["100 % of its ceiling", "50 % of its ceiling", "80 % of its ceiling"]
    target.wait(lambda: target.chat(max_tokens=2).status == 200 or None)
