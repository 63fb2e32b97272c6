"""The control function."""

from pathlib import Path

from tests.support.synthesis import synthesise


def test_without_its_url_the_admin_api_is_iams_alone(project: Path, tmp_path: Path) -> None:
    """With `admin_url` false there is no second URL, no behaviour and no admin secret.

    Only lambda:InvokeFunction leads to the admin API.
    """
    synthesis = synthesise("dev", project, tmp_path, admin_url=False)
    assert len(synthesis.resources("AWS::Lambda::Url")) == 2
    behaviours = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    patterns = [it["PathPattern"] for it in behaviours["CacheBehaviors"]]
    assert "/admin/*" not in patterns
    assert len(synthesis.resources("AWS::SecretsManager::Secret")) == 2  # the distribution's
    assert "AdminSecretArn" not in synthesis.service["Outputs"]
