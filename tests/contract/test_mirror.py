"""`tests/` mirrors the source: each module has a test file of its name, or a row of this table."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("lambda_fn", "model", "local", "cli", "infra", "schema_guard")
STEPS = 3
"""Imports from a test file to a module that it holds: itself, a package, and its part."""


class Held(NamedTuple):
    """Modules of a folder, by name, that a test file of another name holds."""

    folder: str
    modules: str
    test: str
    why: str
    word: str = ""
    """What stands in the test file when it meets the modules in another process."""


_WHOLE = "a stage is tested where all stages meet"
_STACK = "its resources are tested in the synthesised stack"
_SHAPES = "types without decisions, tested by who makes them"
_PARTS = "a part of the module that is named as the test"
_DEPLOYED = "it acts in the local cloud's own process only"
HELD = [
    Held("cli/commands/verify", "registry report", "cli/commands/verify/test_runner.py",
         "they are what it runs and what it prints"),
    Held("cli/commands/verify/checks", "access build endpoint money observability operations path",
         "e2e/test_verify.py", "they take a deployed stack"),
    Held("cli/commands/verify/checks", "answers", "e2e/test_sockets.py",
         "it takes a deployed stack with sockets"),
    Held("cli/commands", "stop", "e2e/test_stop.py", "it takes a deployed stack"),
    Held("cli/commands", "restore", "e2e/test_restore.py", "it takes a deployed stack"),
    Held("cli/lib", "container", "cli/commands/test_up.py", "one command uses it"),
    Held("cli/lib", "local_keys", "e2e/test_chaos.py", "it takes a deployed table"),
    Held("cli/lib", "own_table", "e2e/test_restore.py", "it takes a deployed table", "restore"),
    Held("lambda_fn/stream_log", "removal", "lambda_fn/sweep/test_erasing.py",
         "the sweeper finishes each removal"),
    Held("lambda_fn/http", "pages", "lambda_fn/stream/endpoints/test_stored_chats.py",
         "over a list"),
    Held("lambda_fn/schema/responses", "conversations listed",
         "lambda_fn/recall/test_conversations.py", "over the endpoints that read them"),
    Held("lambda_fn/schema/responses", "compact", "lambda_fn/stream/test_compaction.py", _WHOLE),
    Held("lambda_fn/encode", "compaction", "lambda_fn/stream/test_compaction.py", _WHOLE,
         "response.compaction"),
    Held("lambda_fn/stream", "conversing", "lambda_fn/stream_log/test_conversations_races.py",
         "with the other writers of a conversation"),
    Held("cli/lib", "project", "cli/lib/test_process.py", _SHAPES),
    Held("cli/lib", "reconcile", "lambda_fn/control/routers/test_reconcile.py", "over the API"),
    Held("cli/lib", "weights", "cli/commands/test_preflight.py", "one command uses it"),
    Held("infra/constructs", "schedule", "infra/constructs/test_sweeper.py", _STACK, "AWS::Events::Rule"),
    Held("infra/constructs", "inline_function", "infra/constructs/test_image_check.py", _STACK),
    Held("infra/images", "refresh", "infra/images/test_containers.py",
         "it asks AWS; the file that it writes is tested", "images.json"),
    Held("infra/settings", "container edge endpoint function kept monitoring",
         "infra/settings/test_deployment.py", _PARTS),
    Held("infra/stacks", "state", "infra/stacks/test_service.py", _STACK, "UsageTableName"),
    Held("lambda_fn", "auth", "lambda_fn/stream/test_key_cache.py", "over the gate"),
    Held("lambda_fn", "errors", "contract/test_model_and_adapter.py", _SHAPES),
    Held("lambda_fn", "events", "lambda_fn/encode/test_chat_stream.py", _SHAPES),
    Held("lambda_fn", "limits", "infra/test_limits.py", "with the limits of the stacks"),
    Held("lambda_fn/aws", "service", "lambda_fn/aws/test_functions.py", "over Lambda"),
    Held("lambda_fn/settings", "policies", "infra/settings/test_filters.py",
         "as a deployment writes them"),
    Held("lambda_fn/sweep", "settings", "infra/constructs/test_function.py",
         "with the variables that the construct sets"),
    Held("lambda_fn/background", "settings", "infra/constructs/test_function.py",
         "with the variables that the construct sets"),
    Held("lambda_fn/control", "changes", "lambda_fn/control/routers/test_keys.py", "over the API"),
    Held("lambda_fn/control", "handler", "infra/packaging/test_package.py",
         "the package is imported as Lambda does", "lambda_fn.control.handler"),
    Held("lambda_fn/control", "models_out services", "lambda_fn/control/test_app.py",
         "over the API"),
    Held("lambda_fn/dialects", "sluice", "lambda_fn/dialects/test_foreign.py", _PARTS),
    Held("lambda_fn/encode", "base chat_body completions plain_text",
         "lambda_fn/encode/test_chat_stream.py", "all forms of a response in one matrix"),
    Held("lambda_fn/encode", "blocks", "lambda_fn/encode/test_messages.py",
         "over the forms that are made of them"),
    Held("lambda_fn/schema", "embeddings", "lambda_fn/stream/endpoints/test_embeddings.py",
         "over the endpoint that reads it"),
    Held("lambda_fn/stream/endpoints", "single_calls",
         "lambda_fn/stream/endpoints/test_embeddings.py", "over the endpoints that use it"),
    Held("lambda_fn/schema", "tokenize", "lambda_fn/stream/endpoints/test_tokenize.py",
         "over the endpoint that reads it"),
    Held("lambda_fn/http", "page_tokens", "lambda_fn/stream/endpoints/test_usage.py",
         "over the endpoint with pages"),
    Held("lambda_fn/http", "responses", "lambda_fn/stream/test_request_side.py", _WHOLE),
    Held("lambda_fn/schema", "strict", "lambda_fn/schema/test_lenient.py",
         "what is lenient is strict with the setting"),
    Held("lambda_fn/schema", "completion container messages parse parts tools",
         "lambda_fn/schema/test_parameters.py", "every parameter through all of them"),
    Held("lambda_fn/schema/anthropic", "blocks request translate",
         "lambda_fn/schema/test_anthropic.py", _PARTS),
    Held("lambda_fn/schema/responses", "conversation items request restate translate",
         "lambda_fn/schema/test_responses.py", _PARTS),
    Held("lambda_fn", "event_log", "lambda_fn/stream/test_seam.py", "both sides of the seam"),
    Held("lambda_fn/stream", "delivery producer sinks usage_counter invoke",
         "lambda_fn/stream/test_seam.py", "both sides of the seam"),
    Held("lambda_fn/stream", "completions", "lambda_fn/stream/test_app.py", _WHOLE),
    Held("lambda_fn/stream", "pipeline", "lambda_fn/stream/test_carrier.py", "the seam of all stages"),
    Held("lambda_fn/stream", "keeping", "lambda_fn/stream/test_repeats.py", _WHOLE, "replayed"),
    Held("lambda_fn/socket", "lane turn", "lambda_fn/socket/test_session.py", _WHOLE, "connect"),
    Held("lambda_fn/stream_log", "listing", "lambda_fn/recall/test_streams.py",
         "over the endpoint"),
    Held("lambda_fn/recall", "app deletion stored",
         "lambda_fn/recall/test_streams.py", "over the endpoints", "recall"),
    Held("lambda_fn/recall", "main", "infra/constructs/test_stream_function.py",
         "the module that a handler names", "Recall"),
    Held("lambda_fn/stream", "replay", "lambda_fn/stream/test_repeats.py", _WHOLE, "replayed"),
    Held("lambda_fn/stream", "request_count", "lambda_fn/recall/test_access.py",
         "over the application", "requests_minute"),
    Held("lambda_fn/stream_log", "identities", "lambda_fn/stream/test_repeat_races.py",
         "the repeats that meet in them"),
    Held("lambda_fn/metering", "request_counts", "lambda_fn/recall/test_access.py",
         "over the application", "requests_minute"),
    Held("lambda_fn/stream", "middleware", "lambda_fn/stream/test_request_side.py", _WHOLE),
    Held("lambda_fn/stream", "main process", "lambda_fn/runtime/test_loop.py", "the process as a whole"),
    Held("lambda_fn/stream", "rate_limit_errors", "lambda_fn/stream/test_admit.py", _PARTS),
    Held("lambda_fn/stream", "settle", "lambda_fn/reporting/test_replay.py",
         "what it logs is replayed"),
    Held("lambda_fn/stream/endpoints", "models openapi", "lambda_fn/stream/test_app.py", _WHOLE,
         "/v1/openapi.json"),
    Held("lambda_fn/transform", "cuts", "lambda_fn/transform/test_buffering.py", _PARTS),
    Held("local", "controller gateway shipper control_plane",
         "local/test_server.py", "the cloud as a process"),
    Held("local", "bodies", "local/test_limits.py", "the limits that it enforces"),
    Held("local", "state", "local/iam/test_roles.py", _SHAPES),
    Held("local/apigateway", "config connections events integrations management",
         "local/apigateway/test_server.py", "over the data plane"),
    Held("infra/constructs", "socket_function", "infra/constructs/test_websocket_api.py", _STACK,
         "socket.gateway"),
    Held("lambda_fn/socket/gateway", "main control_main serving", "e2e/test_sockets.py",
         "the processes of the functions", "websocket"),
    Held("lambda_fn/socket", "warm_up", "lambda_fn/socket/test_session.py", "over a socket",
         "test_warm_up"),
    Held("local/cloudformation", "install resource",
         "local/cloudformation/test_engine.py", "over CloudFormation's API", "stacks.create"),
    Held("local/cloudformation", "cloudfront identity", "e2e/test_deployment.py",
         "over the project's own stacks", "test_every_resource_is_handled"),
    Held("local/cloudformation", "components", "local/moto/test_components.py",
         "over CloudFormation's API", "stacks.update"),
    Held("local/faults", "api", "local/test_server.py", _DEPLOYED),
    Held("local/faults", "container", "local/sagemaker/test_invoke.py", "over an invocation"),
    Held("local/iam", "refusals writer", "local/test_server.py", _DEPLOYED),
    Held("local/iam", "operations s3", "local/iam/test_actions.py", _PARTS),
    Held("local/lambda_", "code response", "local/lambda_/test_server.py", _PARTS),
    Held("local/lambda_", "faults", "e2e/test_faults.py", _DEPLOYED,
         "test_a_function_that_is_killed"),
    Held("local/lambda_", "tracing", "e2e/test_permissions.py", _DEPLOYED, "PutTraceSegments"),
    Held("local/moto", "access", "local/iam/test_authorizer.py", _DEPLOYED, "put_role_policy"),
    Held("local/moto", "attribute_values", "lambda_fn/aws/test_dynamodb.py", "over a table"),
    Held("local/moto/items", "conditions queries reading updates values",
         "local/moto/items/test_calls.py", "moto's answers are compared with all of them"),
    Held("local/moto", "clients state", "local/test_server.py", _DEPLOYED,
         "test_from_a_template_to_a_stream"),
    Held("local/moto", "cloudfront", "e2e/test_doctor.py", _DEPLOYED, "doctor"),
    Held("local/moto", "kept", "local/test_kept.py", _DEPLOYED, "delete_stack"),
    Held("local/moto", "service_quotas", "cli/commands/test_preflight.py", "one command asks it"),
    Held("local/sagemaker", "container runner", "local/test_server.py",
         "the cloud as a process"),
    Held("local/sagemaker", "telemetry", "local/sagemaker/test_invoke.py", "over an invocation"),
    Held("local/sagemaker", "weights", "local/sagemaker/test_reader.py", _PARTS),
    Held("local/third_party", "__main__", "e2e/test_dialects.py", _DEPLOYED, "sglang"),
    Held("local/third_party", "shapes", "contract/test_dialects.py",
         "compared with the function's dialects"),
    Held("model", "errors events", "model/engines/test_base.py", _SHAPES),
    Held("model", "lines", "model/test_sse.py", _PARTS),
    Held("model", "readers", "model/test_settings.py", _PARTS),
    Held("model", "server", "model/test_callers.py", "over HTTP"),
    Held("model", "tools", "model/test_schema.py", _PARTS),
    Held("model/engines", "bridge", "model/engines/test_llama_cpp.py", _PARTS),
    Held("model/engines", "guided trial_child trial_process", "model/engines/test_trials.py",
         _PARTS),
    Held("model/engines", "llama_cpp_chunks", "model/engines/test_llama_cpp.py", _PARTS),
    Held("model/engines", "script", "model/engines/test_scripted.py", _PARTS),
    Held("model/engines", "search_pattern", "model/engines/test_llguidance.py",
         "over the guide's automaton"),
    Held("model/engines", "vllm_arguments vllm_errors vllm_outputs vllm_weights",
         "model/engines/test_vllm.py", _PARTS),
    Held("schema_guard", "vocabulary", "schema_guard/test_live.py", "with all that is open at once"),
    Held("schema_guard",
         "bounds errors graph limits nodes pattern readings values walk",
         "schema_guard/test_schema_guard.py", "the package has one entry"),
]  # fmt: skip


@cache
def imported(path: Path) -> frozenset[Path]:
    """Return the project's files that a file imports, or names as a module in a text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and re.fullmatch(
            r"\w+(\.\w+)+(:\w+)?", str(node.value)
        ):
            names.add(str(node.value).partition(":")[0])
    places = [ROOT / name.replace(".", "/") for name in names]
    files = [file for it in places for file in (it.with_suffix(".py"), it / "__init__.py")]
    return frozenset(file for file in files if file.is_file())


def test_every_module_has_a_test_file() -> None:
    """A module without a test file of its name is in the table."""
    listed = {f"{it.folder}/{name}.py" for it in HELD for name in it.modules.split()}
    modules = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed <= {str(path) for path in modules}
    named = {path for path in modules if (ROOT / "tests" / file_of(path)).is_file()}
    assert sorted({str(path) for path in modules - named} - listed) == []


def file_of(module: Path) -> Path:
    """Return the test file of a module's name, below tests/."""
    return module.parent / f"test_{module.stem.strip('_')}.py"


@pytest.mark.parametrize("held", HELD, ids=lambda it: f"{it.folder}/{it.modules.split()[0]}")
def test_a_test_file_meets_what_it_holds(held: Held) -> None:
    """A test file of the table exists, and imports its modules within a few steps or names them."""
    test = ROOT / "tests" / held.test
    if held.word:
        assert held.word in test.read_text()
        return
    met = {test}
    for _ in range(STEPS):
        met |= {file for path in met for file in imported(path)}
    assert [
        name for name in held.modules.split() if ROOT / held.folder / f"{name}.py" not in met
    ] == []


def test_no_test_imports_from_a_conftest() -> None:
    """What several files of tests share is in `tests/support`, and fixtures come by their names."""
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if re.search(r"^\s*(from|import) [\w.]*\bconftest\b", path.read_text(), re.MULTILINE)
    ]
    assert found == []
