"""X-Ray segments of functions with active tracing, and the trace header of invocations.

Lambda makes two segments for each invocation: one of the service, one of the function. Here every
invocation is sampled. On AWS, the first of each second and five percent of the others are. Sources:
the Lambda developer guide, "Visualize Lambda function invocations using AWS X-Ray"; the X-Ray
developer guide, "AWS X-Ray segment documents".
"""

import json
import secrets
import time
from typing import Any

from local.state import Function


def header(function: Function) -> str:
    """Return the trace header of an invocation."""
    root = f"Root=1-{int(time.time()):x}-{secrets.token_hex(12)}"
    return (
        f"{root};Parent={secrets.token_hex(8)};Sampled=1" if function.tracing == "Active" else root
    )


def items(
    function: Function, trace: str, request_id: str, began: float, *, failed: bool
) -> list[dict[str, Any]]:
    """Return the items that the X-Ray daemon sends after an invocation; none without sampling.

    They are the daemon's records of itself, then both segments.
    """
    fields = dict(part.split("=", 1) for part in trace.split(";"))
    if fields.get("Sampled") != "1":
        return []
    common = {"region": function.region, "role": function.role, "session": function.name}
    parent = secrets.token_hex(8)
    segment = {
        "trace_id": fields["Root"],
        "name": function.name,
        "start_time": began,
        "end_time": time.time(),
        **({"fault": True} if failed else {}),
    }
    service = {
        **segment,
        "id": parent,
        "origin": "AWS::Lambda",
        "resource_arn": function.arn,
        "aws": {"request_id": request_id},
    }
    own = {
        **segment,
        "id": fields["Parent"],
        "parent_id": parent,
        "origin": "AWS::Lambda::Function",
        "aws": {"function_arn": function.arn, "account_id": function.account},
    }
    return [
        {**common, "records": {"SegmentsReceivedCount": 2, "SegmentsSentCount": 2}},
        *({**common, "segment": json.dumps(document)} for document in (service, own)),
    ]
