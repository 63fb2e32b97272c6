"""The security rules that every synthesis applies."""

from pathlib import Path

import pytest
from aws_cdk import aws_s3 as s3

from infra.compose import compose
from infra.settings.deployment import DEV
from tests.support.synthesis import new_app


def test_a_finding_that_is_not_accepted_stops_the_synthesis(project: Path, tmp_path: Path) -> None:
    """A finding of the security rules that is not accepted stops every synthesis.

    So the synthesis of each stage shows that the stage passes them.
    """
    app = new_app(tmp_path)
    state, _ = compose(app, settings=DEV, root=project)
    s3.Bucket(state, "Open")
    with pytest.raises(RuntimeError, match="AwsSolutions-S10"):
        app.synth()
