"""Stacks: failures, change sets, exports, and unknown types."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud
from tests.support.local_cloud import Client, Stacks

TOPIC = {"Type": "AWS::SNS::Topic"}
BAD = {"Type": "AWS::SageMaker::Endpoint", "Properties": {"EndpointConfigName": "none"}}


def _status(cloud: LocalCloud) -> dict[str, Any]:
    found: dict[str, Any] = cloud.ask("status")
    return found


def test_unhandled_type_is_named(cloud: LocalCloud, stacks: Stacks) -> None:
    """A resource of an unknown type deploys. Status and log name it while it exists."""
    stack = stacks.create({"Thing": {"Type": "AWS::Unheard::Of", "Properties": {}}, "Topic": TOPIC})
    assert stacks.status(stack) == "CREATE_COMPLETE"
    effect = "resources that depend on it will not work"
    named = {"stack": stack, "logical_id": "Thing", "type": "AWS::Unheard::Of", "effect": effect}
    assert named in _status(cloud)["unhandled"]
    assert (
        f"AWS::Unheard::Of (Thing): {effect}"
        in (cloud.directory / "logs" / "control.log").read_text()
    )
    stacks.delete(stack)
    assert named not in _status(cloud)["unhandled"]


def test_failed_creation_is_rolled_back(client: Client, stacks: Stacks) -> None:
    """The events have the reason of a failure. The resources created before it are deleted."""
    stack = stacks.create({"Topic": TOPIC, "Bad": {**BAD, "DependsOn": "Topic"}})
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert "Could not find endpoint" in stacks.reasons(stack)
    assert not [
        topic for topic in client("sns").list_topics()["Topics"] if stack in topic["TopicArn"]
    ]


def test_failed_update_is_rolled_back(client: Client, stacks: Stacks) -> None:
    """After a failed update the stack is as it was.

    New resources are deleted, and changed ones are changed back.
    """
    parameter = {
        "Type": "AWS::SSM::Parameter",
        "Properties": {"Type": "String", "Value": "old", "Name": "/t/rolled"},
    }
    changed = {
        "Type": "AWS::SSM::Parameter",
        "Properties": {**parameter["Properties"], "Value": "new"},  # type: ignore[dict-item]
    }
    stack = stacks.create({"Parameter": parameter})
    stacks.update(
        stack,
        {"Parameter": changed, "Topic": TOPIC, "Bad": {**BAD, "DependsOn": ["Topic", "Parameter"]}},
    )
    assert stacks.status(stack) == "UPDATE_ROLLBACK_COMPLETE"
    assert client("ssm").get_parameter(Name="/t/rolled")["Parameter"]["Value"] == "old"
    assert not [
        topic for topic in client("sns").list_topics()["Topics"] if stack in topic["TopicArn"]
    ]
    stacks.update(stack, {"Parameter": changed})
    assert client("ssm").get_parameter(Name="/t/rolled")["Parameter"]["Value"] == "new"


def _change_set(stacks: Stacks, stack: str, resources: dict[str, Any], kind: str) -> None:
    template = json.dumps({"Resources": resources})
    stacks.api.create_change_set(
        StackName=stack, ChangeSetName="same", ChangeSetType=kind, TemplateBody=template
    )
    stacks.api.execute_change_set(StackName=stack, ChangeSetName="same")
    stacks.wait(stack)


def test_change_sets_of_one_name_in_two_stacks(stacks: Stacks) -> None:
    """Two stacks may have change sets of one name.

    The change set of a failed deployment does not block the next one.
    """
    first, second = "tchange1", "tchange2"
    stacks.names += [first, second]
    _change_set(stacks, first, {"Bad": BAD}, "CREATE")
    assert stacks.status(first) == "ROLLBACK_COMPLETE"
    _change_set(stacks, second, {"Topic": TOPIC}, "CREATE")
    assert stacks.status(second) == "CREATE_COMPLETE"
    stacks.api.delete_change_set(StackName=first, ChangeSetName="same")
    stacks.delete(first)
    stacks.names.append(first)
    _change_set(stacks, first, {"Topic": TOPIC}, "CREATE")
    assert stacks.status(first) == "CREATE_COMPLETE"
    described = stacks.api.describe_stack_resources(StackName=first)["StackResources"]
    assert [item["ResourceType"] for item in described] == ["AWS::SNS::Topic"]
    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        stacks.api.describe_change_set(StackName=first, ChangeSetName="other")


def test_exports_and_imports(stacks: Stacks) -> None:
    """A stack imports another stack's export, with or without a change set."""
    exports = {"Outputs": {"Out": {"Value": {"Ref": "Topic"}, "Export": {"Name": "t-export"}}}}
    stacks.create({"Topic": TOPIC}, **exports)
    properties = {"Type": "String", "Name": "/t/import", "Value": {"Fn::ImportValue": "t-export"}}
    importing = stacks.create(
        {"P": {"Type": "AWS::SSM::Parameter", "Properties": properties}},
        {"Value": {"Fn::GetAtt": ["P", "Value"]}},
    )
    assert stacks.outputs(importing)["Value"].startswith("arn:aws:sns:")


def test_conditions_and_parameters(client: Client, stacks: Stacks) -> None:
    """Resources and outputs follow their conditions. Parameters may come from Systems Manager."""
    client("ssm").put_parameter(Name="/t/value", Type="String", Value="on", Overwrite=True)
    stack = stacks.create(
        {"Yes": {**TOPIC, "Condition": "On"}, "No": {**TOPIC, "Condition": "Off"}},
        Parameters={"P": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/t/value"}},
        Conditions={
            "On": {"Fn::Equals": [{"Ref": "P"}, "on"]},
            "Off": {"Fn::Not": [{"Condition": "On"}]},
        },
    )
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    described = stacks.api.describe_stack_resources(StackName=stack)["StackResources"]
    assert [item["LogicalResourceId"] for item in described] == ["Yes"]


def test_retained_resources_stay(client: Client, stacks: Stacks) -> None:
    """A resource with the DeletionPolicy Retain outlives its stack."""
    stack = stacks.create(
        {"Topic": {**TOPIC, "DeletionPolicy": "Retain"}}, {"Arn": {"Ref": "Topic"}}
    )
    arn = stacks.outputs(stack)["Arn"]
    stacks.delete(stack)
    client("sns").get_topic_attributes(TopicArn=arn)
    client("sns").delete_topic(TopicArn=arn)


def test_bad_templates_are_rejected(stacks: Stacks) -> None:
    """A template that CloudFormation rejects makes no stack and no change set.

    It changes no stack, either.
    """
    circle = {"A": {**TOPIC, "DependsOn": "B"}, "B": {**TOPIC, "DependsOn": "A"}}
    with pytest.raises(
        ClientError, match=r"ValidationError.*Circular dependency between resources"
    ):
        stacks.create(circle)
    gone = stacks.names.pop()
    with pytest.raises(ClientError, match="does not exist"):
        stacks.status(gone)
    with pytest.raises(ClientError, match=r"ValidationError.*Unresolved resource dependencies"):
        _change_set(stacks, "never", {"A": {**TOPIC, "DependsOn": "B"}}, "CREATE")
    with pytest.raises(ClientError, match="less than or equal to 51200"):
        stacks.create({"A": {**TOPIC, "Metadata": "x" * 52_000}})
    stacks.names.pop()
    stack = stacks.create({"A": TOPIC})
    with pytest.raises(ClientError, match="At least one Resources member must be defined"):
        stacks.update(stack, {})
    assert stacks.status(stack) == "CREATE_COMPLETE"


def test_properties_that_the_api_refuses_fail_the_stack(stacks: Stacks) -> None:
    """A property of a wrong type fails the stack, and the reason names the property."""
    properties = {"KeySchema": "no", "AttributeDefinitions": []}
    stack = stacks.create(
        {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}
    )
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert "KeySchema" in stacks.reasons(stack)


def test_a_named_resource_is_not_replaced(client: Client, stacks: Stacks) -> None:
    """A change that would replace a resource with an explicit name fails. The resource stays."""

    def template(key: str) -> dict[str, Any]:
        properties = {
            "TableName": "t-named",
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "Replicas": [{"Region": "us-east-1"}],
        }
        return {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}

    stack = stacks.create(template("a"))
    stacks.update(stack, template("b"))
    assert stacks.status(stack) == "UPDATE_ROLLBACK_COMPLETE"
    assert "custom-named" in stacks.reasons(stack)
    assert (
        client("dynamodb").describe_table(TableName="t-named")["Table"]["KeySchema"][0][
            "AttributeName"
        ]
        == "a"
    )


def test_moto_under_many_threads(client: Client) -> None:
    """While many clients write the same objects, conditions hold and the objects can be read."""
    table, bucket = "t-threads", "t-threads"
    key = [{"AttributeName": "pk", "KeyType": "HASH"}]
    attribute = [{"AttributeName": "pk", "AttributeType": "S"}]
    dynamodb, s3 = client("dynamodb"), client("s3")
    dynamodb.create_table(
        TableName=table,
        KeySchema=key,
        AttributeDefinitions=attribute,
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "a"}, "left": {"N": "20"}})
    s3.create_bucket(Bucket=bucket)

    def once(_: int) -> bool:
        s3.put_object(Bucket=bucket, Key="k", Body=b"v" * 50_000)
        assert len(s3.get_object(Bucket=bucket, Key="k")["Body"].read()) == 50_000
        try:
            dynamodb.update_item(
                TableName=table,
                Key={"pk": {"S": "a"}},
                UpdateExpression="SET #l = #l - :one",
                ConditionExpression="#l > :zero",
                ExpressionAttributeNames={"#l": "left"},
                ExpressionAttributeValues={":one": {"N": "1"}, ":zero": {"N": "0"}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(once, range(60))) == 20
