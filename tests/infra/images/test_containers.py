"""AWS's containers in images.json."""

import json
from pathlib import Path

from infra.images import containers


def test_the_images_name_their_origin() -> None:
    """The committed file says when and by which SDK it was written.

    It has the images of every common region.
    """
    file = json.loads((Path(__file__).parents[3] / "infra/images/images.json").read_text())
    assert file["written"] >= "2026-11-21"
    assert file["sagemaker"].startswith("3.")
    assert set(file["containers"]) == {"vllm", "sglang", "lmi", "tgi"}
    for container in containers().values():
        assert {"us-east-1", "eu-central-1", "ap-northeast-1"} <= set(container.uris)
        assert {uri.split("/")[1].partition(":")[0] for uri in container.uris.values()} == {
            container.repository
        }
