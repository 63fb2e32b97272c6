"""Custom resource: start a build of the container's image.

The build itself answers CloudFormation, so it may take longer than a function. If it ends without
success, EventBridge calls this function, which answers too: a build may end before the commands
that answer. CloudFormation ignores a second answer.
"""

import json
import urllib.request
from typing import Any

import boto3

NAMES = ("ResponseURL", "StackId", "RequestId", "LogicalResourceId")


def handler(event: dict[str, Any], _context: object) -> None:
    """Start a build for CloudFormation, or report one that has ended."""
    codebuild = boto3.client("codebuild")
    if "detail" in event:
        report(codebuild, event["detail"]["build-id"].partition("build/")[2])
    elif event["RequestType"] == "Delete":
        answer(event, "SUCCESS", "The repository is removed with its images")
    else:
        variables = [{"name": "CFN_" + name, "value": event[name]} for name in NAMES]
        variables += [{"name": "TAG", "value": event["ResourceProperties"]["Tag"]}]
        project = event["ResourceProperties"]["Project"]
        try:
            codebuild.start_build(projectName=project, environmentVariablesOverride=variables)
        except Exception as error:
            answer(event, "FAILED", f"The build could not be started: {error}")


def report(codebuild: Any, build_id: str) -> None:
    """Answer that a build has failed, with the phase and the message of its failure."""
    build = codebuild.batch_get_builds(ids=[build_id])["builds"][0]
    variables = {it["name"]: it["value"] for it in build["environment"]["environmentVariables"]}
    if "CFN_ResponseURL" not in variables:
        return  # somebody else started it
    said = [
        f"{phase['phaseType']}: {context['message']}"
        for phase in build.get("phases", [])
        for context in phase.get("contexts", [])
        if phase.get("phaseStatus", "SUCCEEDED") != "SUCCEEDED" and context.get("message")
    ]
    reason = f"The build {build_id} ended as {build['buildStatus']}. {' '.join(said)}"[:3000]
    answer({name: variables["CFN_" + name] for name in NAMES}, "FAILED", reason)


def answer(event: dict[str, Any], status: str, reason: str) -> None:
    """Answer CloudFormation."""
    body = {name: event[name] for name in NAMES if name != "ResponseURL"}
    body |= {"Status": status, "Reason": reason, "PhysicalResourceId": "image"}
    request = urllib.request.Request(
        event["ResponseURL"], json.dumps(body).encode(), {"content-type": ""}, method="PUT"
    )
    urllib.request.urlopen(request).read()
