"""Templates with a SageMaker endpoint."""

from typing import Any

WEIGHTS = "sluice-test-weights"
ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRole",
                    "Principal": {"Service": "sagemaker.amazonaws.com"},
                }
            ]
        },
        "Policies": [
            {
                "PolicyName": "weights",
                "PolicyDocument": {
                    "Statement": [
                        {
                            "Effect": "Allow",
                            "Action": "s3:ListBucket",
                            "Resource": f"arn:aws:s3:::{WEIGHTS}",
                        },
                        {
                            "Effect": "Allow",
                            "Action": "s3:GetObject",
                            "Resource": f"arn:aws:s3:::{WEIGHTS}/*",
                        },
                    ]
                },
            }
        ],
    },
}
OUTPUTS = {"Name": {"Fn::GetAtt": ["Endpoint", "EndpointName"]}}


def template(
    environment: dict[str, str],
    instances: int = 1,
    instance_type: str = "ml.g6.12xlarge",
    **container: Any,
) -> dict[str, Any]:
    """Return an endpoint whose container has this environment."""
    primary = {"Image": "image:tag", "Environment": environment, **container}
    variant = {
        "VariantName": "v",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InitialInstanceCount": instances,
        "InitialVariantWeight": 1,
        "InstanceType": instance_type,
        "ContainerStartupHealthCheckTimeoutInSeconds": 60,
    }
    return {
        "Role": ROLE,
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {
                "ExecutionRoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "PrimaryContainer": primary,
            },
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {"ProductionVariants": [variant]},
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {"EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]}},
        },
    }
