"""Settings that would have no effect beside others are refused."""

from typing import Any

import pytest

from infra.settings.deployment import PROD, SettingsError, of_stage
from infra.settings.effects import BOUNDS, NEEDS
from tests.support.synthesis import CERTIFICATE, KEY

OFF = {"persistence": "off"}
PRICES = {"prompt_price": 1.0, "completion_price": 1.0}
IMAGES = {"max_images": 1, "engine": "vllm", "instance_type": "ml.g6.xlarge", "weights": "hf:a/b"}
THEIRS = {"endpoint_name": "theirs"}
VPC = {"subnets": ("subnet-1", "subnet-2"), "security_groups": ("sg-1",)}

UNUSED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # what is set, with what it has no effect, and with what it has one
    ({"store_default": False}, OFF, {}),
    ({"log_hours": 2}, OFF, {}),
    ({"response_days": 2}, OFF, {}),
    ({"on_log_failure": "refuse"}, OFF, {}),
    ({"background": "invoke"}, OFF, {}),
    ({"background_per_key": 2}, OFF, {}),
    ({"background_at_once": 2}, OFF, {}),
    ({"background_wait_hours": 2}, OFF, {}),
    ({"recall_per_key": 2}, OFF, {}),
    ({"stream_kms_key": KEY}, OFF, {}),
    ({"webhook_url": "https://a.bc"}, OFF, {}),
    ({"completion_alarm": 90.0}, {"metrics": False}, {}),
    ({"completion_slo": 90.0}, {"metrics": False}, {}),
    ({"ttft_alarm_seconds": 2.0}, {"metrics": False}, {}),
    ({"alarm_traffic": 2}, {"metrics": False}, {}),
    ({"hourly_cost_alarm": 2.0}, {**PRICES, "metrics": False}, PRICES),
    ({"hourly_cost_alarm": 2.0}, {}, PRICES),
    ({"monthly_ceiling": 2.0}, {}, PRICES),
    ({"trace_ratio": 0.5}, {}, {"traces": "cloudwatch"}),
    ({"trace_callers": True}, {}, {"traces": "cloudwatch"}),
    ({"trace_secret": "s"}, {}, {"traces": "https://a.bc/v1"}),
    ({"trace_secret": "s"}, {"traces": "cloudwatch"}, {"traces": "https://a.bc/v1"}),
    ({"web_acl_rate": 20}, {}, {"web_acl": "rate"}),
    ({"web_acl_admin_rate": 20}, {}, {"web_acl": "rate"}),
    ({"web_acl_admin_rate": 20}, {"web_acl": "rate", "admin_url": False}, {"web_acl": "rate"}),
    ({"certificate_arn": CERTIFICATE}, {}, {"domain": "a.bc"}),
    ({"hosted_zone": "Z1:a.bc"}, {}, {"domain": "a.bc"}),
    ({"requests_per_instance": 2}, {}, {"max_instances": 3}),
    ({"scale_in_seconds": 2}, {}, {"max_instances": 3}),
    ({"schedule_timezone": "Europe/Rome"}, {}, {"max_instances": 3, "schedule": ("at(x) 2",)}),
    ({"kms_key": KEY}, THEIRS, {}),
    (VPC, THEIRS, {}),
    ({"security_groups": ("sg-1",), "subnets": VPC["subnets"]}, THEIRS, {}),
    ({"network_isolation": True}, THEIRS, {}),
    ({"ami_version": "al2-ami-sagemaker-inference-gpu-3-1"}, THEIRS, {}),
    ({"download_seconds": 90}, THEIRS, {}),
    ({"canary_seconds": 90}, THEIRS, {}),
    ({"image_hosts": ("a.bc",)}, {}, IMAGES),
    ({"image_tokens": 90}, {}, IMAGES),
    ({"guardrail_mode": "async"}, {}, {"guardrail": "abc:1"}),
    ({"guardrail_open": True}, {}, {"guardrail": "abc:1"}),
    ({"moderate_mode": "score"}, {}, {"moderate_words": {"x": "bomb"}}),
]
TOO_LARGE: list[tuple[str, Any, Any, dict[str, Any], dict[str, Any]]] = [
    # a setting, a value that has an effect and one that has none, beside what, and without a limit
    ("recall_per_key", 19, 20, {"recall_concurrency": 20}, {"reserved_concurrency": None}),
    ("default_max_streams", 20, 21, {"reserved_concurrency": 20}, {"reserved_concurrency": None}),
    ("background_at_once", 5, 6, {"reserved_concurrency": 10}, {"reserved_concurrency": None}),
    ("log_hours", 48, 49, {"response_days": 2}, {"response_days": 3}),
    ("background_wait_hours", 24, 25, {"response_days": 1, "log_hours": 1}, {"response_days": 2}),
    ("default_max_tokens", 99, 100, {"context_tokens": 99}, {"context_tokens": 100}),
    ("image_tokens", 99, 100, {**IMAGES, "context_tokens": 99}, {"context_tokens": 100}),
    ("hourly_cost_alarm", 5.0, 6.0, {**PRICES, "monthly_ceiling": 5.0}, {"monthly_ceiling": None}),
]


def test_every_rule_has_a_case() -> None:
    """Each setting of the rules is in one of the tables above."""
    assert {name for row in NEEDS for name in row.names} == {
        name for given, _, _ in UNUSED for name in given
    }
    assert [bound.name for bound in BOUNDS] == [row[0] for row in TOO_LARGE]


@pytest.mark.parametrize(("given", "without", "beside"), UNUSED)
def test_a_setting_of_what_is_off(
    given: dict[str, Any], without: dict[str, Any], beside: dict[str, Any]
) -> None:
    """It is refused by its name, and accepted as soon as it has an effect."""
    with pytest.raises(SettingsError, match=f"^({'|'.join(given)}): has no effect without "):
        PROD.replace(**without, **given)
    assert PROD.replace(**beside, **given)
    assert PROD.replace(**without)


@pytest.mark.parametrize(("name", "most", "void", "beside", "unlimited"), TOO_LARGE)
def test_a_bound_behind_another(
    name: str, most: Any, void: Any, beside: dict[str, Any], unlimited: dict[str, Any]
) -> None:
    """A bound that another one is reached before is refused, with both numbers."""
    assert PROD.replace(**beside, **{name: most})
    with pytest.raises(SettingsError, match=f"^{name}={void:g}: must be (at most|under) [0-9]+, b"):
        PROD.replace(**beside, **{name: void})
    assert PROD.replace(**{**beside, **unlimited, name: void})


def test_a_local_key_may_have_all_streams() -> None:
    """The stage `local` has 200 streams of a key, whatever concurrency a test reserves."""
    assert of_stage("local").replace(reserved_concurrency=16).default_max_streams == 200
