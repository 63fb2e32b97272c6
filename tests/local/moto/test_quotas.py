"""Environments that are too large are rejected at deployment."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Client


def test_environments_of_functions(client: Client) -> None:
    """A function with more than 4 KB of variables is rejected, also in an update."""
    role = "arn:aws:iam::123456789012:role/none"
    lambda_ = client("lambda")
    settings: dict[str, Any] = {
        "FunctionName": "env",
        "Runtime": "python3.14",
        "Handler": "a.b",
        "Role": role,
    }
    code = {"ZipFile": b"PK\x05\x06" + bytes(18)}
    too_much = {"Variables": {"NAME": "v" * 4086}}
    client("iam").create_role(RoleName="none", AssumeRolePolicyDocument="{}")
    with pytest.raises(ClientError, match=r"exceeded the 4KB limit\. String measured: ") as caught:
        lambda_.create_function(**settings, Code=code, Environment=too_much)
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
    lambda_.create_function(**settings, Code=code, Environment={"Variables": {"NAME": "v" * 4085}})
    with pytest.raises(ClientError, match="exceeded the 4KB limit"):
        lambda_.update_function_configuration(FunctionName="env", Environment=too_much)
    lambda_.delete_function(FunctionName="env")
    client("iam").delete_role(RoleName="none")


@pytest.mark.parametrize(
    ("environment", "constraint"),
    [
        ({"NAME": "v" * 1025}, "Map value must satisfy"),
        ({"N" * 1025: "v"}, "Map keys must satisfy"),
        ({f"N{number}": "v" for number in range(101)}, "less than or equal to 100"),
    ],
)
def test_environments_of_models(
    client: Client, environment: dict[str, str], constraint: str
) -> None:
    """A model is rejected if a variable or name has over 1024 characters, or there are over 100."""
    with pytest.raises(ClientError, match=constraint) as caught:
        client("sagemaker").create_model(
            ModelName="m",
            ExecutionRoleArn="arn:aws:iam::123456789012:role/none",
            PrimaryContainer={"Image": "i", "Environment": environment},
        )
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_reserved_concurrency(client: Client) -> None:
    """Functions may not reserve so much that fewer than 100 executions are left to the others."""
    lambda_ = client("lambda")
    client("iam").create_role(RoleName="none", AssumeRolePolicyDocument="{}")
    lambda_.create_function(
        FunctionName="reserves",
        Runtime="python3.14",
        Handler="a.b",
        Role="arn:aws:iam::123456789012:role/none",
        Code={"ZipFile": b"PK\x05\x06" + bytes(18)},
    )
    try:
        with pytest.raises(ClientError, match=r"below its minimum value of \[100\]"):
            lambda_.put_function_concurrency(
                FunctionName="reserves", ReservedConcurrentExecutions=901
            )
        lambda_.put_function_concurrency(FunctionName="reserves", ReservedConcurrentExecutions=900)
    finally:
        lambda_.delete_function(FunctionName="reserves")
        client("iam").delete_role(RoleName="none")


def test_instances_of_endpoints(client: Client) -> None:
    """An endpoint with more instances than the quota is refused, until the quota is raised."""
    sagemaker, quotas = client("sagemaker"), client("service-quotas")
    kind = "ml.g6.16xlarge"
    sagemaker.create_model(
        ModelName="large",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/none",
        PrimaryContainer={"Image": "i"},
    )
    variant = {
        "VariantName": "v",
        "ModelName": "large",
        "InitialInstanceCount": 1,
        "InstanceType": kind,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="large", ProductionVariants=[variant])
    with pytest.raises(ClientError, match=f"'{kind} for endpoint usage' is 0") as caught:
        sagemaker.create_endpoint(EndpointName="large", EndpointConfigName="large")
    assert caught.value.response["Error"]["Code"] == "ResourceLimitExceeded"
    code = "L-MLG616XLARGE"
    quotas.request_service_quota_increase(ServiceCode="sagemaker", QuotaCode=code, DesiredValue=1)
    raised = quotas.get_service_quota(ServiceCode="sagemaker", QuotaCode=code)["Quota"]
    assert (raised["QuotaName"], raised["Value"]) == (f"{kind} for endpoint usage", 1)
    sagemaker.create_endpoint(EndpointName="large", EndpointConfigName="large")
    sagemaker.delete_endpoint(EndpointName="large")
    sagemaker.delete_endpoint_config(EndpointConfigName="large")
    sagemaker.delete_model(ModelName="large")
