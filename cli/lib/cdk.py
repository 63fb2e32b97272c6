"""Run the real CDK CLI."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.lib.process import run_logged
from cli.lib.project import ROOT
from cli.lib.terminal import Detail

_PASSED_ON = (
    "HOME",
    "LANG",
    "LC_ALL",
    "PATH",
    "TERM",
    "TMPDIR",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "UV_CACHE_DIR",
)
"""The caller's variables that CDK gets. No other one may lead a local deployment to a real account.
"""


def cdk(arguments: Sequence[str], *, aws: Mapping[str, str], log: Path, detail: Detail) -> None:
    """Run `cdk` with the project's own Node, against the AWS that `aws` names.

    Args:
        arguments: The arguments of `cdk`, its command first.
        aws: The variables that AWS clients read.
        log: The file that the output is appended to.
        detail: Called with each line of the output.

    Raises:
        CommandError: CDK failed; the message has the last lines of its output.

    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["PATH"] = (
        f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    )
    environment |= {
        "NO_PROXY": "localhost,127.0.0.1",
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
        **aws,
    }
    program = str(ROOT / "node_modules" / ".bin" / "cdk")
    command = [program, *arguments, "--no-notices", "--no-version-reporting", "--ci"]
    run_logged(command, name=f"cdk {arguments[0]}", log=log, detail=detail, environment=environment)


def deploy(
    *, context: Mapping[str, str], aws: Mapping[str, str], outputs: Path, log: Path, detail: Detail
) -> dict[str, str]:
    """Deploy all stacks without asking.

    Args:
        context: The settings, as `-c` takes them; `stage` is one.
        aws: As for `cdk`.
        outputs: The file for the stacks' outputs.
        log: As for `cdk`.
        detail: As for `cdk`.

    Returns:
        The outputs of all stacks, in one mapping.

    Raises:
        CommandError: CDK failed.

    """
    settings = [
        argument for name, value in context.items() for argument in ("-c", f"{name}={value}")
    ]
    # so that two deployments may run side by side
    assembly = outputs.with_name(f"{outputs.stem}.assembly")
    arguments = [
        "deploy",
        "--all",
        "--require-approval",
        "never",
        "--progress",
        "events",
        "--output",
        str(assembly),
    ]
    cdk([*arguments, "--outputs-file", str(outputs), *settings], aws=aws, log=log, detail=detail)
    stacks: dict[str, dict[str, Any]] = json.loads(outputs.read_text())
    return {name: value for stack in stacks.values() for name, value in stack.items()}
