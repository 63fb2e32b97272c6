"""The events of CloudFormation's custom resources."""

from typing import Any

URL = "https://cloudformation-custom-resource-response.s3.amazonaws.com/presigned"
Answers = list[dict[str, Any]]


def event(request_type: str, **properties: str) -> dict[str, Any]:
    """Return the event of a request: Create, Update or Delete."""
    return {
        "RequestType": request_type,
        "ResponseURL": URL,
        "StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/s/1",
        "RequestId": "r-1",
        "LogicalResourceId": "Done",
        "ResourceProperties": properties,
    }
