"""Checks of access: secrets, networks, grants by partition, and errors through the edge."""

import json
import re
import time
import urllib.request
import uuid
from typing import Any

from cli.commands.check.rules import wrong_error
from cli.commands.verify.registry import Check, Outcome, Wave, absent, decided, proven, refuted
from cli.commands.verify.target import OWNER, Target
from cli.lib.admin_api import Admin
from cli.lib.project import CommandError

_OTHER = "203.0.113.0/24"
"""A network that documentation uses, and no client has."""
_PROPAGATION_S = 20.0
"""IAM's changes hold after seconds."""
_MINE = "https://checkip.amazonaws.com"


def code_of(response: Any) -> str:
    """Return the code of an error response; empty if there is none."""
    body = response.json()
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("code")) if isinstance(error, dict) else ""


def secrets(target: Target) -> Outcome:
    """The distribution's secret opens the function; without it, or with another, it is closed."""
    through = target.send("GET", "/v1/models")
    wrong = [] if through.status == 200 else [f"by the edge: {through.status} {code_of(through)}"]
    url = target.outputs["FunctionUrl"]
    for what, headers in (
        ("without a secret", {}),
        ("with a wrong one", {"x-sluice-origin-secret": "wrong"}),
    ):
        response = target.send("GET", "/v1/models", url=url, headers=headers)
        if (response.status, code_of(response)) != (403, "origin_denied"):
            wrong.append(f"the function URL {what}: {response.status} {code_of(response)}")
    return decided(wrong, "200 by the edge; 403 origin_denied at the function URL")


def errors(target: Target) -> Outcome:
    """Errors of the function pass the edge with their status, body and request id."""
    model, hello = target.outputs["ModelName"], [{"role": "user", "content": "hi"}]
    path = "/v1/chat/completions"
    asked = {
        "a wrong key": (401, {"model": model, "messages": hello}, f"sk-{'a' * 12}-{'b' * 43}"),
        "no such model": (404, {"model": "no-such-model", "messages": hello}, None),
        "no messages": (400, {"model": model, "messages": []}, None),
        "no JSON": (400, b"{", None),
    }
    wrong = []
    for what, (status, body, key) in asked.items():
        response = target.send("POST", path, body, key=key)
        wrong += [f"{what}: {one}" for one in wrong_error(response, status)]
        if not response.headers.get("x-request-id", "").startswith("req_"):
            wrong.append(f"{what}: there is no x-request-id")
    return decided(wrong, "401, 404 and two 400 with OpenAI's body and a request id")


def page(target: Target) -> Outcome:
    """Check that the root and its files come from the bucket, and other paths from the function."""
    root = target.send("GET", "/", key="")
    if not root.headers.get("content-type", "").startswith("text/html"):
        return absent("the deployment has no playground: deploy with -c playground=true")
    found = re.search(r"/assets/[\w.-]+\.js", root.body.decode(errors="replace"))
    file = target.send("GET", found[0] if found else "/assets/none.js", key="")
    beside = target.send("GET", "/index.htm", key="")
    wrong = [
        f"{path}: {it.status}" for path, it in (("/", root), ("a file", file)) if it.status != 200
    ]
    if "default-src 'none'" not in root.headers.get("content-security-policy", ""):
        wrong.append("the page has no Content-Security-Policy")
    if code_of(beside) != "not_found":
        wrong.append(f"/index.htm: {beside.status}, and not the API's 404")
    return decided(wrong, "the page, its script and its headers; a mistyped path is the API's 404")


def admin_secret(target: Target) -> Outcome:
    """The admin API is open to its secret by the edge, and closed at its function URL."""
    if target.admin.url is None:
        return absent("the deployment has no admin URL: deploy with -c admin_url=true")
    path = "/admin/v1/keys?limit=1"
    found = {
        "with the secret": target.send("GET", path, key=target.admin.secret),
        "with an API key": target.send("GET", path),
        "with a wrong secret": target.send("GET", path, key="wrong"),
        "at the function URL": target.send(
            "GET", path, key=target.admin.secret, url=target.outputs["AdminFunctionUrl"]
        ),
    }
    seen = {what: f"{one.status} {code_of(one)}".strip() for what, one in found.items()}
    expected = {
        "with the secret": "200",
        "with an API key": "401 invalid_admin_secret",
        "with a wrong secret": "401 invalid_admin_secret",
        "at the function URL": "403 origin_denied",
    }
    wrong = [f"{what}: {seen[what]}" for what in expected if seen[what] != expected[what]]
    return decided(wrong, "; ".join(f"{what}: {one}" for what, one in seen.items()))


def address(target: Target) -> str:
    """Return this machine's address as the edge sees it."""
    if target.stage == "local":
        return "127.0.0.1"
    with urllib.request.urlopen(_MINE, timeout=30) as response:
        return str(response.read().decode().strip())


def networks(target: Target) -> Outcome:
    """A key is held to the address of its caller, whatever X-Forwarded-For it sends."""
    mine = address(target)
    allowed = target.make_key(networks=[f"{mine}/{'128' if ':' in mine else '32'}"])
    elsewhere = target.make_key(networks=[_OTHER])
    forged = {"x-forwarded-for": "203.0.113.9"}
    found = {
        "from its network": target.chat(max_tokens=2, key=allowed).status,
        "from its network, with a header": target.chat(
            max_tokens=2, key=allowed, headers=forged
        ).status,
        "from another one": target.chat(max_tokens=2, key=elsewhere).status,
        "from another one, with a made-up header": target.chat(
            max_tokens=2, key=elsewhere, headers=forged
        ).status,
    }
    wrong = [
        f"{what}: {status}"
        for (what, status), expected in zip(found.items(), (200, 200, 403, 403), strict=True)
        if status != expected
    ]
    return decided(
        wrong, "200 from its network, 403 from elsewhere, with and without a made-up header"
    )


def second_distribution(target: Target) -> Outcome:
    """A request by another distribution is held to its viewer's address, not to an edge's."""
    cloudfront = target.client("cloudfront")
    domain = target.origin.partition("://")[2]
    everything = ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"]
    config: dict[str, Any] = {
        "CallerReference": str(uuid.uuid4()),
        "Comment": "sluice verify, temporary",
        "Enabled": True,
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "sluice",
                    "DomainName": domain,
                    "CustomOriginConfig": {
                        "HTTPPort": 80,
                        "HTTPSPort": 443,
                        "OriginProtocolPolicy": "https-only",
                    },
                }
            ],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "sluice",
            "ViewerProtocolPolicy": "https-only",
            "CachePolicyId": "4135ea2d-6df8-44a3-9df3-4b5a84be39ad",  # CachingDisabled
            "OriginRequestPolicyId": "b689b0a8-53d0-40ab-baf2-68738e2966ac",  # AllViewerExceptHost
            "AllowedMethods": {
                "Quantity": 7,
                "Items": everything,
                "CachedMethods": {"Quantity": 2, "Items": ["GET", "HEAD"]},
            },
        },
    }
    made = cloudfront.create_distribution(DistributionConfig=config)["Distribution"]
    try:
        cloudfront.get_waiter("distribution_deployed").wait(Id=made["Id"])
        mine = address(target)
        key = target.make_key(networks=[f"{mine}/32"])
        url = f"https://{made['DomainName']}"
        response = target.chat(max_tokens=2, key=key, url=url)
    finally:
        current = cloudfront.get_distribution_config(Id=made["Id"])
        config = {**current["DistributionConfig"], "Enabled": False}
        cloudfront.update_distribution(
            Id=made["Id"], IfMatch=current["ETag"], DistributionConfig=config
        )
        cloudfront.get_waiter("distribution_deployed").wait(Id=made["Id"])
        tag = cloudfront.get_distribution_config(Id=made["Id"])["ETag"]
        cloudfront.delete_distribution(Id=made["Id"], IfMatch=tag)
    wrong = [] if response.status == 200 else [f"{response.status} {code_of(response)}"]
    return decided(wrong, "a key of this address was served by way of a second distribution")


def leading_keys(target: Target) -> Outcome:
    """The stream function reads rollups, and the admin function makes them again."""
    usage = target.send("GET", "/v1/usage")
    wrong = [] if usage.status == 200 else [f"/v1/usage: {usage.status} {code_of(usage)}"]
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 2 * 86_400))
    until = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86_400))
    try:
        target.admin("POST", "/rollups/rebuild", {"since": day, "until": until})
    except CommandError as error:
        wrong.append(f"the rollups of {day}: {error}")
    return decided(wrong, f"/v1/usage is 200; the rollups of {day} were made again")


def invoke_action(target: Target) -> Outcome:
    """A request is answered or denied with each of the two actions that the role is granted."""
    iam, role = target.client("iam"), target.role_of(target.outputs["FunctionName"])
    [policy] = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    statuses = {}
    try:
        for action in ("InvokeEndpoint", "InvokeEndpointWithResponseStream"):
            reduced = []
            for statement in document["Statement"]:
                listed = statement["Action"]
                actions = [listed] if isinstance(listed, str) else listed
                if kept := [one for one in actions if one != f"sagemaker:{action}"]:
                    reduced.append({**statement, "Action": kept})
            changed = json.dumps({**document, "Statement": reduced})
            iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=changed)
            time.sleep(_PROPAGATION_S)
            statuses[action] = target.chat(max_tokens=2).status
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    needed = [action for action, status in statuses.items() if status != 200]
    if not needed:
        return refuted(f"neither action is needed: {statuses}")
    return proven(f"needed: {' and '.join(needed)}; statuses without each: {statuses}")


STREAMS = "/v1/sluice/streams"


def kept_answers(target: Target) -> Outcome:
    """A kept answer is sent again from behind a chunk on, is listed, and is gone when deleted."""
    if "RecallFunctionName" not in target.outputs:
        return absent("persistence=off: no answer is kept")
    key = target.make_key()
    whole = target.chat(stream=True, max_tokens=16, sluice={"durable": True}, key=key)
    name = whole.headers.get("x-sluice-stream", "")
    if whole.status != 200 or not name:
        return refuted(f"a durable chat: {whole.status} {code_of(whole)}")
    path = f"{STREAMS}/{name}"
    rest = target.send("GET", f"{path}?starting_after=1", key=key)
    listed = target.send("GET", STREAMS, key=key)
    deleted = target.send("DELETE", path, key=key)
    gone = target.send("GET", path, key=key)
    wrong = []
    if rest.status != 200 or not rest.body or not whole.body.endswith(rest.body):
        wrong.append(f"resumed: {rest.status} {code_of(rest)}, not the end of the stream")
    if listed.status != 200 or name.encode() not in listed.body:
        wrong.append(f"the list: {listed.status} {code_of(listed)}")
    if (deleted.status, gone.status) != (200, 404):
        wrong.append(f"deleted: {deleted.status}, and read after that: {gone.status}")
    return decided(
        wrong, f"{len(rest.body):,} of {len(whole.body):,} bytes came again; then deleted"
    )


def attribute_grants(target: Target) -> Outcome:
    """The recall function counts requests by a write that may name the balances only."""
    if "RecallFunctionName" not in target.outputs:
        return absent("persistence=off: there is no recall function")
    key = target.make_key(limits={"requests_per_minute": 1000})
    calls = [target.send("GET", STREAMS, key=key) for _ in range(2)]
    left = [call.headers.get("x-ratelimit-remaining-requests") for call in calls]
    wrong = [f"{call.status} {code_of(call)}" for call in calls if call.status != 200]
    if left[0] == left[1]:  # unless a minute has ended between them
        again = target.send("GET", STREAMS, key=key)
        left = [left[1], again.headers.get("x-ratelimit-remaining-requests")]
    if left[0] == left[1]:
        wrong.append(f"{left[0]} requests are left after two calls in a row")
    first, second = left
    return decided(wrong, f"{first} requests were left after one call, {second} after the next")


def admin_grants(target: Target) -> Outcome:
    """The functions that callers by IAM invoke can do what their right allows, and nothing else."""

    def by(right: str) -> Admin:
        return Admin(target.stage, target.outputs, None, right=right)

    wrong = []
    made = None
    try:
        made = by("keys")("POST", "/keys", {"name": OWNER, "owner": OWNER})
        by("audit")("GET", "/audit", limit=1)
    except CommandError as error:
        wrong.append(str(error))
    finally:
        if made is not None:
            target.admin("DELETE", f"/keys/{made['id']}")
    try:
        by("usage")("POST", "/keys", {"name": "never"})
        wrong.append("the function of the right `usage` made a key")
    except CommandError:
        pass
    return decided(wrong, "`keys` made a key, `audit` read the trail, `usage` made no key")


def invocation(target: Target) -> Outcome:
    """The trail's id of an invocation is the request id that Lambda answers its caller with.

    CloudTrail records that id as `requestID`.
    """
    body = {"name": OWNER, "owner": OWNER}
    event = {"method": "POST", "path": "/admin/v1/keys", "query": "", "body": body}
    answer = target.client("lambda").invoke(
        FunctionName=target.outputs["AdminFunctionName"], Payload=json.dumps(event)
    )
    made = json.loads(json.loads(answer["Payload"].read())["body"])
    target.admin("DELETE", f"/keys/{made['id']}")
    entries = target.admin("GET", "/audit", key=made["id"])["data"]
    found = {entry["invocation"] for entry in entries}
    theirs = answer["ResponseMetadata"]["RequestId"]
    wrong = [] if theirs in found else [f"Lambda answered {theirs}, the trail has {found}"]
    return decided(wrong, f"Lambda and the trail both have {theirs}")


def firewall(target: Target) -> Outcome:
    """WAF answers a flood with its custom 429 and `retry-after`."""
    cloudfront = target.client("cloudfront")
    [distribution] = target.physical("AWS::CloudFront::Distribution")
    config = cloudfront.get_distribution_config(Id=distribution)["DistributionConfig"]
    if not config.get("WebACLId"):
        return absent("the distribution has no web ACL: deploy with -c web_acl=rate")
    for number in range(400):
        response = target.send("GET", "/admin/v1/keys", key="wrong")
        if response.status == 429:
            wrong = wrong_error(response, 429)
            if not response.headers.get("retry-after"):
                wrong.append("there is no retry-after")
            return decided(wrong, f"429 with retry-after at request {number + 1}")
    return refuted("400 requests, and none was a 429")


CHECKS = (
    Check(
        "origin-secret",
        "dynamic references to the secrets in function and distribution resolve to the same value",
        "200 through the distribution; 403 `origin_denied` at the function URL, without a secret "
        "and with a wrong one",
        Wave.TRAFFIC,
        secrets,
        local=True,
    ),
    Check(
        "errors",
        "the edge passes errors with their status, body and request id",
        "a wrong key, an unknown model, no messages, a body that is not JSON",
        Wave.TRAFFIC,
        errors,
        local=True,
    ),
    Check(
        "page",
        "the default root object leads `/` to the playground's bucket, which the distribution reads "
        "by origin access control",
        "`/` and its script answer 200 with the page's headers, and `/index.htm` the API's 404",
        Wave.TRAFFIC,
        page,
        local=True,
    ),
    Check(
        "admin-secret",
        "the admin API is reached by its secret through the distribution only",
        "the secret, an API key and a wrong secret by the edge; the secret at the function URL",
        Wave.TRAFFIC,
        admin_secret,
        local=True,
    ),
    Check(
        "networks",
        "whether Lambda appends the edge's address to `X-Forwarded-For` (both forms are read)",
        "a key with `networks` of this machine's address serves, another one does not, with a "
        "made-up header and without",
        Wave.TRAFFIC,
        networks,
        local=True,
    ),
    Check(
        "second-distribution",
        "`X-Forwarded-For` of a request that comes by another person's CloudFront distribution: "
        "its last two entries may both be CloudFront's, and then the wrong address is held "
        "against a key's `networks`",
        "put a distribution before the first; a key with `networks` of this machine's address "
        "serves; the distribution is deleted again",
        Wave.DESTRUCTIVE,
        second_distribution,
        1200,
    ),
    Check(
        "leading-keys",
        "`dynamodb:LeadingKeys` limits a query and a deletion to the partitions of rollups",
        "`/v1/usage` answers 200; the rollups of a past day are made again",
        Wave.TRAFFIC,
        leading_keys,
        20,
        local=True,
    ),
    Check(
        "kept-answers",
        "a kept answer is resumed through the recall function's alias and its paths of the "
        "distribution, listed and deleted, with the role's grants in the stream table",
        "a durable stream, its rest from behind a chunk on, the list, the deletion, a 404",
        Wave.TRAFFIC,
        kept_answers,
        20,
        local=True,
    ),
    Check(
        "attribute-grants",
        "`dynamodb:Attributes` allows a write whose expressions name one attribute of an account, "
        "and that returns the item only if its condition fails",
        "a key with a limit of requests lists its answers twice: 200, and the header counts down",
        Wave.TRAFFIC,
        attribute_grants,
        20,
        local=True,
    ),
    Check(
        "invoke-action",
        "whether the streamed call needs `sagemaker:InvokeEndpoint`, as its API reference says, or "
        "only the action of its own name: both are granted",
        "remove one at a time from the stream function's role; a request still answers, or is "
        "denied",
        Wave.DESTRUCTIVE,
        invoke_action,
        60,
    ),
    Check(
        "admin-grants",
        "the grants by partition of the admin functions (`LeadingKeys` on GetItem, PutItem and "
        "UpdateItem)",
        "by IAM: a key is made by the right `keys`, the trail read by `audit`; `usage` makes none",
        Wave.TRAFFIC,
        admin_grants,
        20,
        local=True,
    ),
    Check(
        "invocation-id",
        "`context.aws_request_id` is CloudTrail's `requestID` of a data event",
        "invoke the admin function; the trail has the request id that Lambda answers with, which "
        "CloudTrail records",
        Wave.TRAFFIC,
        invocation,
        20,
    ),
    Check(
        "firewall",
        "WAF's custom 429, its `retry-after` and both rate rules",
        "400 requests to `/admin/v1/keys` with `web_acl=rate`",
        Wave.DESTRUCTIVE,
        firewall,
        120,
        0.01,
    ),
)
