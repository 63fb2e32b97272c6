"""Background answers over the whole local cloud: queued, woken, invoked, told."""

import json
import time
from collections.abc import Callable, Iterator
from queue import Empty
from typing import Any

import boto3
import openai
import pytest

from local.cloud import LocalCloud
from tests.e2e.test_streaming import script
from tests.support.deployments import SCRIPTED_MODEL, Deployment, functions, options
from tests.support.faults import fault, landed
from tests.support.webhook import Receiver

pytestmark = pytest.mark.e2e


def scale(cloud: LocalCloud, deployment: Deployment, copies: int) -> None:
    """Set the number of copies of the model, and wait until they are there."""
    sagemaker = boto3.client("sagemaker", **options(cloud))
    name = f"{deployment.outputs['EndpointName']}-model"
    sagemaker.update_inference_component_runtime_config(
        InferenceComponentName=name, DesiredRuntimeConfig={"CopyCount": copies}
    )

    def status() -> str:
        found = sagemaker.describe_inference_component(InferenceComponentName=name)
        return str(found["InferenceComponentStatus"])

    eventually(lambda: status() == "InService")


def keep(cloud: LocalCloud, deployment: Deployment) -> dict[str, int]:
    """Run the keeper now, as its schedule does each minute. Return its counts."""
    name = deployment.outputs["BackgroundFunctionName"]
    found = functions(cloud).invoke(FunctionName=name, Payload=b"{}")
    assert "FunctionError" not in found, found["Payload"].read()
    counts: dict[str, int] = json.loads(found["Payload"].read())
    return counts


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds, which other processes bring about."""
    ends = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.1)


def ask(deployment: Deployment, **said: Any) -> Any:
    """Ask for a response in the background."""
    text = script(**said)[0]["content"]
    return deployment.client.responses.create(model=SCRIPTED_MODEL, input=text, background=True)


def until(deployment: Deployment, response_id: str, *statuses: str) -> Any:
    """Wait until a response has one of the statuses, and return it."""
    ends = time.monotonic() + 120
    while True:
        found = deployment.client.responses.retrieve(response_id, extra_query={"wait": "5"})
        if found.status in statuses or time.monotonic() > ends:
            assert found.status in statuses
            return found


def requests(deployment: Deployment, since: float) -> list[str]:
    """Return the outcomes of the requests in the ledger from a time on."""
    items = deployment.table.scan()["Items"]
    return [
        it.get("outcome", it["state"])
        for it in items
        if it["pk"].startswith("LEDGER#") and float(it["opened"]) >= since
    ]


def secret(cloud: LocalCloud, deployment: Deployment) -> str:
    """Return the secret of the webhook, as the documentation says how."""
    api = boto3.client("secretsmanager", **options(cloud))
    arn = deployment.outputs["WebhookSecretArn"]
    return "whsec_" + str(api.get_secret_value(SecretId=arn)["SecretString"])


def test_asked_while_the_model_sleeps(
    sleeper: Deployment, cloud: LocalCloud, receiver: Receiver
) -> None:
    """It stays queued, is generated when there is a copy, billed once, and its end is told."""
    began = time.time()
    scale(cloud, sleeper, 0)
    response = ask(sleeper, say=["good", " morning"])
    assert response.status == "queued"
    eventually(lambda: keep(cloud, sleeper)["waiting"] == 1)  # its first run may not have come yet
    assert sleeper.client.responses.retrieve(response.id).status in ("queued", "in_progress")
    scale(cloud, sleeper, 1)
    eventually(lambda: keep(cloud, sleeper)["waiting"] == 0)
    assert until(sleeper, response.id, "completed").output_text == "good morning"
    outcomes = requests(sleeper, began)
    assert outcomes.count("complete") == 1
    assert set(outcomes) == {"refused", "complete"}
    headers, body = receiver.told_of(response.id)
    event = sleeper.client.webhooks.unwrap(body, headers, secret=secret(cloud, sleeper))
    assert event.type == "response.completed"
    with pytest.raises(openai.InvalidWebhookSignatureError):
        sleeper.client.webhooks.unwrap(body + b" ", headers, secret=secret(cloud, sleeper))


def test_streamed_while_the_model_sleeps(
    sleeper: Deployment, cloud: LocalCloud, receiver: Receiver
) -> None:
    """Its client is told that it is queued, and holds on; another one resumes the same stream."""
    began = time.time()
    scale(cloud, sleeper, 0)
    text = script(say=["good", " night"])[0]["content"]
    live: Iterator[Any] = sleeper.client.responses.create(
        model=SCRIPTED_MODEL, input=text, background=True, stream=True
    )
    created, queued = next(live), next(live)
    assert (created.type, queued.type) == ("response.created", "response.queued")
    assert (queued.response.status, queued.sequence_number) == ("queued", 1)
    name = created.response.id
    assert sleeper.client.responses.retrieve(name).status == "queued"
    resumed: Iterator[Any] = sleeper.client.responses.retrieve(name, stream=True, starting_after=1)
    eventually(lambda: keep(cloud, sleeper)["waiting"] == 1)
    scale(cloud, sleeper, 1)
    eventually(lambda: keep(cloud, sleeper)["waiting"] == 0)
    rest = [*live]
    assert rest[0].type == "response.in_progress"
    assert [it.sequence_number for it in rest] == [*range(2, 2 + len(rest))]
    assert (rest[-1].type, rest[-1].response.output_text) == ("response.completed", "good night")
    assert [*resumed] == rest
    outcomes = requests(sleeper, began)
    assert outcomes.count("complete") == 1
    assert set(outcomes) == {"refused", "complete"}
    receiver.told_of(name)


def test_cancelled_while_it_waits(
    sleeper: Deployment, cloud: LocalCloud, receiver: Receiver
) -> None:
    """One that waits is cancelled at once, and does not run when the model is awake."""
    scale(cloud, sleeper, 0)
    response = ask(sleeper, say=["never"])
    eventually(lambda: keep(cloud, sleeper)["waiting"] == 1)
    with pytest.raises(openai.BadRequestError, match="Cancel it first"):
        sleeper.client.responses.delete(response.id)
    cancelled = sleeper.client.responses.cancel(response.id)
    assert (cancelled.status, cancelled.output) == ("cancelled", [])
    scale(cloud, sleeper, 1)
    keep(cloud, sleeper)
    assert sleeper.client.responses.retrieve(response.id).status == "cancelled"
    _, body = receiver.told_of(response.id)
    assert json.loads(body)["type"] == "response.cancelled"


def test_an_event_that_comes_twice(
    sleeper: Deployment, cloud: LocalCloud, receiver: Receiver
) -> None:
    """A response whose event comes twice is generated and billed once."""
    began = time.time()
    with fault(cloud, scope="sleeper*", kind="event-repeated", containing='"run"') as fault_id:
        response = ask(sleeper, say=["once"])
        assert landed(cloud, fault_id) == 1
    assert until(sleeper, response.id, "completed").output_text == "once"
    receiver.told_of(response.id)
    with pytest.raises(Empty):
        receiver.calls.get(timeout=0.5)
    assert requests(sleeper, began) == ["complete"]


def test_an_event_that_is_lost(sleeper: Deployment, cloud: LocalCloud, receiver: Receiver) -> None:
    """It stays queued for its minute, costs nothing, and its key has its place until then."""
    began = time.time()
    with fault(cloud, scope="sleeper*", kind="event-lost", containing='"run"', count=3) as fault_id:
        lost = [ask(sleeper, say=["lost"]) for _ in range(3)]
        assert landed(cloud, fault_id) == 3
    assert {sleeper.client.responses.retrieve(it.id).status for it in lost} == {"queued"}
    with pytest.raises(openai.RateLimitError) as refused:
        ask(sleeper, say=["too many"])
    assert refused.value.code == "background_limit"
    assert refused.value.response.headers["retry-after"] == "10"
    assert requests(sleeper, began) == []
    for response in lost:
        assert sleeper.client.responses.cancel(response.id).status == "cancelled"
        receiver.told_of(response.id)
    response = ask(sleeper, say=["room"])
    assert until(sleeper, response.id, "completed").output_text == "room"
    receiver.told_of(response.id)
