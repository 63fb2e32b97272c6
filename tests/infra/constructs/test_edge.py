"""The distribution."""

from typing import Any


def test_the_distribution_passes_streams_on_untouched(synthesis: Any) -> None:
    """Nothing is cached, compressed, redirected or filtered by method; a silent minute ends a
    connection.
    """
    config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    (admin,) = config["CacheBehaviors"]
    assert admin["PathPattern"] == "/admin/*"
    assert admin["TargetOriginId"] != config["DefaultCacheBehavior"]["TargetOriginId"]
    for behaviour in (config["DefaultCacheBehavior"], admin):
        # AWS's CachingDisabled
        assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        # AllViewerExceptHostHeader
        assert behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
        assert behaviour["Compress"] is False
        assert behaviour["ViewerProtocolPolicy"] == "https-only"
        assert len(behaviour["AllowedMethods"]) == 7
    assert config["HttpVersion"] == "http2and3"
    for origin in config["Origins"]:
        assert origin["CustomOriginConfig"]["OriginReadTimeout"] == 60
        assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_browsers_are_told_not_to_guess_and_not_to_leave_https(syntheses: dict[str, Any]) -> None:
    """Every behaviour adds nosniff, no-referrer and, off the local cloud, HSTS; no policy touches
    CORS.
    """
    for stage, synthesis in syntheses.items():
        config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
        behaviours = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
        (name,) = {it["ResponseHeadersPolicyId"]["Ref"] for it in behaviours}
        policy = synthesis.service["Resources"][name]["Properties"]["ResponseHeadersPolicyConfig"]
        assert policy.keys() == {"Comment", "Name", "SecurityHeadersConfig"}
        headers = policy["SecurityHeadersConfig"]
        assert headers["ContentTypeOptions"] == {"Override": True}
        assert headers["ReferrerPolicy"]["ReferrerPolicy"] == "no-referrer"
        assert ("StrictTransportSecurity" in headers) is (stage != "local")
