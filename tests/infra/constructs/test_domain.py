"""The deployment's domain."""

from tests.support.synthesis import CERTIFICATE, Synthesis


def test_a_domain_has_its_certificate_and_records(existing: Synthesis) -> None:
    """The distribution serves the domain with at least TLS 1.2.

    Route 53 has an A and an AAAA record for it.
    """
    config = existing.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    assert config["Aliases"] == ["api.example.org"]
    assert config["ViewerCertificate"] == {
        "AcmCertificateArn": CERTIFICATE,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    records = [it["Properties"] for it in existing.resources("AWS::Route53::RecordSet")]
    assert {it["Type"] for it in records} == {"A", "AAAA"}
    assert {it["Name"] for it in records} == {"api.example.org."}
    assert existing.service["Outputs"]["Domain"]["Value"] == "api.example.org"
