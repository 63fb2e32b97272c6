"""The embedded metric format."""

from lambda_fn.emf import Directive, embedded


def test_a_directive_names_metrics_units_and_dimensions() -> None:
    """The member has the format's own names. A directive without metrics is left out."""
    directives = [Directive({"A": "Count", "B": "Seconds"}, [["D"], ["D", "E"]]), Directive({}, [])]
    assert embedded(directives, now=1.5) == {
        "_aws": {
            "Timestamp": 1500,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Sluice",
                    "Dimensions": [["D"], ["D", "E"]],
                    "Metrics": [{"Name": "A", "Unit": "Count"}, {"Name": "B", "Unit": "Seconds"}],
                }
            ],
        }
    }
