"""The recall function."""

from tests.support.synthesis import FUNCTIONS, Synthesis


def test_it_is_the_stream_functions_package_with_a_concurrency_of_its_own(
    synthesis: Synthesis,
) -> None:
    """It runs under our runtime, as long as the stream function, from the same code."""
    stream = synthesis.function(FUNCTIONS["Stream"])
    recall = synthesis.function(FUNCTIONS["Recall"])
    same = ("Code", "MemorySize", "Runtime", "Timeout", "TracingConfig", "Architectures")
    assert {name: recall[name] for name in same} == {name: stream[name] for name in same}
    assert recall["Role"] != stream["Role"]
    assert recall["LoggingConfig"]["LogGroup"] != stream["LoggingConfig"]["LogGroup"]


def test_it_has_the_variables_that_it_needs_and_no_others(synthesis: Synthesis) -> None:
    """Both functions of the public API have the same tables, models and secrets."""
    stream = synthesis.function(FUNCTIONS["Stream"])["Environment"]["Variables"]
    recall = synthesis.function(FUNCTIONS["Recall"])["Environment"]["Variables"]
    assert recall.items() <= stream.items()
    only_for_requests = (
        "METER_OPEN STRICT LOOSE_TOOL_HISTORY ON_CUT FALLBACKS REDACTION MODERATION EVENT_LOOP"
    )
    assert stream.keys() - recall.keys() == {f"SLUICE_{it}" for it in only_for_requests.split()}
