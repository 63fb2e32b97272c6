"""Functions that templates create, update and delete, read with boto3."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Client, Stacks
from tests.support.resources import ROLE, function, permission, url

TO = "arn:aws:lambda:us-east-1:123456789012:function:other"


def _everything(word: str, reserved: int | None) -> dict[str, Any]:
    limits = {} if reserved is None else {"ReservedConcurrentExecutions": reserved}
    name = {"Ref": "Function"}
    version = {"Fn::GetAtt": ["Version", "Version"]}
    retries = {
        "FunctionName": name,
        "Qualifier": "$LATEST",
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnFailure": {"Destination": TO}},
    }
    return {
        "Role": ROLE,
        "Function": function(Environment={"Variables": {"WORD": word}}, Timeout=7, **limits),
        "Url": url({"Fn::GetAtt": ["Function", "Arn"]}),
        "Permission": permission("lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE"),
        "Version": {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": name}},
        "Alias": {
            "Type": "AWS::Lambda::Alias",
            "Properties": {"FunctionName": name, "FunctionVersion": version, "Name": word},
        },
        "Async": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": retries},
    }


def test_function_with_all_that_belongs_to_it(client: Client, stacks: Stacks) -> None:
    """A function and everything that belongs to it follow the template.

    These are its URL, permission, version, alias and asynchronous settings.
    """
    api = client("lambda")
    outputs = {
        "Name": {"Ref": "Function"},
        "Url": {"Fn::GetAtt": ["Url", "FunctionUrl"]},
        "Alias": {"Ref": "Alias"},
    }
    stack = stacks.create(_everything("first", 5), outputs)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    returned = stacks.outputs(stack)
    name = returned["Name"]
    assert len(name) <= 64
    assert returned["Url"].startswith("https://")
    assert returned["Url"].endswith(".lambda-url.us-east-1.on.aws/")
    assert returned["Alias"].endswith(":first")
    deployed = api.get_function(FunctionName=name)
    assert deployed["Configuration"]["Environment"]["Variables"] == {"WORD": "first"}
    assert deployed["Configuration"]["Timeout"] == 7
    assert deployed["Concurrency"]["ReservedConcurrentExecutions"] == 5
    policy = json.loads(api.get_policy(FunctionName=name)["Policy"])
    assert policy["Statement"][0]["Action"] == "lambda:InvokeFunctionUrl"

    stacks.update(stack, _everything("second", None), outputs)
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    deployed = api.get_function(FunctionName=name)
    assert deployed["Configuration"]["Environment"]["Variables"] == {"WORD": "second"}
    assert "Concurrency" not in deployed
    assert [alias["Name"] for alias in api.list_aliases(FunctionName=name)["Aliases"]] == ["second"]
    assert stacks.outputs(stack)["Url"] == returned["Url"]

    stacks.delete(stack)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        api.get_function(FunctionName=name)


@pytest.mark.parametrize(
    "destinations",
    [
        {"OnSuccess": {"Destination": TO}},
        {"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:queue"}},
    ],
)
def test_a_destination_that_is_not_emulated(stacks: Stacks, destinations: dict[str, Any]) -> None:
    """A template that sends records of invocations elsewhere than to a function is refused."""
    template = _everything("first", None)
    template["Async"]["Properties"]["DestinationConfig"] = destinations
    stack = stacks.create(template)
    assert "only to functions" in str(stacks.reasons(stack))
