"""Properties that all functions share."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lambda_fn.background.settings import KeeperSettings
from lambda_fn.control.settings import ControlSettings
from lambda_fn.settings import Settings
from lambda_fn.sweep.settings import SweepSettings
from tests.support.synthesis import FUNCTIONS, Synthesis

ROOT = Path(__file__).parents[3]
READERS = {
    "lambda_fn.stream.main.run": Settings,
    "lambda_fn.recall.main.run": Settings,
    "lambda_fn.socket.gateway.main.run": Settings,
    "lambda_fn.socket.gateway.control_main.run": Settings,
    "lambda_fn.sweep.handler.handler": SweepSettings,
    "lambda_fn.background.handler.handler": KeeperSettings,
    "lambda_fn.control.handler.handler": ControlSettings,
    "lambda_fn.control.rotate.handler": None,
}
"""Which settings the function of a handler reads from its environment."""


class Recorded(Mapping[str, str]):
    """An environment that records which variables are read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def own_functions(synthesis: Synthesis) -> list[dict[str, Any]]:
    """Return the properties of all functions with our code."""
    functions = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Function")]
    return [it for it in functions if it["Handler"].startswith("lambda_fn.")]


def test_every_handler_exists(syntheses: dict[str, Synthesis], everything: Synthesis) -> None:
    """The handler in a template is defined in its module."""
    found = [it for one in (*syntheses.values(), everything) for it in own_functions(one)]
    assert {it["Handler"] for it in found} == set(READERS)
    for function in found:
        module, _, name = function["Handler"].rpartition(".")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        assert name in {
            it.name for it in tree.body if isinstance(it, ast.FunctionDef | ast.AsyncFunctionDef)
        }


def test_a_function_reads_the_variables_that_it_is_given(
    syntheses: dict[str, Synthesis], everything: Synthesis
) -> None:
    """The variables in a template are those that the function's settings read.

    Each `SLUICE_` variable that the settings read is set for some function with these settings.
    """
    reads: dict[type, set[str]] = {}
    set_by: dict[type, set[str]] = {}
    for function in (it for one in (*syntheses.values(), everything) for it in own_functions(one)):
        handler, variables = (
            function["Handler"],
            function.get("Environment", {}).get("Variables", {}),
        )
        names = {name for name in variables if name.startswith("SLUICE_")}
        if (reader := READERS[handler]) is None:
            assert not names
            continue
        texts = {
            name: value if isinstance(value, str) else "a-reference"
            for name, value in variables.items()
        }
        environment = Recorded({"AWS_REGION": "eu-west-1", **texts})
        reader.from_environment(environment)
        read_by_code = {name for name in environment.read if name.startswith("SLUICE_")}
        assert names <= read_by_code
        reads.setdefault(reader, set()).update(read_by_code)
        set_by.setdefault(reader, set()).update(names)
    for kind, read in reads.items():
        assert read == set_by[kind], kind


@pytest.mark.parametrize(
    ("stage", "reserved"),
    [
        ("local", (256, 32, 1, 10)),
        ("dev", (None, None, None, None)),
        ("prod", (200, 100, 1, 10)),
    ],
)
def test_reserved_concurrency_bounds_the_cost(
    syntheses: dict[str, Any], stage: str, reserved: tuple[int | None, ...]
) -> None:
    """Production reserves concurrency. Dev does not, because a new account may reserve none."""
    functions = [
        syntheses[stage].function(FUNCTIONS[name])
        for name in ("Stream", "Recall", "Sweeper", "Control")
    ]
    assert tuple(it.get("ReservedConcurrentExecutions") for it in functions) == reserved
