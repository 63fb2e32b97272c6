"""The execution role of the container."""

from typing import Any

from tests.support.grants import actions, statements
from tests.support.resources import CONTAINER_ACTIONS


def test_the_container_may_pull_its_image_read_its_weights_and_log(synthesis: Any) -> None:
    """The execution role has exactly these grants."""
    assert {
        action for it in statements(synthesis, "ModelExecution") for action in actions(it)
    } == CONTAINER_ACTIONS
    (statement,) = [
        it["Resource"]
        for it in statements(synthesis, "ModelExecution")
        if actions(it) == {"s3:GetObject"}
    ]
    assert statement["Fn::Join"][1][-1].endswith(".gguf")
