"""The distribution."""

import json
import re
from typing import Any

PAGE = ("/", "/index.html", "/assets/*")
"""The playground's patterns."""


def of_functions(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the behaviours that lead to functions, the default one first."""
    others = [it for it in config["CacheBehaviors"] if it["PathPattern"] not in PAGE]
    return [config["DefaultCacheBehavior"], *others]


def test_the_distribution_passes_streams_on_untouched(synthesis: Any) -> None:
    """The distribution does not cache, compress, redirect or restrict methods.

    A connection ends after a silent minute.
    """
    config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    for behaviour in of_functions(config):
        assert (
            behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        )  # the id of AWS's CachingDisabled
        assert (
            behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
        )  # the id of AllViewerExceptHostHeader
        assert behaviour["Compress"] is False
        assert behaviour["ViewerProtocolPolicy"] == "https-only"
        assert len(behaviour["AllowedMethods"]) == 7
    assert config["HttpVersion"] == "http2and3"
    for origin in config["Origins"]:
        if "S3OriginConfig" in origin:  # the playground's
            continue
        assert origin["CustomOriginConfig"]["OriginReadTimeout"] == 60
        assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_each_path_reaches_its_function(synthesis: Any) -> None:
    """Kept answers have a function of their own, but for what calls the model, and the admin API.

    The first pattern that matches counts, so the exceptions stand before the rule.
    """
    config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    names = {
        it["Id"]: re.findall(r"(Stream|Recall|Control)\w*Url", json.dumps(it["DomainName"]))[0]
        for it in config["Origins"]
        if "S3OriginConfig" not in it
    }
    assert sorted(names.values()) == ["Control", "Recall", "Stream"]
    assert names[config["DefaultCacheBehavior"]["TargetOriginId"]] == "Stream"
    assert [
        (it["PathPattern"], names[it["TargetOriginId"]]) for it in of_functions(config)[1:]
    ] == [
        ("/admin/*", "Control"),
        ("/v1/responses/input_tokens", "Stream"),
        ("/v1/responses/compact", "Stream"),
        ("/v1/responses/*", "Recall"),
        ("/v1/chat/completions/*", "Recall"),
        ("/v1/conversations*", "Recall"),
        ("/v1/sluice/streams*", "Recall"),
        ("/v1/websocket/*", "Recall"),
    ]


def test_browsers_are_told_not_to_guess_and_not_to_leave_https(syntheses: dict[str, Any]) -> None:
    """Every behaviour adds nosniff and no-referrer, and HSTS except in the local cloud.

    No policy touches CORS.
    """
    for stage, synthesis in syntheses.items():
        config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
        (name,) = {it["ResponseHeadersPolicyId"]["Ref"] for it in of_functions(config)}
        policy = synthesis.service["Resources"][name]["Properties"]["ResponseHeadersPolicyConfig"]
        assert policy.keys() == {"Comment", "Name", "SecurityHeadersConfig"}
        headers = policy["SecurityHeadersConfig"]
        assert headers["ContentTypeOptions"] == {"Override": True}
        assert headers["ReferrerPolicy"]["ReferrerPolicy"] == "no-referrer"
        assert ("StrictTransportSecurity" in headers) is (stage != "local")
