"""Updates of an endpoint."""

from tests.support.synthesis import Synthesis, variant


def test_production_shifts_to_a_canary_and_back_on_alarm(syntheses: dict[str, Synthesis]) -> None:
    """An update of two instances begins with one of them. Either alarm rolls it back."""
    prod = syntheses["prod"]
    deployment = prod.the("AWS::SageMaker::Endpoint")["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing == {
        "Type": "CANARY",
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 300,
    }
    alarms = {
        key: it["Properties"]
        for key, it in prod.service["Resources"].items()
        if it["Type"] == "AWS::CloudWatch::Alarm"
        and it["Properties"].get("Namespace") == "AWS/SageMaker"
    }
    named = [it["AlarmName"]["Ref"] for it in deployment["AutoRollbackConfiguration"]["Alarms"]]
    assert set(named) == set(alarms)
    assert {it["MetricName"] for it in alarms.values()} == {
        "Invocation5XXErrors",
        "InvocationModelErrors",
    }
    for alarm in alarms.values():
        assert {it["Name"]: it["Value"] for it in alarm["Dimensions"]} == {
            "EndpointName": "sluice-prod",
            "VariantName": "primary",
        }
    assert variant(prod)["InitialInstanceCount"] == 2


def test_one_instance_is_replaced_at_once(syntheses: dict[str, Synthesis]) -> None:
    """A single instance has no canary. The alarms watch the new one before the old one goes."""
    deployment = syntheses["dev"].the("AWS::SageMaker::Endpoint")["DeploymentConfig"]
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert routing == {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 300}
