"""A function's own policy, as it applies to calls by URL."""

import json

from local.iam.urls import open_to_all


def test_url_needs_both_actions() -> None:
    """A function URL of type NONE is open only if the policy allows both actions to all callers."""
    function = "arn:aws:lambda:us-east-1:123456789012:function:f"
    by_url = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "lambda:InvokeFunctionUrl",
        "Resource": function,
    }
    invoke = {
        **by_url,
        "Action": "lambda:InvokeFunction",
        "Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}},
    }
    signed = {**by_url, "Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}}
    for statements, is_open in (
        ([by_url, invoke], True),
        ([by_url], False),
        ([invoke], False),
        ([signed, invoke], False),
    ):
        assert open_to_all(json.dumps({"Statement": statements}), function) is is_open
