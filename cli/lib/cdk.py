"""Run the real CDK CLI."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.lib.process import run_logged
from cli.lib.project import ROOT, CommandError
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
"""The caller's variables that CDK gets. Any other could lead a local deployment to a real
account.
"""

_EVENT = re.compile(r"[^|]+\| +(\d+/\d+) \|.+\| AWS::\S+ +\| ?(\S+)")
"""A line of CDK about an event of CloudFormation: progress, and the resource."""


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
        # CDK's validation of templates takes half of a synthesis. `make deploy` and `make check`
        # have it. What goes through here is deployed locally, or destroyed.
        "CDK_VALIDATION": "false",
        **aws,
    }
    if not os.access(Path.home(), os.W_OK):
        environment["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] = str(ROOT / "build/cache/jsii")
    command = [str(program()), *arguments, "--no-notices", "--no-version-reporting", "--ci"]
    run_logged(
        command,
        name=f"cdk {arguments[0]}",
        log=log,
        detail=lambda line: detail(_short(line)),
        environment=environment,
    )


def program() -> Path:
    """Return the path of the CDK CLI.

    Raises:
        CommandError: it is not there, because `make setup` has not come to its end.

    """
    path = ROOT / "node_modules" / ".bin" / "cdk"
    if not path.exists():
        raise CommandError(
            "The set-up is unfinished: the CDK CLI is not there. Finish it by `make setup`."
        )
    return path


def _short(line: str) -> str:
    """Return the part of a line to show: of an event, its progress and resource."""
    event = _EVENT.match(line)
    return f"{event[1]} {event[2]}" if event else line


def deploy(
    *, context: Mapping[str, str], aws: Mapping[str, str], outputs: Path, log: Path, detail: Detail
) -> dict[str, str]:
    """Deploy all stacks without asking. At most one deployment at once has the same `outputs`.

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
    assembly = outputs.with_name(f"{outputs.stem}.assembly")  # two deployments may run side by side
    # A CDK CLI that was killed has left its lock. Another process may have its process id by now,
    # for which the CLI would take the lock as held.
    for lock in assembly.glob("*.lock"):
        lock.unlink(missing_ok=True)
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
