"""The control function."""

from pathlib import Path

from tests.support.synthesis import synthesise


def test_without_its_url_the_admin_api_is_iams_alone(project: Path, tmp_path: Path) -> None:
    """With `admin_url` false there is no second URL, no behaviour and no admin secret.

    Only lambda:InvokeFunction leads to the admin API.
    """
    synthesis = synthesise("dev", project, tmp_path, admin_url=False)
    assert len(synthesis.resources("AWS::Lambda::Url")) == 1
    assert (
        "CacheBehaviors" not in synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    )
    assert len(synthesis.resources("AWS::SecretsManager::Secret")) == 2  # the distribution's
    assert "AdminSecretArn" not in synthesis.service["Outputs"]
