"""The playground's bucket, its behaviours and its headers."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"


def served(synthesis: Any) -> dict[str, dict[str, Any]]:
    """Return the behaviours that lead to the bucket, by their patterns."""
    config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    origins = {it["Id"] for it in config["Origins"] if "S3OriginConfig" in it}
    return {
        it["PathPattern"]: it for it in config["CacheBehaviors"] if it["TargetOriginId"] in origins
    }


def test_only_the_page_and_its_files_come_from_the_bucket(syntheses: dict[str, Any]) -> None:
    """Every other path stays the API's, so a mistyped one is answered in JSON.

    The page is never cached. Its files have their content in their names.
    """
    for stage in ("local", "dev"):
        found = served(syntheses[stage])
        assert {pattern: it["CachePolicyId"] for pattern, it in found.items()} == {
            "/": CACHING_DISABLED,
            "/index.html": CACHING_DISABLED,
            "/assets/*": CACHING_OPTIMIZED,
        }
        assert all(it["AllowedMethods"] == ["GET", "HEAD"] for it in found.values())
        config = syntheses[stage].the("AWS::CloudFront::Distribution")["DistributionConfig"]
        assert config["DefaultRootObject"] == "index.html"


def test_production_has_no_page(syntheses: dict[str, Any]) -> None:
    """The default there is an API alone."""
    config = syntheses["prod"].the("AWS::CloudFront::Distribution")["DistributionConfig"]
    assert served(syntheses["prod"]) == {}
    assert "DefaultRootObject" not in config
    assert syntheses["prod"].resources("Custom::SluicePlayground") == []


def test_nobody_but_the_distribution_reads_the_bucket(syntheses: dict[str, Any]) -> None:
    """The bucket is private, and its policy allows reading to this distribution alone."""
    for stage in ("local", "dev"):
        synthesis = syntheses[stage]
        (bucket,) = [
            it["Properties"]
            for name, it in synthesis.service["Resources"].items()
            if it["Type"] == "AWS::S3::Bucket" and name.startswith("Playground")
        ]
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        (policy,) = [
            it["Properties"]["PolicyDocument"]["Statement"]
            for name, it in synthesis.service["Resources"].items()
            if it["Type"] == "AWS::S3::BucketPolicy" and name.startswith("Playground")
        ]
        (allowed,) = [it for it in policy if it["Effect"] == "Allow"]
        assert allowed["Action"] == "s3:GetObject"
        assert allowed["Principal"] == {"Service": "cloudfront.amazonaws.com"}
        assert "AWS:SourceArn" in allowed["Condition"]["StringEquals"]


def test_the_page_has_the_headers_of_the_file(syntheses: dict[str, Any]) -> None:
    """`web/headers.json` is what the distribution sends, HSTS aside, and what browsers test."""
    wanted = json.loads((ROOT / "web/headers.json").read_text())
    for stage in ("local", "dev"):
        (name,) = {it["ResponseHeadersPolicyId"]["Ref"] for it in served(syntheses[stage]).values()}
        config = syntheses[stage].service["Resources"][name]["Properties"][
            "ResponseHeadersPolicyConfig"
        ]
        security = config["SecurityHeadersConfig"]
        sent = {it["Header"]: it["Value"] for it in config["CustomHeadersConfig"]["Items"]}
        sent["Content-Security-Policy"] = security["ContentSecurityPolicy"]["ContentSecurityPolicy"]
        sent["X-Content-Type-Options"] = "nosniff"
        sent["X-Frame-Options"] = security["FrameOptions"]["FrameOption"]
        sent["Referrer-Policy"] = security["ReferrerPolicy"]["ReferrerPolicy"]
        assert sent == wanted
        assert ("StrictTransportSecurity" in security) is (stage != "local")


def test_the_policy_lets_no_foreign_code_in() -> None:
    """No directive has `unsafe-`, another origin, or a wildcard."""
    policy = json.loads((ROOT / "web/headers.json").read_text())["Content-Security-Policy"]
    directives = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    assert directives["default-src"] == ["'none'"]
    sources = {source for values in directives.values() for source in values}
    assert sources <= {"'none'", "'self'", "data:", "'script'", "dompurify"}
    assert {name for name, values in directives.items() if "data:" in values} == {"img-src"}


def test_the_function_reads_one_archive_and_writes_one_bucket(syntheses: dict[str, Any]) -> None:
    """The role of the copying function has no other resource."""
    (policy,) = [
        it["Properties"]["PolicyDocument"]["Statement"]
        for name, it in syntheses["dev"].service["Resources"].items()
        if it["Type"] == "AWS::IAM::Policy" and name.startswith("PlaygroundCopies")
    ]
    actions = {
        action: json.dumps(statement["Resource"])
        for statement in policy
        for action in (
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
    }
    assert actions.keys() == {"s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"}
    assert ".zip" in actions.pop("s3:GetObject")
    assert all("PlaygroundBucket" in resource for resource in actions.values())
