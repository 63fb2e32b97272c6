"""AWS WAF in front of the distribution: a new web ACL, an existing one, or none."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from infra.compose import compose
from infra.settings.deployment import DEV, SettingsError
from tests.support.synthesis import WEB_ACL, Synthesis, new_app

_ACL = "AWS::WAFv2::WebACL"


def stacks(project: Path, out: Path, region: str, **changes: Any) -> dict[str, Any]:
    """Return the stacks of dev with a new web ACL, for a region, by their names."""
    app = new_app(out)
    env = Environment(account="123456789012", region=region)
    compose(app, settings=DEV.replace(web_acl="rate", **changes), root=project, env=env)
    return {stack.stack_name: stack for stack in app.synth().stacks}


def limits(project: Path, out: Path, **changes: Any) -> list[int]:
    """Return the limits of dev's web ACL: below /admin/, and for all requests."""
    acl = the(stacks(project, out, "us-east-1", **changes)["sluice-dev-web-acl"].template, _ACL)
    return [it["Statement"]["RateBasedStatement"]["Limit"] for it in acl["Rules"]]


def the(template: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the properties of the only resource of a type."""
    (properties,) = [
        it["Properties"] for it in template["Resources"].values() if it["Type"] == kind
    ]
    return dict(properties)


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_one_that_is_made_is_where_cloudfront_looks(
    project: Path, tmp_path: Path, region: str
) -> None:
    """A new web ACL is of CloudFront's kind and in us-east-1.

    The distribution refers to it from another region.
    """
    by_name = stacks(project, tmp_path, region)
    web_acl, service = by_name["sluice-dev-web-acl"], by_name["sluice-dev-service"]
    assert (web_acl.environment.region, service.environment.region) == ("us-east-1", region)
    assert the(web_acl.template, _ACL)["Scope"] == "CLOUDFRONT"
    assert web_acl.stack_name in [it.id for it in service.dependencies]
    named = the(service.template, "AWS::CloudFront::Distribution")["DistributionConfig"]["WebACLId"]
    assert "webacl" in json.dumps(named).lower()


def test_it_counts_by_address_and_more_strictly_below_admin(project: Path, tmp_path: Path) -> None:
    """Two rules limit the rate over five minutes: 300 below /admin/, and the setting for all.

    A blocked request gets a 429 of the API's shape.
    """
    acl = the(
        stacks(project, tmp_path, "us-east-1", web_acl_rate=500)["sluice-dev-web-acl"].template,
        _ACL,
    )
    rates = {it["Name"]: it["Statement"]["RateBasedStatement"] for it in acl["Rules"]}
    assert {name: it["Limit"] for name, it in rates.items()} == {"AdminRate": 300, "Rate": 500}
    assert {(it["AggregateKeyType"], it["EvaluationWindowSec"]) for it in rates.values()} == {
        ("IP", 300)
    }
    narrowed = rates["AdminRate"]["ScopeDownStatement"]["ByteMatchStatement"]
    assert (narrowed["SearchString"], narrowed["PositionalConstraint"]) == (
        "/admin/",
        "STARTS_WITH",
    )
    assert [it["Type"] for it in narrowed["TextTransformations"]] == [
        "URL_DECODE",
        "NORMALIZE_PATH",
    ]
    for rule in acl["Rules"]:
        block = rule["Action"]["Block"]["CustomResponse"]
        assert block["ResponseCode"] == 429
        assert block["ResponseHeaders"] == [{"Name": "retry-after", "Value": "60"}]
        body = acl["CustomResponseBodies"][block["CustomResponseBodyKey"]]
        assert json.loads(body["Content"])["error"].keys() == {"message", "type", "param", "code"}


def test_it_neither_reads_bodies_nor_keeps_requests(project: Path, tmp_path: Path) -> None:
    """Prompts of any size pass. No samples of requests, which have keys, are kept."""
    acl = the(stacks(project, tmp_path, "us-east-1")["sluice-dev-web-acl"].template, _ACL)
    assert "Body" not in json.dumps(acl["Rules"]).replace("CustomResponseBodyKey", "")
    visibility = [acl["VisibilityConfig"], *(rule["VisibilityConfig"] for rule in acl["Rules"])]
    assert [it["SampledRequestsEnabled"] for it in visibility] == [False] * 3


def test_the_rule_for_admin_is_never_the_looser_one(project: Path, tmp_path: Path) -> None:
    """If the limit for all is lower than that below /admin/, it applies there too."""
    assert limits(project, tmp_path, web_acl_rate=20) == [20, 20]


def test_the_rate_below_admin_is_a_setting(project: Path, tmp_path: Path) -> None:
    """The limit below /admin/ is a setting, from WAF's minimum to the limit for all.

    An admin who exports much by script may need a higher one.
    """
    assert limits(project, tmp_path, web_acl_admin_rate=1200) == [1200, 3000]
    assert limits(project, tmp_path, web_acl_admin_rate=10) == [10, 3000]


def test_one_that_is_named_is_used(guarded: Synthesis) -> None:
    """An existing web ACL needs no stack, no account and no region."""
    distribution = guarded.the("AWS::CloudFront::Distribution")
    assert distribution["DistributionConfig"]["WebACLId"] == WEB_ACL


def test_there_is_none_by_default(synthesis: Synthesis) -> None:
    """By default there is no web ACL, because it costs something each month."""
    assert "WebACLId" not in synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]


def test_one_that_is_made_needs_to_know_where(project: Path, tmp_path: Path) -> None:
    """Without credentials, account and region are unknown. The error says so."""
    with pytest.raises(SettingsError, match=r"sluice-dev-web-acl: .* set CDK_DEFAULT_ACCOUNT and"):
        compose(
            new_app(tmp_path),
            settings=DEV.replace(web_acl="rate"),
            root=project,
        )
