"""Checks of what tells how a deployment does: metrics, alarms of releases, traces, guardrails."""

import json
import secrets
import time
from typing import Any

from cli.commands.verify.registry import (
    Check,
    Outcome,
    Wave,
    absent,
    decided,
    proven,
    refuted,
    unknown,
)
from cli.commands.verify.target import Target

_DAY = 86_400
_UNIT = 1_000
_UNITS = 25
"""Text units that `ApplyGuardrail` takes in a call, by Bedrock's quotas."""


def request_metrics(target: Target) -> Outcome:
    """Check that CloudWatch has the metrics of a request's log line, and refuses no line."""
    if target.function["Environment"]["Variables"].get("SLUICE_METRICS") != "true":
        return absent("the deployment writes no metrics: deploy with -c metrics=true")
    cloudwatch, since = target.client("cloudwatch"), time.time()
    deployment = target.function["Environment"]["Variables"]["SLUICE_DEPLOYMENT"]
    if target.chat(max_tokens=2).status != 200:
        return unknown("a request was not answered")

    def completed() -> float:
        found = cloudwatch.get_metric_statistics(
            Namespace="Sluice",
            MetricName="Completed",
            Dimensions=[{"Name": "Deployment", "Value": deployment}],
            StartTime=since - 60,
            EndTime=time.time() + 60,
            Period=60,
            Statistics=["Sum"],
        )
        return sum(float(point["Sum"]) for point in found["Datapoints"])

    seen = target.wait(completed)
    failed = [
        metric["MetricName"]
        for name in ("EMFParsingErrors", "EMFValidationErrors")
        for metric in cloudwatch.list_metrics(Namespace="AWS/Logs", MetricName=name)["Metrics"]
        if {"Name": "LogGroupName", "Value": target.function_log} in metric["Dimensions"]
    ]
    wrong = [] if seen else ["no metric Completed has come"]
    wrong += [f"the log group has {name}" for name in failed]
    return decided(wrong, f"{seen:g} completed requests are in the namespace Sluice")


def release_metrics(target: Target) -> Outcome:
    """Check that Lambda has the metrics and dimensions that the alarms of a release watch."""
    cloudwatch = target.client("cloudwatch")
    names = [name.rpartition(":")[2] for name in target.physical("AWS::CloudWatch::Alarm")]
    watched = [
        alarm
        for page in cloudwatch.get_paginator("describe_alarms").paginate(AlarmNames=names)
        for alarm in page["MetricAlarms"]
        if alarm.get("MetricName") in ("Errors", "Url5xxCount")
        and any(it["Name"] == "Resource" for it in alarm["Dimensions"])
    ]
    if not watched:
        return refuted("the stack has no alarm of a release")
    since = time.time() - 14 * 86_400

    def missing() -> list[str]:
        return [
            f"{alarm['MetricName']} by {', '.join(it['Name'] for it in alarm['Dimensions'])}"
            for alarm in watched
            if not cloudwatch.get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName=alarm["MetricName"],
                Dimensions=alarm["Dimensions"],
                StartTime=since,
                EndTime=time.time(),
                Period=86_400,
                Statistics=["SampleCount"],
            )["Datapoints"]
        ]

    target.chat(max_tokens=2)
    target.wait(lambda: not missing())
    left = missing()
    return decided([f"no data of {name}" for name in left], f"{len(watched)} alarms have data")


def rolled_back(target: Target) -> Outcome:
    """Check that a stack update which is rolled back leaves the alias at the template's version."""
    events = [
        event
        for page in target.client("cloudformation")
        .get_paginator("describe_stack_events")
        .paginate(StackName=target.stack)
        for event in page["StackEvents"]
        if event["PhysicalResourceId"] == event["StackId"]
        and event["ResourceStatus"].endswith("_COMPLETE")
    ]
    if not events or not events[0]["ResourceStatus"].startswith("UPDATE_ROLLBACK"):
        return absent(
            "the last update was not rolled back: on a stage for tests, deploy a version that "
            "fails with -c canary_minutes=5, and run this afterwards"
        )
    name = target.outputs["FunctionName"]
    alias = target.client("lambda").get_alias(FunctionName=name, Name="live")
    versions = [
        resource["PhysicalResourceId"].rpartition(":")[2]
        for resource in target.resources
        if resource["ResourceType"] == "AWS::Lambda::Version"
        and resource["PhysicalResourceId"].split(":")[6] == name
        and resource["ResourceStatus"] != "DELETE_COMPLETE"
    ]
    shared = (alias.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
    wrong = [] if alias["FunctionVersion"] in versions else [f"the alias is at {alias}"]
    wrong += [f"the alias still shares requests with {shared}"] if shared else []
    return decided(wrong, f"the alias is at version {alias['FunctionVersion']} of the stack")


def spans(target: Target) -> Outcome:
    """Check that CloudWatch takes the function's spans, and that the container gets the trace."""
    if target.function["Environment"]["Variables"].get("SLUICE_TRACES") != "cloudwatch":
        return absent("nothing is traced: deploy with -c traces=cloudwatch")
    from cli.commands.trace import find

    trace = secrets.token_hex(16)
    response = target.chat(
        max_tokens=2, headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    )
    if response.status != 200:
        return unknown(f"a request was answered by {response.status}")
    logs = target.client("logs")

    def found() -> list[dict[str, Any]]:
        try:
            return find(logs, trace, since=600)
        except logs.exceptions.ResourceNotFoundException:
            return []

    seen = target.wait(found)
    lost = target.log_lines(target.function_log, "traces_lost", time.time() - 600)
    if not seen:
        return refuted(
            f"no span is in the log group aws/spans, and the function lost {len(lost)}; the "
            "account needs Transaction Search"
        )
    names = [str(span.get("name")) for span in seen]
    wrong = [] if any(name.startswith("chat ") for name in names) else ["no span of the request"]
    if target.engine and not any(name.startswith("generate ") for name in names):
        wrong.append("no span of the container: it did not get the custom attributes")
    return decided(wrong, f"the trace has the spans {', '.join(names)}")


def guardrail(target: Target) -> Outcome:
    """Check that the function may call its guardrail, which judges a prompt and an answer."""
    policy = json.loads(target.function["Environment"]["Variables"].get("SLUICE_MODERATION", "{}"))
    if "guardrail" not in policy:
        return absent("there is no guardrail: deploy with -c guardrail=ID:VERSION")
    since = time.time() - 5
    response = target.chat(max_tokens=20, stream=True)
    failed = target.log_lines(target.function_log, "guardrail_unavailable", since)
    wrong = [] if response.status == 200 else [f"status {response.status}"]
    wrong += [json.loads(line).get("reason", line) for line in failed[:1]]
    return decided(wrong, "a prompt and a streamed answer were judged")


def guardrail_units(target: Target) -> Outcome:
    """Check that a call of the guardrail takes 25 text units, and no more."""
    policy = json.loads(target.function["Environment"]["Variables"].get("SLUICE_MODERATION", "{}"))
    if "guardrail" not in policy:
        return absent("there is no guardrail: deploy with -c guardrail=ID:VERSION")
    from botocore.exceptions import ClientError

    def judged(size: int) -> str:
        try:
            target.client("bedrock-runtime").apply_guardrail(
                guardrailIdentifier=policy["guardrail"]["id"],
                guardrailVersion=policy["guardrail"]["version"],
                source="OUTPUT",
                content=[{"text": {"text": "word " * (size // 5)}}],
            )
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "judged"

    seen = [judged(_UNITS * _UNIT), judged((_UNITS + 1) * _UNIT)]
    if seen[0] != "judged":
        return refuted(f"{_UNITS} text units: {seen[0]}")
    return proven(f"{_UNITS} text units are judged; {_UNITS + 1}: {seen[1]}")


def key_rules(target: Target) -> Outcome:
    """Check that each rule of Contributor Insights sees the requests of a key."""
    rules = [it.rpartition("/")[2] for it in target.physical("AWS::CloudWatch::InsightRule")]
    if not rules:
        return absent("there are no rules: deploy with -c key_figures=insights")
    cloudwatch, since = target.client("cloudwatch"), time.time()
    if target.chat(max_tokens=2).status != 200:
        return unknown("a request was not answered")

    def blind() -> list[str]:
        """Return the rules whose report lacks the key."""
        found = []
        for rule in rules:
            report = cloudwatch.get_insight_rule_report(
                RuleName=rule,
                StartTime=int(since) - 60,
                EndTime=int(time.time()) + 60,
                Period=60,
                MaxContributorCount=100,
            )
            keys = [key for it in report.get("Contributors", []) for key in it["Keys"]]
            if target.key_id not in keys:
                found.append(rule)
        return found

    target.wait(lambda: not blind())
    wrong = [f"{rule} does not have the key of a request" for rule in blind()]
    return decided(wrong, f"the reports of {', '.join(rules)} have the key of a request")


def key_metrics(target: Target) -> Outcome:
    """Check that CloudWatch takes the figures of keys as OTLP metrics."""
    configurations = [
        target.client("lambda").get_function_configuration(FunctionName=name)
        for name in target.physical("AWS::Lambda::Function", "Sweeper")
    ]
    sending = [
        it
        for it in configurations
        if it.get("Environment", {}).get("Variables", {}).get("SLUICE_KEY_METRICS") == "true"
    ]
    if not sending:
        return absent("the sweeper sends no figures: deploy with -c key_figures=otlp")
    group, since = sending[0]["LoggingConfig"]["LogGroup"], time.time() - _DAY
    wrong = [
        line
        for text in ("figures_lost", "OTLP metrics of")
        for line in target.log_lines(group, text, since)[-1:]
    ]
    if wrong:
        return refuted(f"the sweeper could not send an hour: {'; '.join(wrong)}")
    try:
        series = target.promql('count_over_time({"sluice.key.requests"}[1d])')
    except OSError as error:
        return unknown(f"PromQL cannot be asked: {error}")
    if not series:
        return unknown("no hour was sent: the first one is, up to 20 minutes after its end")
    return proven(f"{len(series)} series of sluice.key.requests, and no hour was refused in a day")


CHECKS = (
    Check(
        "request-metrics",
        "CloudWatch makes metrics of members of a request's own log line, in Lambda's JSON logs",
        "one request: the metric `Completed` of the namespace `Sluice` counts it; the log group has "
        "no `EMFParsingErrors`",
        Wave.ARRIVAL,
        request_metrics,
        180,
    ),
    Check(
        "release-metrics",
        "whether `Url5xxCount` exists by alias, and `Errors` by alias and version, as the alarms of "
        "a release watch them",
        "each alarm of a release has data once requests were served and one of them was a 5xx",
        Wave.ARRIVAL,
        release_metrics,
        180,
    ),
    Check(
        "rolled-back-alias",
        "a stack update that is rolled back leaves the alias at the version of the template, "
        "without weights of a canary",
        "deploy a version that fails with `canary_minutes=5`, then compare alias and stack",
        Wave.READ,
        rolled_back,
    ),
    Check(
        "spans",
        "X-Ray's OTLP endpoint takes JSON with `xray:PutSpans` and `xray:PutSpansForIndexing`, "
        "spans are in `aws/spans` in the form that `sluice trace` reads, and SageMaker passes "
        "custom attributes of a streamed call on to the container",
        "`-c traces=cloudwatch` and Transaction Search: a request with `traceparent` has a span of "
        "the function and one of the container",
        Wave.ARRIVAL,
        spans,
        180,
    ),
    Check(
        "key-rules",
        "rules of Contributor Insights see the lines of requests in Lambda's JSON logs, and their "
        "reports have the keys",
        "`-c key_figures=insights`: one request; the report of each rule has its key",
        Wave.ARRIVAL,
        key_rules,
        180,
    ),
    Check(
        "key-metrics",
        "CloudWatch's OTLP endpoint takes gauges as JSON with `cloudwatch:PutMetricData`, 400 "
        "points in a request, each an hour old or less, and PromQL finds them by their names",
        "`-c key_figures=otlp`, some requests, and 20 minutes after the hour: the sweeper's log has "
        "no refusal, and PromQL finds `sluice.key.requests`",
        Wave.ARRIVAL,
        key_metrics,
    ),
    Check(
        "guardrail",
        "the stream function's role may apply the guardrail that the settings name, and answers "
        "come in windows of it",
        "`-c guardrail=ID:VERSION`: a streamed answer, and no line `guardrail_unavailable`",
        Wave.TRAFFIC,
        guardrail,
        30,
        0.01,
    ),
    Check(
        "guardrail-units",
        "`ApplyGuardrail` takes 25 text units of 1,000 characters in a call",
        "25,000 characters are judged; what 26,000 are answered by is in the evidence",
        Wave.TRAFFIC,
        guardrail_units,
        30,
        0.05,
    ),
)
