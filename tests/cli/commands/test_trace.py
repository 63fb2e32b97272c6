"""`sluice trace`: which spans it finds in moto's log group, and how it draws them."""

import json
import time
from typing import Any

import boto3
import pytest
from rich.text import Text

from cli.commands.trace import drawn
from cli.main import main
from lambda_fn.ids import new_request_id

REQUEST = new_request_id()
TRACE = "a" * 32
NOW = time.time_ns()


def span(name: str, number: int, parent: int | None = None, **fields: Any) -> dict[str, Any]:
    """Return a span that begins `number` times 100 ms after the first one could."""
    return {
        "resource": {"attributes": {"service.name": f"service-{number}"}},
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": name,
        "startTimeUnixNano": NOW + number * 10**8,
        "endTimeUnixNano": NOW + 10**9,
        "attributes": {},
        "events": [],
        "status": {"code": "UNSET"},
        **({} if parent is None else {"parentSpanId": f"{parent:016x}"}),
        **fields,
    }


OWN = span(
    "chat m",
    1,
    0,
    attributes={
        "sluice.request_id": REQUEST,
        "sluice.cause": "Upstream",
        "gen_ai.response.finish_reasons": ["stop"],
    },
    events=[{"timeUnixNano": NOW + 2 * 10**8, "name": "admitted"}],
    status={"code": "ERROR", "message": "Upstream"},
)
SPANS = [
    span("the caller", 0),
    OWN,
    span("generate m", 2, 1),
    {**span("another trace", 3), "traceId": "b" * 32, "note": TRACE},
    {**span("another request", 4), "traceId": "c" * 32, "note": REQUEST},
]


@pytest.fixture
def logs(account: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return boto3's client of an account with spans and lines that are none."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    client = boto3.client("logs", region_name="eu-central-1")
    client.create_log_group(logGroupName="aws/spans")
    client.create_log_stream(logGroupName="aws/spans", logStreamName="default")
    lines = [*map(json.dumps, SPANS), f"{TRACE} no JSON", json.dumps({"traceId": TRACE})]
    client.put_log_events(
        logGroupName="aws/spans",
        logStreamName="default",
        logEvents=[{"timestamp": NOW // 10**6, "message": line} for line in lines],
    )
    return client


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize(
    "identifier",
    [REQUEST, f"req_{REQUEST}", f"chatcmpl-{REQUEST}", TRACE],
    ids=["id", "header", "completion", "trace"],
)
def test_the_spans_of_a_request(identifier: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They are all spans of the request's trace, those of its caller too, and no others."""
    assert main(["trace", identifier, "--stage", "dev", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [it["name"] for it in found] == ["the caller", "chat m", "generate m"]


@pytest.mark.usefixtures("logs")
def test_the_drawing(capsys: pytest.CaptureFixture[str]) -> None:
    """Each span stands below its caller, with its events, its time and why it failed."""
    assert main(["trace", REQUEST, "--stage", "dev"]) == 0
    out = capsys.readouterr().out
    assert f"trace {TRACE}" in out
    assert "  service-1 · chat m  900 ms Upstream" in out
    assert "200 ms admitted" in out
    assert "    service-2 · generate m  800 ms" in out


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("identifier", [REQUEST, TRACE], ids=["id", "trace"])
def test_nothing_is_found(
    identifier: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a log group, the error says what spans need."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert main(["trace", identifier, "--stage", "dev"]) == 1
    assert "traces=cloudwatch" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "identifier",
    ["", "x", "A" * 32, "a" * 33, f"{REQUEST}\n", "i" * 26],
    ids=["empty", "short", "upper case", "long", "line end", "no base32"],
)
def test_what_is_no_id(identifier: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused before anything is asked."""
    with pytest.raises(SystemExit) as ended:
        main(["trace", identifier])
    assert ended.value.code == 2
    assert "neither a request's id nor a trace's" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(0.0, "0"), (8.8e-08, "0.000000088"), (1e-09, "0.000000001"), (12.5, "12.5")],
)
def test_a_small_cost_is_shown_in_full(cost: float, shown: str) -> None:
    """It has no exponent, and is 0 only if nothing is to be paid."""
    [_, *_, line] = drawn([span("chat m", 0, attributes={"sluice.cost_usd": cost})])
    assert line == f"  cost in USD: {shown}"


def test_the_demo_model_fits_the_terminal() -> None:
    """The drawing of a request to a deployment with the usual names has at most 80 columns."""
    named = {"resource": {"attributes": {"service.name": "sluice-local-model"}}}
    lines = drawn(
        [
            span("chat sluice-demo", 0),
            {**span("generate sluice-demo", 1, 0, endTimeUnixNano=NOW + 10**10), **named},
        ]
    )
    assert max(Text.from_markup(line).cell_len for line in lines) <= 80


def test_hostile_spans() -> None:
    """Names of others draw nothing, and a ring of spans is not followed."""
    hostile = "[red]\x1b[2J\u202e"
    lines = list(
        drawn(
            [
                span(hostile, 0, events=[{"timeUnixNano": 0, "name": hostile}]),
                span("ring", 1, 2),
                span("ring", 2, 1),
                span("itself", 3, 3),
            ]
        )
    )
    assert "\x1b" not in "".join(lines)
    assert "\\[red]" in "".join(lines)
    assert not any("ring" in line or "itself" in line for line in lines)
