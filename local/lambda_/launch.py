"""The command and the environment variables of an execution environment's process."""

import atexit
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from local.limits import Limits
from local.shipper import Shipper
from local.state import Function

# This is the machine's interpreter and not the virtual environment's. A package that the zip lacks
# is therefore missing, as on AWS.
INTERPRETER: str = getattr(sys, "_base_executable", sys.executable)
# The arguments that AWS passes to a wrapper after the interpreter's path.
_BOOTSTRAP = "/var/runtime/bootstrap.py"
TASK_ROOT = "/var/task"
_RUNTIME_PACKAGES = ("boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3")
_LOOP = Path(__file__).with_name("managed_runtime.py")


@dataclass(frozen=True)
class Launch:
    """Everything that a new environment of a function needs."""

    function: Function
    code: Path
    log: Path
    endpoint_url: str
    credentials: dict[str, str]
    shipper: Shipper
    limits: Limits = field(default_factory=Limits)
    concurrency: int = 1


def unsupported(function: Function) -> str | None:
    """Return the reason why the function cannot run here, or None."""
    if "AWS_LAMBDA_EXEC_WRAPPER" not in function.environment and not function.runtime.startswith(
        "python"
    ):
        return (
            f"the local cloud cannot run {function.name}: it runs functions of a Python "
            "runtime, or with "
            f"AWS_LAMBDA_EXEC_WRAPPER, not the managed {function.runtime or 'image'} runtime"
        )
    return None


def command(environment: Mapping[str, str]) -> list[str]:
    """Return the command of the process: the exec wrapper, or the managed runtime's loop."""
    wrapper = environment.get("AWS_LAMBDA_EXEC_WRAPPER")
    if wrapper:
        return [wrapper, INTERPRETER, _BOOTSTRAP]
    return [INTERPRETER, str(_LOOP), str(runtime_packages())]


@cache
def runtime_packages() -> Path:
    """Return a folder with links to boto3 and what it needs, which AWS's Python runtimes have."""
    folder = Path(tempfile.mkdtemp(prefix="sluice-runtime-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in _RUNTIME_PACKAGES:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            path = Path(found.origin)
            path = path.parent if path.name == "__init__.py" else path
            (folder / path.name).symlink_to(path)
    return folder


def variables(launch: Launch, runtime_api: str, group: str, stream: str) -> dict[str, str]:
    """Return the environment of the process: the deployed variables, and those of Lambda.

    It has no variable of this process.
    """
    function = launch.function
    deployed = {name: _mapped(value, launch.code) for name, value in function.environment.items()}
    return {
        "PATH": f"{Path(INTERPRETER).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONNOUSERSITE": "1",
        **deployed,
        "AWS_ENDPOINT_URL": launch.endpoint_url,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        **launch.credentials,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": function.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": group,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "LAMBDA_TASK_ROOT": str(launch.code),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": function.handler,
        **(
            {"AWS_LAMBDA_MAX_CONCURRENCY": str(launch.concurrency)}
            if launch.concurrency > 1
            else {}
        ),
    }


def _mapped(value: str, code: Path) -> str:
    if value == TASK_ROOT or value.startswith(TASK_ROOT + "/"):
        return str(code) + value.removeprefix(TASK_ROOT)
    return value
