"""The scenarios to run: all of them, or only those that some of the targets need."""

from bench.adapter.rows import Scenario

OURS = ("sluice", "sluice-uvicorn")
PEERS = ("fastapi-boto3", "litellm")
ALL = (*OURS, *PEERS, "relay")

QUICK = (
    Scenario(rate=0, streams=1, tokens=100, requests=30, servers=("sluice", "fastapi-boto3")),
    Scenario(rate=0, streams=8, tokens=500, servers=("sluice", *PEERS, "relay")),
    Scenario(rate=0, streams=8, tokens=500, requests=4, merged=True, servers=("sluice",)),
    Scenario(rate=0, streams=32, tokens=500, servers=("sluice", *PEERS, "relay")),
    Scenario(rate=50, streams=32, tokens=200, servers=("sluice", "fastapi-boto3", "relay")),
    Scenario(rate=20, streams=128, tokens=40, servers=("sluice",)),
)
"""The scenarios that the targets need, in under five minutes. LiteLLM takes most of that."""

_BESIDE = ("sluice", "sluice-uvloop", "fastapi-boto3", "relay")
PACED = tuple(
    Scenario(rate=rate, streams=streams, tokens=rate * 4, servers=_BESIDE)
    for streams in (32, 128)
    for rate in (20, 50, 100)
)
"""Streams at the pace of real models, which all begin at once. A round takes some two minutes."""


def full() -> tuple[Scenario, ...]:
    """Return every mode at every number of streams, for every server.

    A round takes about twenty minutes.
    """
    scenarios = []
    for streams in (1, 8, 32, 128):
        per_invocation = ("sluice-per-invocation", "sluice-one-connection")
        flat = Scenario(
            rate=0,
            streams=streams,
            tokens=500,
            requests=4 if streams == 1 else 1,
            servers=(*ALL, *per_invocation),
        )
        scenarios.append(flat)
        scenarios += [
            Scenario(rate=rate, streams=streams, tokens=rate * 4, servers=(*ALL, *per_invocation))
            for rate in (20, 50, 100, 200)
        ]
        scenarios.append(
            Scenario(rate=0, streams=streams, tokens=500, merged=True, servers=("sluice",))
        )
    scenarios.append(QUICK[0])
    return tuple(scenarios)
