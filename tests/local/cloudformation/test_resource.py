"""Each resource type the local cloud adds to moto: created, updated and deleted by templates, read by boto3."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Client, Stacks

ASSUME = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}],
}
ROLE = {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": ASSUME}}


def _function(**properties: Any) -> dict[str, Any]:
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "Code": {"ZipFile": "x = 1"},
            "Handler": "index.handler",
            "Runtime": "python3.14",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            **properties,
        },
    }


def test_function_with_all_that_belongs_to_it(client: Client, stacks: Stacks) -> None:
    """Function, URL, permission, version, alias and asynchronous settings follow the template through its life."""
    api = client("lambda")

    def template(word: str, reserved: int | None) -> dict[str, Any]:
        limits = {} if reserved is None else {"ReservedConcurrentExecutions": reserved}
        name = {"Ref": "Function"}
        return {
            "Role": ROLE,
            "Function": _function(Environment={"Variables": {"WORD": word}}, Timeout=7, **limits),
            "Url": {
                "Type": "AWS::Lambda::Url",
                "Properties": {
                    "TargetFunctionArn": {"Fn::GetAtt": ["Function", "Arn"]},
                    "AuthType": "NONE",
                    "InvokeMode": "RESPONSE_STREAM",
                },
            },
            "Permission": {
                "Type": "AWS::Lambda::Permission",
                "Properties": {
                    "FunctionName": name,
                    "Action": "lambda:InvokeFunctionUrl",
                    "Principal": "*",
                    "FunctionUrlAuthType": "NONE",
                },
            },
            "Version": {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": name}},
            "Alias": {
                "Type": "AWS::Lambda::Alias",
                "Properties": {
                    "FunctionName": name,
                    "FunctionVersion": {"Fn::GetAtt": ["Version", "Version"]},
                    "Name": word,
                },
            },
            "Async": {
                "Type": "AWS::Lambda::EventInvokeConfig",
                "Properties": {"FunctionName": name, "Qualifier": "$LATEST", "MaximumRetryAttempts": 0},
            },
        }

    outputs = {"Name": {"Ref": "Function"}, "Url": {"Fn::GetAtt": ["Url", "FunctionUrl"]}, "Alias": {"Ref": "Alias"}}
    stack = stacks.create(template("first", 5), outputs)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    found = stacks.outputs(stack)
    name = found["Name"]
    assert len(name) <= 64
    assert found["Url"].startswith("https://")
    assert found["Url"].endswith(".lambda-url.us-east-1.on.aws/")
    assert found["Alias"].endswith(":first")
    function = api.get_function(FunctionName=name)
    assert function["Configuration"]["Environment"]["Variables"] == {"WORD": "first"}
    assert function["Configuration"]["Timeout"] == 7
    assert function["Concurrency"]["ReservedConcurrentExecutions"] == 5
    policy = json.loads(api.get_policy(FunctionName=name)["Policy"])
    assert policy["Statement"][0]["Action"] == "lambda:InvokeFunctionUrl"

    stacks.update(stack, template("second", None), outputs)
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    function = api.get_function(FunctionName=name)
    assert function["Configuration"]["Environment"]["Variables"] == {"WORD": "second"}
    assert "Concurrency" not in function
    assert [alias["Name"] for alias in api.list_aliases(FunctionName=name)["Aliases"]] == ["second"]
    assert stacks.outputs(stack)["Url"] == found["Url"]

    stacks.delete(stack)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        api.get_function(FunctionName=name)


def test_global_table(client: Client, stacks: Stacks) -> None:
    """A table with an index, a time to live and recovery; an index can be added later, one at a time."""
    api = client("dynamodb")

    def template(indexes: int, protected: bool) -> dict[str, Any]:
        names = ["pk", "sk", *(f"gsi{number}" for number in range(indexes))]
        properties = {
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
            "BillingMode": "PAY_PER_REQUEST",
            "TimeToLiveSpecification": {"AttributeName": "ends", "Enabled": True},
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": name,
                    "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
                for name in names[2:]
            ],
            "Replicas": [
                {
                    "Region": "us-east-1",
                    "DeletionProtectionEnabled": protected,
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                }
            ],
        }
        return {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}

    stack = stacks.create(template(1, True), {"Name": {"Ref": "Table"}, "Arn": {"Fn::GetAtt": ["Table", "Arn"]}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    name = stacks.outputs(stack)["Name"]
    table = api.describe_table(TableName=name)["Table"]
    assert table["TableArn"] == stacks.outputs(stack)["Arn"]
    assert table["DeletionProtectionEnabled"]
    assert api.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["AttributeName"] == "ends"
    backups = api.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    api.put_item(TableName=name, Item={"pk": {"S": "a"}, "sk": {"S": "b"}})

    stacks.update(stack, template(2, False), {"Name": {"Ref": "Table"}})
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    table = api.describe_table(TableName=name)["Table"]
    assert sorted(index["IndexName"] for index in table["GlobalSecondaryIndexes"]) == ["gsi0", "gsi1"]
    stacks.update(stack, template(4, False), {"Name": {"Ref": "Table"}})
    assert "Cannot perform more than one GSI creation or deletion in a single update" in stacks.reasons(stack)
    assert api.scan(TableName=name)["Count"] == 1

    stacks.delete(stack)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        api.describe_table(TableName=name)


def test_secrets_and_dynamic_references(client: Client, stacks: Stacks) -> None:
    """A generated secret reaches other resources by dynamic references, and not one of them is left unresolved."""

    def template(length: int) -> dict[str, Any]:
        reference = {"Fn::Join": ["", ["{{resolve:secretsmanager:", {"Ref": "Secret"}, ":SecretString:::}}"]]}
        field = {"Fn::Sub": "{{resolve:secretsmanager:${Json}:SecretString:password}}"}
        return {
            "Secret": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {"GenerateSecretString": {"PasswordLength": length, "ExcludePunctuation": True}},
            },
            "Json": {
                "Type": "AWS::SecretsManager::Secret",
                "Properties": {
                    "GenerateSecretString": {
                        "SecretStringTemplate": '{"user":"u"}',
                        "GenerateStringKey": "password",
                        "ExcludePunctuation": True,
                    }
                },
            },
            "Given": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": "given"}},
            "Parameter": {
                "Type": "AWS::SSM::Parameter",
                "Properties": {"Type": "String", "Value": "pv", "Name": "/p/v"},
            },
            "Role": ROLE,
            "Function": {
                **_function(
                    Environment={
                        "Variables": {"A": reference, "B": field, "C": "x{{resolve:ssm:/p/v}}y", "D": {"Ref": "Given"}}
                    }
                ),
                "DependsOn": ["Parameter"],
            },
        }

    outputs = {"Function": {"Ref": "Function"}, "Secret": {"Ref": "Secret"}}
    stack = stacks.create(template(40), outputs)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    found = stacks.outputs(stack)

    def variables() -> dict[str, str]:
        answer = client("lambda").get_function_configuration(FunctionName=found["Function"])
        assert "{{resolve" not in json.dumps(answer, default=str)
        return dict(answer["Environment"]["Variables"])

    value = client("secretsmanager").get_secret_value(SecretId=found["Secret"])["SecretString"]
    first = variables()
    assert len(value) == 40
    assert first["A"] == value
    assert len(first["B"]) == 32
    assert first["C"] == "xpvy"
    assert first["D"].startswith("arn:aws:secretsmanager:")

    stacks.update(stack, template(40) | {"Other": ROLE}, outputs)
    assert variables() == first
    stacks.update(stack, template(20), outputs)
    assert len(variables()["A"]) == 20
    stacks.delete(stack)
    with pytest.raises(ClientError):
        client("secretsmanager").get_secret_value(SecretId=found["Secret"])


def test_bucket_policy(client: Client, stacks: Stacks) -> None:
    """A bucket's policy is put, changed and taken away, and its conditions do not shut everybody out."""

    def template(sid: str | None) -> dict[str, Any]:
        statement = {
            "Sid": sid,
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": {"Fn::GetAtt": ["Bucket", "Arn"]},
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": {"Statement": [statement]}},
        }
        return {"Bucket": {"Type": "AWS::S3::Bucket"}, **({"Policy": policy} if sid else {})}

    stack = stacks.create(template("one"), {"Bucket": {"Ref": "Bucket"}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    bucket = stacks.outputs(stack)["Bucket"]
    api = client("s3")
    assert '"one"' in api.get_bucket_policy(Bucket=bucket)["Policy"]
    api.put_object(Bucket=bucket, Key="k", Body=b"v" * 100_000)
    assert api.get_object(Bucket=bucket, Key="k")["Body"].read() == b"v" * 100_000
    api.delete_object(Bucket=bucket, Key="k")
    stacks.update(stack, template("two"))
    assert '"two"' in api.get_bucket_policy(Bucket=bucket)["Policy"]
    stacks.update(stack, template(None))
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        api.get_bucket_policy(Bucket=bucket)


def test_alarms_scaling_and_schedules(client: Client, stacks: Stacks) -> None:
    """Alarms, scalable targets, scaling policies, schedules and metric filters are made, changed and deleted."""

    def template(number: int) -> dict[str, Any]:
        metric = {"MetricName": "m", "Namespace": "n", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1}
        scaled = {
            "ServiceNamespace": "lambda",
            "ScalableDimension": "lambda:function:ProvisionedConcurrency",
            "ResourceId": "function:f:a",
        }
        rule = {"MetricName": "m", "MetricNamespace": "n", "MetricValue": "1"}
        return {
            "Alarm": {
                "Type": "AWS::CloudWatch::Alarm",
                "Properties": {**metric, "Threshold": number, "ComparisonOperator": "GreaterThanThreshold"},
            },
            "Target": {
                "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
                "Properties": {
                    **scaled,
                    "MinCapacity": 1,
                    "MaxCapacity": number,
                    "ScheduledActions": [{"ScheduledActionName": f"a{number}", "Schedule": "cron(0 1 * * ? *)"}],
                },
            },
            "Copies": {
                "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
                "Properties": {
                    "ServiceNamespace": "sagemaker",
                    "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
                    "ResourceId": "inference-component/c",
                    "MinCapacity": 0,
                    "MaxCapacity": number,
                },
            },
            "Scaling": {
                "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
                "Properties": {
                    "PolicyName": "p",
                    "PolicyType": "TargetTrackingScaling",
                    "ScalingTargetId": {"Ref": "Target"},
                    "TargetTrackingScalingPolicyConfiguration": {
                        "TargetValue": number,
                        "PredefinedMetricSpecification": {
                            "PredefinedMetricType": "LambdaProvisionedConcurrencyUtilization"
                        },
                    },
                },
            },
            "Schedule": {
                "Type": "AWS::Scheduler::Schedule",
                "Properties": {
                    "FlexibleTimeWindow": {"Mode": "OFF"},
                    "ScheduleExpression": f"rate({number} minutes)",
                    "Target": {
                        "Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
                        "RoleArn": "arn:aws:iam::123456789012:role/r",
                    },
                },
            },
            "Group": {"Type": "AWS::Logs::LogGroup"},
            "Filter": {
                "Type": "AWS::Logs::MetricFilter",
                "Properties": {
                    "LogGroupName": {"Ref": "Group"},
                    "FilterPattern": f"a{number}",
                    "MetricTransformations": [rule],
                },
            },
        }

    stack = stacks.create(template(3), {"Alarm": {"Ref": "Alarm"}, "Schedule": {"Ref": "Schedule"}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    found = stacks.outputs(stack)

    def seen() -> tuple[Any, ...]:
        alarms = client("cloudwatch").describe_alarms(AlarmNames=[found["Alarm"]])["MetricAlarms"]
        scaling = client("application-autoscaling")
        targets = scaling.describe_scalable_targets(ServiceNamespace="lambda")["ScalableTargets"]
        policies = scaling.describe_scaling_policies(ServiceNamespace="lambda")["ScalingPolicies"]
        schedules = client("scheduler").list_schedules()["Schedules"]
        filters = client("logs").describe_metric_filters()["metricFilters"]
        actions = scaling.describe_scheduled_actions(ServiceNamespace="lambda")["ScheduledActions"]
        copies = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        return (
            [alarm["Threshold"] for alarm in alarms],
            [target["MaxCapacity"] for target in targets],
            [policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] for policy in policies],
            [client("scheduler").get_schedule(Name=item["Name"])["ScheduleExpression"] for item in schedules],
            [item["filterPattern"] for item in filters],
            [action["ScheduledActionName"] for action in actions],
            [target["MaxCapacity"] for target in copies],
        )

    assert seen() == ([3.0], [3], [3.0], ["rate(3 minutes)"], ["a3"], ["a3"], [3])
    stacks.update(stack, template(4))
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    assert seen() == ([4.0], [4], [4.0], ["rate(4 minutes)"], ["a4"], ["a4"], [4])
    stacks.delete(stack)
    assert seen() == ([], [], [], [], [], [], [])
