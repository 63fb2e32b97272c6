"""The engine: resources in order, failures, conditions, exports and replacement."""

from typing import Any

from tests.support.local_cloud import Client, Stacks
from tests.support.resources import BAD, TOPIC


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
