"""The origin secret."""

from typing import Any

from tests.support.synthesis import FUNCTIONS


def test_the_origin_secret_is_never_in_a_template(synthesis: Any) -> None:
    """CloudFormation generates the secret. Functions and distribution get it by reference."""
    variables = synthesis.function(FUNCTIONS["Stream"])["Environment"]["Variables"]
    control = synthesis.function(FUNCTIONS["Control"])["Environment"]["Variables"]
    assert control["SLUICE_ORIGIN_SECRET_PREVIOUS"] == variables["SLUICE_ORIGIN_SECRET_PREVIOUS"]
    for origin in synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]["Origins"]:
        if "S3OriginConfig" in origin:  # the playground's, which is public
            continue
        (header,) = origin["OriginCustomHeaders"]
        assert header["HeaderName"] == "x-sluice-origin-secret"
        assert (
            header["HeaderValue"]
            == variables["SLUICE_ORIGIN_SECRET"]
            == control["SLUICE_ORIGIN_SECRET"]
        )
        assert header["HeaderValue"] != variables["SLUICE_ORIGIN_SECRET_PREVIOUS"]
    for name in ("SLUICE_ORIGIN_SECRET", "SLUICE_ORIGIN_SECRET_PREVIOUS"):
        start, reference, end = variables[name]["Fn::Join"][1]
        assert (start, end) == ("{{resolve:secretsmanager:", ":SecretString:::}}")
        secret = synthesis.service["Resources"][reference["Ref"]]["Properties"]
        assert secret["GenerateSecretString"] == {"ExcludePunctuation": True, "PasswordLength": 48}
        assert "SecretString" not in secret
