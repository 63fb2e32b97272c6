"""The stand-in, and the engine's imports, compared with the pinned vLLM's source."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import vllm_stand_in
from tests.support.vllm_stand_in import chat, llm, values
from tests.support.vllm_stand_in.pinned import CLASSES, class_of, signature
from tests.support.vllm_stand_in.signatures import FILE, USED, pinned_version, signatures

ROOT = Path(__file__).parents[3]
STAND_INS = {
    name: getattr(module, name)
    for module in (chat, llm, values)
    for name in vars(module)
    if any(key.rpartition(".")[2] == name for key in CLASSES)
}


def kind_of(method: Any) -> str:
    """Return the kind of a method or property, in the words of signatures.json."""
    if isinstance(method, property):
        return "property"
    method = inspect.unwrap(getattr(method, "__func__", method))
    return (
        "async generator"
        if inspect.isasyncgenfunction(method)
        else "async"
        if inspect.iscoroutinefunction(method)
        else "plain"
    )


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (owner, name)
        for owner, kind in STAND_INS.items()
        for name in class_of(owner)["methods"]
        if name in vars(kind)
    ],
)
def test_methods(owner: str, method: str) -> None:
    """Each method of the stand-in is of the pinned kind.

    Each of its parameters is a pinned one, of the same kind.
    """
    found = vars(STAND_INS[owner])[method]
    assert kind_of(found) == class_of(owner)["methods"][method]["kind"]
    if isinstance(found, property):
        return
    pinned = signature(owner, method).parameters
    here = inspect.signature(inspect.unwrap(getattr(found, "__func__", found))).parameters
    for name, parameter in here.items():
        assert pinned[name].kind is parameter.kind, name
        assert (pinned[name].default is inspect.Parameter.empty) or (
            parameter.default is not inspect.Parameter.empty
        ), name
    order = [name for name in pinned if name in here]
    assert order == list(here)


def test_everything_used_is_stood_in_for() -> None:
    """Each method that the engine calls is in the stand-in, so its arguments are checked."""
    called = [
        (owner, method)
        for classes in USED.values()
        for owner, methods in classes.items()
        for method in methods
        if owner in STAND_INS
    ]
    missing = [entry for entry in called if entry[1] not in vars(STAND_INS[entry[0]])]

    assert missing == [("SamplingParams", "from_optional")]  # vLLM's own request calls that
    assert len(called) >= 15


@pytest.mark.parametrize(
    "owner", ["DeltaMessage", "DeltaToolCall", "DeltaFunctionCall", "ErrorInfo", "ErrorResponse"]
)
def test_models(owner: str) -> None:
    """Each model of the stand-in has the pinned fields."""
    assert set(STAND_INS[owner].model_fields) == set(class_of(owner)["fields"])


@pytest.mark.parametrize("owner", [name for name in STAND_INS if name.endswith("Error")])
def test_errors(owner: str) -> None:
    """Each error of the stand-in has the pinned base, which decides whose fault it is."""
    assert [base.__name__ for base in STAND_INS[owner].__bases__] == class_of(owner)["bases"]


def test_values() -> None:
    """The kinds of output, and the fields of a step, are the pinned ones."""
    pinned = {name: item["value"] for name, item in class_of("RequestOutputKind")["fields"].items()}
    assert {kind.name: kind.value for kind in values.RequestOutputKind} == pinned
    assert chat.ChatStreamStep._fields == tuple(class_of("ChatStreamStep")["fields"])
    assert {"prompt_token_ids", "outputs", "finished"} <= set(
        class_of("RequestOutput")["attributes"]
    )
    assert {"parser"} <= set(class_of("OnlineRenderer")["attributes"])
    assert {"hide_metadata"} <= set(class_of("ChatStreamProcessor")["attributes"])
    assert {"model_config", "renderer"} <= set(class_of("AsyncLLM")["attributes"])
    assert "prompt_token_ids" in class_of("TokensInput")["fields"]


def test_arguments() -> None:
    """The stand-in's arguments are exactly the pinned ones."""
    names = {item.name for item in dataclasses.fields(values.AsyncEngineArgs)}

    assert len(names) > 200
    assert names == set(class_of("EngineArgs")["fields"]) | set(
        class_of("AsyncEngineArgs")["fields"]
    )
    with pytest.raises(TypeError, match="no_such_argument"):
        values.AsyncEngineArgs(no_such_argument=1)
    with pytest.raises(TypeError, match="no_such_field"):
        values.SamplingParams(no_such_field=1)


def test_versions() -> None:
    """The engine, the file, the stand-in and the image pin the same version."""
    content = json.loads(FILE.read_text())
    dockerfile = (ROOT / "model" / "Dockerfile").read_text()

    assert pinned_version() == content["version"] == vllm_stand_in.VERSION
    image = re.search(r"^ARG GPU_BASE_IMAGE=vllm/vllm-openai:v(.+)$", dockerfile, re.MULTILINE)
    assert image is not None
    assert image[1] == content["version"]
    assert content["wheel"].startswith(f"vllm-{content['version']}-")
    assert re.fullmatch(r"[0-9a-f]{64}", content["sha256"])


def test_every_import_is_pinned() -> None:
    """Each vLLM name that the engine imports is in the table, and is compared with the source."""
    wanted = set()
    for path in (ROOT / "model" / "engines").glob("vllm*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vllm":
                wanted |= {(node.module, name.name) for name in node.names}
    # It is an instance that vLLM makes when it is imported. Its class is pinned.
    wanted.remove(("vllm.platforms", "current_platform"))

    assert len(wanted) >= 8
    assert all(name in USED[module or ""] for module, name in wanted)


SOURCE = """
class AsyncLLM(EngineClient):
    def __init__(self, args): self.model_config = args
    @classmethod
    def from_engine_args(cls, engine_args, start_engine_loop=True): ...
    async def generate(self, prompt, *, request_id, **rest):
        yield prompt
    async def abort(self, request_id): ...
    async def check_health(self): ...
    def shutdown(self, timeout=None): ...
    @property
    def errored(self) -> bool: ...
"""


def source(changed: str = "", to: str = "") -> dict[str, Any]:
    """Return the signatures of a small source, in which a test may replace a text."""
    assert changed in SOURCE
    module = "vllm.v1.engine.async_llm"
    found = {module: USED[module]}
    original = dict(USED)
    try:
        USED.clear()
        USED.update(found)
        return signatures(lambda name: SOURCE.replace(changed, to))
    finally:
        USED.clear()
        USED.update(original)


@pytest.mark.parametrize(
    ("changed", "to"),
    [
        ("start_engine_loop=True", "start_engine_loop"),
        ("*, request_id", "request_id"),
        ("**rest", "rest"),
        ("async def abort", "def abort"),
        ("timeout=None", "*, timeout=None"),
        ("    @property\n", ""),
        ("self.model_config", "self.config"),
        ("(EngineClient)", "(object)"),
    ],
)
def test_drift_is_seen(changed: str, to: str) -> None:
    """Any change of a used signature makes a difference."""
    assert source() != source(changed, to)


@pytest.mark.parametrize("gone", ["class AsyncLLM", "def check_health"])
def test_removal_is_seen(gone: str) -> None:
    """The error for a missing class or method names it."""
    with pytest.raises(LookupError, match=gone.split()[1]):
        source(gone, f"{gone}2")
