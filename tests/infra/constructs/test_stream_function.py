"""The stream function."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthesis import FUNCTIONS, Synthesis


def test_the_function_runs_under_our_runtime_with_bounds(synthesis: Any) -> None:
    """The function has an exec wrapper, a timeout, tracing and JSON logs.

    Its log group has a retention.
    """
    function = synthesis.function(FUNCTIONS["Stream"])
    assert function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/bootstrap"
    assert function["Handler"] == "lambda_fn.stream.main.run"
    assert function["Timeout"] == 540
    assert function["TracingConfig"] == {"Mode": "Active"}
    for handler in FUNCTIONS.values():
        assert synthesis.function(handler)["LoggingConfig"]["LogFormat"] == "JSON"
    for log in synthesis.resources("AWS::Logs::LogGroup"):
        assert log["Properties"]["RetentionInDays"] > 0


def test_the_function_names_the_component(to_zero: Synthesis) -> None:
    """The function has the component's name and dialect, and may invoke nothing else."""
    environment = to_zero.function("lambda_fn.stream.main.run")["Environment"]["Variables"]
    model = json.loads(environment["SLUICE_MODELS"])["sluice-demo"]
    assert (model["endpoint"], model["component"], model["dialect"]) == (
        "sluice-dev",
        "sluice-dev-model",
        "vllm",
    )
    text = json.dumps(to_zero.resources("AWS::IAM::Policy"))
    assert ":endpoint/sluice-dev" in text
    assert ":inference-component/sluice-dev-model" in text


def test_a_guardrail_is_granted_only_if_it_is_set(synthesis: Synthesis, guarded: Synthesis) -> None:
    """With a guardrail, the function may apply this one and no other."""
    assert "bedrock:" not in json.dumps(synthesis.resources("AWS::IAM::Policy"))
    statements = [
        statement
        for policy in guarded.resources("AWS::IAM::Policy")
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if "bedrock:ApplyGuardrail" in statement["Action"]
    ]
    (statement,) = statements
    assert statement["Action"] == "bedrock:ApplyGuardrail"
    assert json.dumps(statement["Resource"]).endswith(':guardrail/a1b2"]]}')
    variables = guarded.function(FUNCTIONS["Stream"])["Environment"]["Variables"]
    assert json.loads(variables["SLUICE_MODERATION"])["guardrail"]["id"] == "a1b2"


@pytest.mark.parametrize("function", ["Stream", "Recall"])
def test_the_exec_wrapper_starts_the_module_that_the_handler_names(
    synthesis: Synthesis, function: str
) -> None:
    """Lambda executes the wrapper, which runs the module of the handler as a program."""
    wrapper = Path(__file__).parents[3] / "lambda_fn/bootstrap"
    handler = synthesis.function(FUNCTIONS[function])["Handler"]
    printed = subprocess.run(
        ["/bin/sh", wrapper, "echo", "bootstrap.py"],
        env={"LAMBDA_TASK_ROOT": "/", "_HANDLER": handler},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert printed.split() == ["-m", handler.removesuffix(".run")]
