"""The arithmetic of the cost sheet."""

from dataclasses import replace

import pytest

from cli.commands.cost import bill
from cli.commands.cost.bill import Plan, Use
from cli.commands.cost.prices import price
from cli.lib.project import CommandError
from infra.settings.deployment import DEV, PROD

USE = Use(
    requests=1e6, completion_tokens=200, tokens_per_second=50, first_token=0.0, throughput=1000
)
PLAN = Plan(
    instance_type="ml.g6.xlarge",
    instance_hour=1.0,
    instances=2,
    idle=2,
    running=2,
    max_instances=2,
    parallel=16,
    architecture="arm64",
    memory_mb=512,
    concurrency=200,
)


def test_each_part_is_the_arithmetic_of_its_price() -> None:
    """A request of 4 s and 200 tokens pays 2 GB-seconds, its bytes and its writes."""
    parts = bill.by_request(PLAN, USE)
    assert parts["Lambda, on demand"] == pytest.approx(
        price("lambda_request") + 2 * price("lambda_gb_second_arm64")
    )
    assert parts["DynamoDB"] == pytest.approx(bill.WRITE_UNITS * price("dynamodb_write"))
    sent = 200 * bill.bytes_a_token() + bill.REST_OF_RESPONSE
    assert parts["CloudFront"] == pytest.approx(
        sent / 1e9 * price("cloudfront_gb")
        + 2500 / 1e9 * price("cloudfront_origin_gb")
        + price("cloudfront_request")
    )
    assert parts["CloudWatch, log"] == pytest.approx(bill.LOG_LINE / 1e9 * price("logs_gb"))
    counts = [Use(completion_tokens=tokens).extensions for tokens in (300, 1000, 4000, 16_000)]
    assert counts == [0, 1, 2, 4]  # as in docs/explanation/metering.md


def test_what_keeping_an_answer_costs() -> None:
    """A stored one is some writes and its text; a logged one is writes by the second."""
    unit = price("dynamodb_write")
    stored = replace(USE, prompt_tokens=0, completion_tokens=400)
    assert bill.kept_answer(stored, logged=False) == pytest.approx((bill.STORED_UNITS + 1) * unit)
    minute = replace(USE, completion_tokens=3000)
    logged = bill.kept_answer(minute, logged=True)
    assert logged == pytest.approx((bill.STORED_UNITS + 2 + 60 * bill.LOGGED_UNITS) * unit)
    assert "DynamoDB, kept answers" not in bill.by_request(replace(PLAN, persistence="asked"), USE)
    kept = bill.by_request(replace(PLAN, persistence="all"), minute)["DynamoDB, kept answers"]
    assert kept == pytest.approx(logged)


def test_a_month_is_what_is_always_paid_and_what_each_request_costs() -> None:
    """Twice the instances cost twice as much, and twice the requests add their own parts only."""
    month = bill.month(PLAN, USE)
    assert month["SageMaker, instances"] == 2 * 730
    four = bill.month(replace(PLAN, running=4), USE)
    assert four["SageMaker, instances"] == 4 * 730
    assert {name: usd for name, usd in four.items() if name != "SageMaker, instances"} == {
        name: usd for name, usd in month.items() if name != "SageMaker, instances"
    }
    twice = bill.month(PLAN, replace(USE, requests=2e6))
    assert sum(twice.values()) - sum(month.values()) == pytest.approx(
        1e6 * sum(bill.by_request(PLAN, USE).values())
    )
    nobody = bill.month(PLAN, replace(USE, requests=0.0))
    assert sum(nobody.values()) == pytest.approx(sum(bill.by_month(PLAN).values()))


def test_the_sheet_of_ten_thousand_users_is_the_sum_by_hand() -> None:
    """Five answers of 300 tokens a day for 10,000 people, from two ml.g6.xlarge of 1,500 tokens/s.

    By hand: 2 x 730 h x 1.1267 are 1,645 for the instances. 1.52 million answers of 8 s at 512 MB
    are 81, their 135 GB through CloudFront 13, their 9 writes each 9, metrics and alarms 15, and
    all else under 6.
    """
    settings = PROD.replace(instance_type="ml.g6.xlarge", instance_count=2)
    use = Use(requests=10_000 * 5 * 730 / 24, throughput=1500)
    month = bill.month(Plan.of(settings, None), use)
    assert sum(month.values()) == pytest.approx(1750, rel=0.02)
    assert month["SageMaker, instances"] == pytest.approx(1645, abs=1)
    assert month["Lambda, on demand"] == pytest.approx(81, abs=1)
    assert month["CloudFront"] == pytest.approx(13, abs=0.5)
    assert bill.utilisation(Plan.of(settings, None), use) == pytest.approx(0.058, abs=0.001)


def test_a_fleet_has_a_minimum_and_grows_with_the_peak() -> None:
    """Three instances are paid without a request; a stream more than they hold takes a fourth."""
    hours = 730 * price("managed_instance_hour_arm64") * (1 + price("managed_instance_fee"))
    assert bill.fleet_month(PLAN, replace(USE, requests=0.0)) == pytest.approx(3 * hours)
    intel = replace(PLAN, architecture="x86_64")
    assert bill.fleet_hour(intel) == pytest.approx(0.1008 * 1.15)
    full = 3 * 2 * 16
    streams = 70.0  # 70 and three times its root are 95.1, so 96 at the most
    at = replace(USE, requests=streams / USE.peak / USE.seconds * bill.SECONDS)
    assert (bill.most(streams), bill.fleet_size(at)) == (full, 3)
    assert bill.fleet_size(replace(at, requests=(at.requests or 0) * 1.02)) == 4


def test_streams_at_once_are_those_of_the_busiest_hour() -> None:
    """Little's law: the arrivals of a second times the seconds of an answer, times the peak."""
    use = replace(USE, requests=bill.SECONDS, peak=2.0)  # one a second, two in the peak
    assert bill.streams_at_once(use) == pytest.approx(8.0)
    assert bill.most(9.0) == 18
    assert bill.most(0.0) == 0


def test_a_throughput_that_is_not_known_is_not_assumed() -> None:
    """Without a throughput there is no utilisation, and the month's bill is the same."""
    unknown = replace(USE, throughput=None)
    assert bill.utilisation(PLAN, unknown) is None
    assert bill.month(PLAN, unknown) == bill.month(PLAN, USE)


def test_the_price_of_a_requests_tokens() -> None:
    """Prompt and completion have a price each."""
    assert bill.token_price(USE, 1.0, 2.0) == pytest.approx((500 * 1.0 + 200 * 2.0) / 1e6)


def test_the_size_of_a_token_is_the_encoders() -> None:
    """The function's encoder makes a token's chunk of 200 to 400 bytes."""
    assert 200 < bill.bytes_a_token() < 400


def test_a_web_acl_costs_by_the_request_and_an_own_one_by_the_month() -> None:
    """Of a web ACL that others pay for, only the requests are on this bill."""
    own = Plan.of(PROD.replace(web_acl="rate"), 1.0)
    assert bill.by_request(own, USE)["AWS WAF"] == price("waf_request")
    assert bill.by_month(own)["AWS WAF"] == 7.0
    theirs = replace(own, own_web_acl=False)
    assert "AWS WAF" not in bill.by_month(theirs)
    assert "AWS WAF" not in bill.by_request(PLAN, USE)


def test_a_guardrail_costs_by_its_calls() -> None:
    """The prompt costs a text unit for 1,000 characters, each window of the answer one."""
    unit = price("guardrail_content_unit") + price("guardrail_sensitive_unit")
    guarded = bill.by_request(replace(PLAN, guardrail=True), replace(USE, completion_tokens=250))
    assert guarded["Bedrock Guardrails"] == pytest.approx((2 + 10) * unit)
    long = replace(USE, prompt_tokens=3000, completion_tokens=25)
    guarded = bill.by_request(replace(PLAN, guardrail=True), long)
    assert guarded["Bedrock Guardrails"] == pytest.approx((12 + 1) * unit)
    assert "Bedrock Guardrails" not in bill.by_request(PLAN, USE)


def test_the_functions_on_a_schedule() -> None:
    """The sweeper runs each five minutes. If answers are kept, the keeper runs each minute."""
    run = price("lambda_request") + 0.25 * price("lambda_gb_second_arm64")
    run += bill.RUN_LOG / 1e9 * price("logs_gb")
    sweeper = bill.by_month(PLAN)
    assert sweeper["Lambda, schedules"] == pytest.approx(730 * 12 * run)
    assert sweeper["Secrets Manager"] == pytest.approx(1.2)
    kept = bill.by_month(replace(PLAN, persistence="asked", webhook=True))
    assert kept["Lambda, schedules"] == pytest.approx(730 * (12 + 60) * run)
    assert kept["Secrets Manager"] == pytest.approx(1.6)
    told = PROD.replace(webhook_url="https://hooks.example.org/sluice")
    assert Plan.of(told, None).webhook
    assert not Plan.of(PROD, None).webhook
    by_iam = Plan.of(PROD.replace(admin_url=False), None)
    assert bill.by_month(by_iam)["Secrets Manager"] == 0.8


def test_a_plan_is_what_the_settings_deploy() -> None:
    """Scaling, reserved concurrency and an endpoint that exists already are seen."""
    plan = Plan.of(PROD.replace(max_instances=5), 2.0)
    assert (plan.instances, plan.max_instances, plan.concurrency) == (2, 5, 200)
    assert Plan.of(DEV, None).concurrency is None
    theirs = Plan.of(DEV.replace(endpoint_name="somebody-elses"), None)
    assert "SageMaker, instances" not in bill.by_month(theirs)


DOZES = "cron(1 7 ? * MON *) 0-8"


def test_an_endpoint_that_scales_to_zero_costs_nothing_idle() -> None:
    """Nobody calls: no instance. In a month with requests those run that are given."""
    settings = DEV.replace(instance_type="ml.g6e.48xlarge", scale_to_zero=True)
    asleep = Plan.of(settings, None)
    assert sum(bill.by_month(asleep).values()) < 20
    nobody = bill.month(asleep, replace(USE, requests=0.0))
    assert sum(nobody.values()) == pytest.approx(sum(bill.by_month(asleep).values()))
    hour = asleep.instance_hour * 730
    assert bill.month(asleep, USE)["SageMaker, instances"] == pytest.approx(hour)
    some = Plan.of(settings, None, 0.25)
    assert bill.month(some, USE)["SageMaker, instances"] == pytest.approx(hour / 4)
    assert bill.utilisation(some, USE) == pytest.approx(4 * (bill.utilisation(asleep, USE) or 0))
    with pytest.raises(CommandError, match="0 to 1 run"):
        Plan.of(settings, None, 2)
    awake = settings.replace(max_instances=8, schedule=("cron(0 7 ? * MON *) 1-8", DOZES))
    assert Plan.of(awake, None).running == 1 > Plan.of(awake, None).idle


def test_a_schedule_is_paid_for() -> None:
    """The instances of its hours are on the bill, and those of the busiest hold the peak."""
    times = ("cron(0 7 ? * MON-FRI *) 8-8", "cron(0 20 ? * * *) 1-2")
    settings = DEV.replace(max_instances=8, schedule=times)
    plan = Plan.of(settings, 1.0)
    assert plan.idle == plan.running == pytest.approx((65 * 8 + 103) / 168)
    assert (plan.instances, plan.max_instances) == (8, 8)
    strange = settings.replace(schedule=("rate(1 hour) 8",))
    with pytest.raises(CommandError, match="--instances N"):
        Plan.of(strange, 1.0)
    assert Plan.of(strange, 1.0, 8).idle == 8
    with pytest.raises(CommandError, match="8 to 8 run"):
        Plan.of(strange, 1.0, 0.1)
    once = settings.replace(schedule=("at(2027-01-01T00:00:00) 4-8",))
    assert (Plan.of(once, 1.0).instances, Plan.of(once, 1.0).running) == (1, 1)


def test_a_share_of_the_requests_is_on_sockets() -> None:
    """API Gateway's messages are paid for that share, in place of CloudFront and its web ACL."""
    plan = replace(PLAN, web_acl=True)
    none, half, every = (
        bill.by_request(plan, replace(USE, sockets=share)) for share in (0.0, 0.5, 1.0)
    )
    assert "API Gateway" not in none
    assert "CloudFront" not in every
    assert "AWS WAF" not in every
    assert half["CloudFront"] == pytest.approx(none["CloudFront"] / 2)
    assert sum(every.values()) - sum(none.values()) == pytest.approx(bill.by_socket(plan, USE))


def test_a_request_beside_others_in_one_stream() -> None:
    """Several answers share the time of one invocation, so each costs less than alone."""
    plan, use = bill.Plan.of(PROD, None), bill.Use()
    assert bill.by_multiplex(plan, use, 1) == pytest.approx(bill.TAG_BYTES * 300 * 0.085 / 1e9)
    adds = [bill.by_multiplex(plan, use, members) for members in (2, 8, 16)]
    assert adds == sorted(adds, reverse=True)
    function = use.seconds * plan.memory_mb / 1024 * price("lambda_gb_second_arm64")
    assert -bill.by_stream(plan, use) < adds[-1] < -0.9 * function


def test_many_bytes_beside_others_in_one_stream() -> None:
    """What Lambda streams without charge is counted once for all of them."""
    plan = bill.Plan.of(PROD, None)
    long = bill.Use(completion_tokens=20_000, tokens_per_second=1e9, first_token=0)
    size = (bill.bytes_a_token() + bill.TAG_BYTES) * 20_000 + bill.REST_OF_RESPONSE
    over = (2 * size - 6 * 1024 * 1024) / 2 / 1e9 * price("lambda_stream_gb")
    requests = price("lambda_request") + price("cloudfront_request")
    tags = bill.TAG_BYTES * 20_000 * price("cloudfront_gb") / 1e9
    found = bill.by_multiplex(plan, long, 2)
    assert found == pytest.approx(over + tags - requests / 2, rel=0.01)


def gateway(use: Use) -> float:
    """Return what API Gateway costs for a request on a socket."""
    return bill.by_request(PLAN, replace(use, sockets=1.0))["API Gateway"]


def test_a_request_on_a_socket() -> None:
    """Its deltas are a message each, or one in 50 ms if they come faster."""
    message, minute = price("websocket_message"), price("websocket_minute")
    slow = bill.Use(completion_tokens=100, tokens_per_second=10, first_token=0)
    assert gateway(slow) == pytest.approx(109 * message + 10 / 60 * minute)
    fast = bill.Use(completion_tokens=1000, tokens_per_second=100, first_token=0)
    assert gateway(fast) == pytest.approx(209 * message + 10 / 60 * minute)
