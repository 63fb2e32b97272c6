"""Templates with an inference component."""

from typing import Any

TRUST = {
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
        }
    ]
}


def template(copies: int, word: str = "first", **configuration: Any) -> dict[str, Any]:
    """Return an endpoint with an inference component of `copies` copies."""
    role = {"Fn::GetAtt": ["Role", "Arn"]}
    return {
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": TRUST}},
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {
                "ExecutionRoleArn": role,
                "PrimaryContainer": {"Image": "image:tag", "Environment": {"WORD": word}},
            },
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {
                "ExecutionRoleArn": role,
                "ProductionVariants": [
                    {
                        "VariantName": "v",
                        "InstanceType": "ml.g6.12xlarge",
                        "InitialInstanceCount": 1,
                    }
                ],
                **configuration,
            },
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {"EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]}},
        },
        "Component": {
            "Type": "AWS::SageMaker::InferenceComponent",
            "Properties": {
                "EndpointName": {"Fn::GetAtt": ["Endpoint", "EndpointName"]},
                "VariantName": "v",
                "Specification": {
                    "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
                    "ComputeResourceRequirements": {"MinMemoryRequiredInMb": 1024},
                },
                "RuntimeConfig": {"CopyCount": copies},
            },
        },
    }
