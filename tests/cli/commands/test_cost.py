"""`sluice cost`."""

from dataclasses import replace

import pytest

from cli.commands.cost import (
    REST_OF_RESPONSE,
    WRITE_UNITS,
    Cost,
    Use,
    bytes_a_token,
    cost,
    instance_price,
    price,
    prices,
    show,
)
from cli.lib.project import CommandError
from infra.settings.deployment import DEV, PROD
from lambda_fn import limits

USE = Use(
    completion_tokens=200, tokens_per_second=50, first_token=0.0, throughput=1000, utilisation=0.5
)


def of(use: Use, memory_mb: int = 512) -> Cost:
    """Return the cost with one instance at 3.6 USD an hour, a thousandth of a dollar a second."""
    return cost(architecture="arm64", memory_mb=memory_mb, parallel=16, instance_hour=3.6, use=use)


def test_each_part_is_the_arithmetic_of_its_price() -> None:
    """A request's cost is the sum of its parts.

    A request of 4 s and 200 tokens pays its share of the instance, 2 GB-seconds, its bytes and its
    writes.
    """
    cost = of(USE)
    assert cost.model == pytest.approx(200 / (1000 * 0.5) * 0.001)
    assert cost.on_demand == pytest.approx(
        price("lambda_request") + 2 * price("lambda_gb_second_arm64")
    )
    assert cost.dynamodb == pytest.approx(WRITE_UNITS * price("dynamodb_write"))
    counts = [Use(completion_tokens=tokens).extensions for tokens in (300, 1000, 4000, 16_000)]
    assert counts == [0, 1, 2, 4]  # as in docs/explanation/metering.md
    bytes_sent = 200 * bytes_a_token() + REST_OF_RESPONSE
    assert cost.cloudfront == pytest.approx(
        bytes_sent / 1e9 * price("cloudfront_gb") + price("cloudfront_request")
    )


def test_rented_machines_cost_less_when_they_are_used_more() -> None:
    """Twice the utilisation halves the cost of the model and of Managed Instances.

    Services that are paid by use cost the same.
    """
    half, full = of(USE), of(replace(USE, utilisation=1.0))
    assert half.model == pytest.approx(2 * full.model)
    request = price("lambda_request")
    assert half.managed - request == pytest.approx(2 * (full.managed - request))
    assert (half.on_demand, half.cloudfront, half.dynamodb) == (
        full.on_demand,
        full.cloudfront,
        full.dynamodb,
    )


def test_every_price_has_a_source_and_the_file_a_date() -> None:
    """Every entry has a source, and the file has the date of its prices."""
    file = prices()
    assert len(file["date"]) == 10
    for entry in (*file["prices"].values(), *file["instances"].values()):
        assert entry["value"] > 0
        assert entry["source"]
        assert isinstance(entry["confirmed"], bool)


def test_the_stages_instances_have_prices() -> None:
    """The default instances have prices. The error for an unknown type names the option."""
    assert instance_price(DEV.instance_type) > 0
    assert instance_price(PROD.instance_type) > 0
    with pytest.raises(CommandError, match="--instance-hour"):
        instance_price("ml.none.large")


def test_the_size_of_a_token_is_the_encoders() -> None:
    """The function's encoder makes a token's chunk of 200 to 400 bytes."""
    assert 200 < bytes_a_token() < 400


def test_the_bill_is_printed_with_its_shares(capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways to run the function are printed, with the date of the prices.

    The shares of each add up to the whole.
    """
    show("prod", {"memory_mb": "1024"}, Use(), None)
    printed = capsys.readouterr().out
    assert printed.count("100.0%") == 2
    assert "Managed Instances" in printed
    assert prices()["date"] in printed
    with pytest.raises(CommandError, match="memory_mb"):
        show("prod", {"memory_mb": "1"}, Use(), None)
    with pytest.raises(CommandError, match="--utilisation"):
        show("prod", {}, Use(utilisation=0), None)


@pytest.mark.parametrize(
    ("changes", "use", "message"),
    [
        ({"bogus": "1"}, Use(), "bogus: there is no such setting"),
        ({}, Use(throughput=0), "--throughput"),
        ({}, Use(streams_per_vcpu=0), "--streams-per-vcpu"),
        ({}, Use(first_token=-1), "--first-token"),
    ],
)
def test_invalid_settings_and_figures_are_refused(
    changes: dict[str, str], use: Use, message: str
) -> None:
    """The error names an unknown setting and an impossible figure."""
    with pytest.raises(CommandError, match=message):
        show("prod", changes, use, None)


def test_an_answer_cannot_outlast_the_function() -> None:
    """An answer that takes longer than the stream's deadline is an error."""
    with pytest.raises(CommandError, match="deadline"):
        show("prod", {}, Use(completion_tokens=10_000, tokens_per_second=1.0), None)
    assert limits.STREAM_DEADLINE < 10_000


def test_a_web_acl_costs_by_the_request_and_the_month(capsys: pytest.CaptureFixture[str]) -> None:
    """AWS WAF's share of a request is part of the bill. Its monthly price is printed apart."""
    with_it = cost(
        architecture="arm64", memory_mb=512, parallel=16, instance_hour=3.6, use=USE, web_acl=True
    )
    assert with_it.parts(managed=False)["AWS WAF"] == price("waf_request")
    assert "AWS WAF" not in of(USE).parts(managed=False)
    show("prod", {"web_acl": "rate"}, Use(), None)
    assert "The web ACL also costs 7 USD a month" in capsys.readouterr().out


def test_a_guardrail_costs_by_its_calls() -> None:
    """A call for the prompt and one for each window of the answer, a text unit each."""
    with_it = cost(
        architecture="arm64",
        memory_mb=512,
        parallel=16,
        instance_hour=3.6,
        use=Use(completion_tokens=250),
        guardrail=True,
    )
    unit = price("guardrail_content_unit") + price("guardrail_sensitive_unit")
    assert with_it.parts(managed=True)["Bedrock Guardrails"] == pytest.approx(11 * unit)
    assert "Bedrock Guardrails" not in of(USE).parts(managed=True)
