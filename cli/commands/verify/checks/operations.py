"""Checks of what runs without a caller: cold starts, alarms, rotation and certificates."""

import json
import time

from cli.commands.verify.registry import Check, Outcome, Wave, absent, decided, refuted, unknown
from cli.commands.verify.target import Target

_ROTATION_S = 300.0
_SILENT_S = 3900.0
_INIT_MS = 10_000
_REQUESTS = 40


def cold_start(target: Target) -> Outcome:
    """A new environment starts within Lambda's 10 s."""
    since = time.time() - 14 * 86_400
    target.chat(max_tokens=2)
    lines = target.wait(lambda: target.log_lines(target.function_log, "initDurationMs", since))
    if not lines:
        return unknown("no REPORT of the last 14 days has an Init Duration")
    found = [json.loads(line)["record"]["metrics"]["initDurationMs"] for line in lines]
    seen = f"{len(found)} cold starts, {max(found):.0f} ms at most"
    return decided([seen] if max(found) >= _INIT_MS else [], seen)


def alarms(target: Target) -> Outcome:
    """Each alarm of the stack exists and watches what is deployed."""
    names = target.physical("AWS::CloudWatch::Alarm")
    if not names:
        return refuted("the stack has no alarm")
    found = {
        alarm["AlarmName"]: alarm
        for page in target.client("cloudwatch")
        .get_paginator("describe_alarms")
        .paginate(AlarmNames=[name.rpartition(":")[2] for name in names])
        for alarm in page["MetricAlarms"]
    }
    there = {one["PhysicalResourceId"] for one in target.resources} | {*target.outputs.values()}
    wrong = [f"{name} is missing" for name in names if name.rpartition(":")[2] not in found]
    for name, alarm in found.items():
        stats = [query.get("MetricStat", {}) for query in alarm.get("Metrics", [])]
        of_math = [one for it in stats for one in it.get("Metric", {}).get("Dimensions", [])]
        for dimension in (*alarm.get("Dimensions", []), *of_math):
            known = dimension["Name"] in {"FunctionName", "EndpointName"}
            if known and dimension["Value"] not in there:
                wrong.append(f"{name} watches {dimension['Value']}, which is not deployed")
    return decided(wrong, f"{len(found)} alarms, each on a resource of the stack")


def shared_alias(target: Target) -> Outcome:
    """An alias with a URL shares its requests between two versions, and both end well."""
    api, name = target.client("lambda"), target.outputs["FunctionName"]
    alias = api.get_alias(FunctionName=name, Name="live")
    pages = api.get_paginator("list_versions_by_function").paginate(FunctionName=name)
    others = [
        version["Version"]
        for page in pages
        for version in page["Versions"]
        if version["Version"] not in {"$LATEST", alias["FunctionVersion"]}
    ]
    if not others:
        return absent("the function has one version: deploy a change of it first")
    both = {alias["FunctionVersion"], others[-1]}
    since = time.time() - 5

    def share(weights: dict[str, float]) -> None:
        routing = {"AdditionalVersionWeights": weights}
        api.update_alias(FunctionName=name, Name="live", RoutingConfig=routing)

    def started() -> list[str]:
        lines = target.log_lines(target.function_log, "platform.start", since)
        return [json.loads(line)["record"]["version"] for line in lines]

    share({others[-1]: 0.5})
    try:
        statuses = {target.chat(max_tokens=2).status for _ in range(_REQUESTS)}
    finally:
        share({})
    target.wait(lambda: both <= {*started()})
    found = {version: started().count(version) for version in sorted(both)}
    wrong = [] if statuses == {200} else [f"statuses {statuses}"]
    wrong += [f"requests by version: {found}"] if 0 in found.values() else []
    return decided(wrong, f"{_REQUESTS} requests by version: {found}")


def silent_alarm(target: Target) -> Outcome:
    """The alarm on a sweeper that does not run has insufficient data when its schedule is off."""
    cloudwatch, events = target.client("cloudwatch"), target.client("events")
    names = [name.rpartition(":")[2] for name in target.physical("AWS::CloudWatch::Alarm")]
    silent = [
        alarm
        for alarm in cloudwatch.describe_alarms(AlarmNames=names)["MetricAlarms"]
        if alarm["TreatMissingData"] == "missing" and alarm["MetricName"] == "Invocations"
    ]
    if not silent:
        return refuted("no alarm on Invocations treats missing data as missing")
    if silent[0]["StateValue"] != "OK":
        return unknown(f"the alarm is {silent[0]['StateValue']} before: wait for a sweep")
    [rule] = target.physical("AWS::Events::Rule", "Sweeper")[:1] or [""]
    if not rule:
        return unknown("the sweeper's schedule is not a rule")
    rule = rule.rpartition("/")[2]
    events.disable_rule(Name=rule)

    def risen() -> bool:
        [alarm] = cloudwatch.describe_alarms(AlarmNames=[silent[0]["AlarmName"]])["MetricAlarms"]
        return bool(alarm["StateValue"] == "INSUFFICIENT_DATA")

    began = time.monotonic()
    try:
        rose = target.wait(risen, patience=_SILENT_S)
    finally:
        events.enable_rule(Name=rule)
    minutes = (time.monotonic() - began) / 60
    wrong = [] if rose else [f"no change after {minutes:.0f} minutes without the sweeper"]
    return decided(wrong, f"insufficient data {minutes:.0f} minutes after the schedule was off")


def rotation(target: Target) -> Outcome:
    """Secrets Manager changes the admin secret, and the function accepts the new one."""
    arn = target.outputs.get("AdminSecretArn")
    if arn is None:
        return absent("the deployment has no admin secret: deploy with -c admin_url=true")
    manager = target.client("secretsmanager")

    def current() -> str:
        return str(
            manager.get_secret_value(SecretId=arn, VersionStage="AWSCURRENT")["SecretString"]
        )

    before = current()
    manager.rotate_secret(SecretId=arn)
    changed = target.wait(lambda: current() != before, patience=_ROTATION_S)
    if not changed:
        return refuted(f"AWSCURRENT is the same after {_ROTATION_S:.0f} s")
    path = "/admin/v1/keys?limit=1"
    statuses = [target.send("GET", path, key=secret).status for secret in (current(), before)]
    wrong = [] if statuses == [200, 200] else [f"new and old secret: {statuses}"]
    return decided(wrong, "the secret has changed; the new one and the one before are accepted")


def certificate(target: Target) -> Outcome:
    """A certificate in us-east-1 serves a distribution whose stack is elsewhere."""
    if "Domain" not in target.outputs:
        return absent("the deployment has no domain: deploy with -c domain=... -c hosted_zone=...")
    region = target.client("cloudformation").meta.region_name
    if region == "us-east-1":
        return absent("the deployment is in us-east-1 itself: deploy to another region")
    response = target.send("GET", "/v1/models")  # verifies the certificate's name
    wrong = [] if response.status == 200 else [f"status {response.status}"]
    return decided(wrong, f"https://{target.outputs['Domain']} serves from {region}")


CHECKS = (
    Check(
        "shared-alias",
        "a function URL on an alias shares requests by the alias's weights, as CodeDeploy sets "
        "them for a canary",
        "give another version half of the alias: 40 requests answer 200, and the log has both "
        "versions",
        Wave.DESTRUCTIVE,
        shared_alias,
        120,
    ),
    Check(
        "cold-start",
        "the function's package without bytecode starts within 10 s",
        "Init Duration in the REPORT lines; deploying from a machine with Python 3.14 adds bytecode",
        Wave.ARRIVAL,
        cold_start,
        60,
    ),
    Check(
        "alarms",
        "every alarm exists and watches a resource of the stack",
        "compare the alarms' dimensions with the stack's resources",
        Wave.READ,
        alarms,
        local=True,
    ),
    Check(
        "silent-alarm",
        "the alarm `Silent` has insufficient data, and notifies, when `Invocations` stop; it does "
        "not before the first sweep",
        "the first deployment sends no mail; disable the rule for an hour: the alarm has "
        "insufficient data, and a mail comes",
        Wave.DESTRUCTIVE,
        silent_alarm,
        3960,
    ),
    Check(
        "rotation",
        "Secrets Manager calls the rotation function with the events that its guide describes",
        "`aws secretsmanager rotate-secret --secret-id <AdminSecretArn>`: the new secret and the "
        "one before are accepted",
        Wave.DESTRUCTIVE,
        rotation,
        320,
    ),
    Check(
        "certificate",
        "an ACM certificate in us-east-1 for a service elsewhere, passed by CDK's cross-region "
        "references",
        "deploy with `domain` and `hosted_zone` to another region",
        Wave.TRAFFIC,
        certificate,
    ),
)
