"""The domain's certificate."""

import json
from pathlib import Path

import pytest
from aws_cdk import Environment

from infra.compose import compose
from infra.settings.deployment import (
    DEV,
)
from tests.support.synthesis import new_app


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_certificate_is_made_where_cloudfront_reads_it(
    project: Path, tmp_path: Path, region: str
) -> None:
    """A domain with a zone gets a certificate in us-east-1, in whatever region the service is.

    Records in the zone prove the ownership.
    """
    app = new_app(tmp_path)
    settings = DEV.replace(domain="api.example.org", hosted_zone="Z0123456789ABC:example.org")
    env = Environment(account="123456789012", region=region)
    _, service = compose(app, settings=settings, root=project, env=env)
    stacks = {stack.stack_name: stack for stack in app.synth().stacks}
    name = str(settings.certificate_stack)
    certificate_stack = stacks[name]
    assert certificate_stack.environment.region == "us-east-1"
    (certificate,) = [
        it
        for it in certificate_stack.template["Resources"].values()
        if "CertificateManager" in it["Type"]
    ]
    assert certificate["Properties"]["DomainName"] == "api.example.org"
    assert certificate["Properties"]["ValidationMethod"] == "DNS"
    [option] = certificate["Properties"]["DomainValidationOptions"]
    assert option["HostedZoneId"] == "Z0123456789ABC"
    service_stack = stacks[service.stack_name]
    assert service_stack.environment.region == region
    assert name in [it.id for it in service_stack.dependencies]
    (edge,) = [
        it
        for it in service_stack.template["Resources"].values()
        if it["Type"] == "AWS::CloudFront::Distribution"
    ]
    assert name.replace("-", "") in json.dumps(edge).replace("-", "")
    other = settings.replace(domain="api2.example.org")
    assert other.certificate_stack != name  # so that the service can switch from one to the other
