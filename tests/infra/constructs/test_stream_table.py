"""The table of kept answers."""

from typing import Any

import pytest

from infra.constructs.stream_table import INDEX, PROJECTED, WATCHED
from infra.settings.deployment import SettingsError, of_stage
from lambda_fn.stream_log import keys
from tests.support.grants import statements
from tests.support.synthesis import KEY, Synthesis


def test_what_is_deleted_cannot_be_restored(synthesis: Synthesis) -> None:
    """There is no point-in-time recovery, and DynamoDB removes what has expired."""
    table = synthesis.table("Streams")["Properties"]
    (replica,) = table["Replicas"]
    assert "PointInTimeRecoverySpecification" not in replica
    assert table["TimeToLiveSpecification"] == {"AttributeName": keys.TTL, "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]


def test_the_index_has_what_lists_show(synthesis: Synthesis) -> None:
    """The index is the one that the function's code names, and projects the same attributes."""
    (index,) = synthesis.table("Streams")["Properties"]["GlobalSecondaryIndexes"]
    assert INDEX == index["IndexName"] == keys.OWNERS_INDEX
    assert tuple(key["AttributeName"] for key in index["KeySchema"]) == keys.OWNERS_INDEX_KEY
    assert index["Projection"]["ProjectionType"] == "INCLUDE"
    assert tuple(index["Projection"]["NonKeyAttributes"]) == PROJECTED == keys.OWNERS_PROJECTED


def test_the_watched_attributes_are_those_of_the_code() -> None:
    """The grant names what the function's code reads."""
    assert WATCHED == keys.WATCHED


@pytest.mark.parametrize(("stage", "kept"), [("local", False), ("dev", False), ("prod", True)])
def test_production_data_survives_its_stack(
    syntheses: dict[str, Synthesis], stage: str, kept: bool
) -> None:
    """Production's table is not deleted with the stack, and cannot be deleted by hand."""
    table = syntheses[stage].table("Streams")
    policy = "Retain" if kept else "Delete"
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == policy
    assert table["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is kept


def test_nothing_is_made_for_answers_that_are_never_kept(unkept: Synthesis) -> None:
    """With `persistence=off` there is no table, no recall function and no way to it."""
    off = unkept
    tables = [it for it in off.state["Resources"] if it.startswith("Streams")]
    recall = [it for it in off.service["Resources"] if it.startswith("Recall")]
    assert tables == recall == []
    behaviours = off.the("AWS::CloudFront::Distribution")["DistributionConfig"]["CacheBehaviors"]
    assert [it["PathPattern"] for it in behaviours][:2] == ["/admin/*", "/"]
    variables = off.function("lambda_fn.stream.main.run")["Environment"]["Variables"]
    assert variables["SLUICE_PERSISTENCE"] == "off"
    assert "SLUICE_STREAM_TABLE" not in variables
    assert "StreamTableName" not in off.state["Outputs"]
    assert "RecallFunctionName" not in off.service["Outputs"]


@pytest.mark.parametrize("owner", ["Stream", "Recall", "Sweeper", "Background"])
def test_a_key_of_the_owner_is_used_through_dynamodb_only(guarded: Synthesis, owner: str) -> None:
    """With `stream_kms_key` the table has that key, and each of its functions may use it there."""
    table = guarded.table("Streams")["Properties"]
    assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}
    (replica,) = table["Replicas"]
    assert replica["SSESpecification"] == {"KMSMasterKeyId": KEY}
    [grant] = [it for it in statements(guarded, owner) if it["Resource"] == KEY]
    assert grant["Condition"] == {"StringLike": {"kms:ViaService": "dynamodb.*.amazonaws.com"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"persistence": "some"}, "persistence=some: must be off, asked or all"),
        ({"webhook_url": "http://localhost:80/"}, "webhook_url=.*: must be https, unless"),
        ({"webhook_url": "https://10.0.0.1/"}, "webhook_url=https://10.0.0.1/: must be https://"),
        ({"background": "later"}, "background=later: must be same or invoke"),
        ({"on_log_failure": "ignore"}, "on_log_failure=ignore: must be refuse or unlogged"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], message: str) -> None:
    """A contradiction is told before anything is synthesised."""
    with pytest.raises(SettingsError, match=message):
        of_stage("dev").replace(**changes)
