"""The dashboard. `tests/e2e/test_metrics.py` compares its metrics with a run's."""

import json
import re
from typing import Any

from tests.support.synthesis import Synthesis


def body(synthesis: Synthesis) -> list[dict[str, Any]]:
    """Return the dashboard's widgets, with each reference replaced by its name."""
    text = synthesis.the("AWS::CloudWatch::Dashboard")["DashboardBody"]
    if isinstance(text, dict):
        parts = text["Fn::Join"][1]
        text = "".join(
            part if isinstance(part, str) else next(iter(part.values())) for part in parts
        )
    return list(json.loads(text)["widgets"])


def lines(widgets: list[dict[str, Any]]) -> list[list[Any]]:
    """Return the lines of all widgets."""
    return [line for it in widgets for line in it["properties"].get("metrics", [])]


def test_rows_are_in_the_order_of_questions(synthesis: Synthesis) -> None:
    """What clients feel is on top, then why, then what it runs on; no widget covers another."""
    widgets = body(synthesis)
    assert [it["properties"]["title"] for it in widgets[:4]] == [
        "Completion rate",
        "Time to first token",
        "Streams at once",
        "Cost of tokens an hour",
    ]
    places = [(it["x"], it["y"]) for it in widgets]
    assert len(set(places)) == len(places) == 24
    assert all(it["x"] + it["width"] <= 24 for it in widgets)


def test_expressions_name_lines_of_their_widget(synthesis: Synthesis) -> None:
    """Each id in an expression is that of a metric beside it, and each metric has dimensions."""
    for widget in body(synthesis):
        found = widget["properties"].get("metrics", [])
        ids = {line[-1].get("id") for line in found}
        for line in found:
            if "expression" in line[0]:
                named = set(re.findall(r"\b[a-z]\w*\b", line[0]["expression"]))
                assert named <= ids
            else:
                assert len(line) >= 5
                assert isinstance(line[-1], dict)


def test_the_ceiling_of_streams_is_shown_where_there_is_one(
    syntheses: dict[str, Synthesis],
) -> None:
    """Streams are shown against the reserved concurrency."""

    def ceilings(stage: str) -> list[str]:
        return [
            line[0]["expression"]
            for line in lines(body(syntheses[stage]))
            if isinstance(line[0], dict) and line[0]["label"] == "ceiling"
        ]

    assert ceilings("prod") == ["200 + 0 * streams"]
    assert ceilings("dev") == []


def test_an_endpoint_that_exists_has_no_row(existing: Synthesis) -> None:
    """Of an endpoint that others made, the dimensions are not known. Every model has its lines."""
    found = lines(body(existing))
    assert not [line for line in found if "SageMaker" in line[0] or "sagemaker" in line[0]]
    models = {line[line.index("Model") + 1] for line in found if "Model" in line}
    assert models == {"sluice-demo", "other"}


def test_where_nothing_is_kept_there_is_no_row_of_it(unkept: Synthesis) -> None:
    """Without kept answers there is neither a recall function nor a stream table to show."""
    titles = [it["properties"]["title"] for it in body(unkept)]
    assert len(titles) == 20
    assert "Recall function" not in titles
