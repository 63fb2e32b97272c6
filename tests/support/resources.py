"""Resources for the templates that tests deploy into the local cloud, in CloudFormation's form."""

from typing import Any

CONTAINER_ACTIONS = {
    "cloudwatch:PutMetricData",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
    "logs:CreateLogStream",
    "logs:DescribeLogStreams",
    "logs:PutLogEvents",
    "s3:GetObject",
    "s3:ListBucket",
}
"""What the execution role of the container may do: `ModelExecution`."""

ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "AssumeRolePolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "sts:AssumeRole",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                }
            ],
        }
    },
}


def url(target: dict[str, Any]) -> dict[str, Any]:
    """Return a function's URL, which streams and needs no signature.

    `target` is its TargetFunctionArn.
    """
    return {
        "Type": "AWS::Lambda::Url",
        "Properties": {
            "TargetFunctionArn": target,
            "AuthType": "NONE",
            "InvokeMode": "RESPONSE_STREAM",
        },
    }


def function(**properties: Any) -> dict[str, Any]:
    """Return a function of one line of code.

    Its role is the resource `Role`, unless `properties` say otherwise.
    """
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


def permission(action: str, **condition: Any) -> dict[str, Any]:
    """Return a statement of a function's own policy that lets every caller take an action."""
    properties = {
        "FunctionName": {"Ref": "Function"},
        "Action": action,
        "Principal": "*",
        **condition,
    }
    return {"Type": "AWS::Lambda::Permission", "Properties": properties}


def streaming(bucket: str, *, origin: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """Return a function with an open URL behind a distribution.

    Its code is code.zip in a bucket, with the exec wrapper in it. `origin` has more members of the
    distribution's origin, and `properties` are the function's.
    """
    address = {"Fn::Select": [2, {"Fn::Split": ["/", {"Fn::GetAtt": ["Url", "FunctionUrl"]}]}]}
    return {
        "Function": function(
            Code={"S3Bucket": bucket, "S3Key": "code.zip"}, Handler="main.handler", **properties
        ),
        "Url": url({"Ref": "Function"}),
        "Open": permission("lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE"),
        "OpenToo": permission("lambda:InvokeFunction", InvokedViaFunctionUrl=True),
        "Distribution": {
            "Type": "AWS::CloudFront::Distribution",
            "Properties": {
                "DistributionConfig": {
                    "Enabled": True,
                    "Origins": [{"Id": "function", "DomainName": address, **origin}],
                    "DefaultCacheBehavior": {
                        "TargetOriginId": "function",
                        "ViewerProtocolPolicy": "https-only",
                        "AllowedMethods": [
                            "GET",
                            "HEAD",
                            "OPTIONS",
                            "PUT",
                            "PATCH",
                            "POST",
                            "DELETE",
                        ],
                        "OriginRequestPolicyId": "b689b0a8-53d0-40ab-baf2-68738e2966ac",
                    },
                }
            },
        },
    }


TOPIC = {"Type": "AWS::SNS::Topic"}


BAD = {"Type": "AWS::SageMaker::Endpoint", "Properties": {"EndpointConfigName": "none"}}
