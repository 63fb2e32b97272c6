"""Runs the real CDK CLI."""

import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.lib.project import ROOT, CommandError
from cli.lib.terminal import Detail

_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "TERM", "TMPDIR", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "UV_CACHE_DIR")
"""Of the caller's environment. Nothing of it may lead a local deployment to a real account."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def cdk(arguments: Sequence[str], *, aws: Mapping[str, str], log: Path, detail: Detail) -> None:
    """Run `cdk` with the project's own Node, against the AWS that `aws` names.

    Args:
        arguments: Of the command.
        aws: The environment that AWS clients are to have.
        log: The file that its output is appended to.
        detail: Is told each line.

    Raises:
        CommandError: it failed; the message has its last lines.

    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    bin_folder = ROOT / ".venv" / "bin"
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment |= {"NO_PROXY": "localhost,127.0.0.1", "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1", **aws}
    command = [
        str(ROOT / "node_modules" / ".bin" / "cdk"),
        *arguments,
        "--no-notices",
        "--no-version-reporting",
        "--ci",
    ]
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)  # what is deployed is nobody else's to read
    last: deque[str] = deque(maxlen=12)
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        for line in process.stdout:
            file.write(line)
            if plain := _ESCAPES.sub("", line).strip():
                last.append(plain)
                detail(plain)
    if process.returncode:
        raise CommandError(f"cdk {arguments[0]} failed:\n    " + "\n    ".join(last), log=log)


def deploy(
    *, context: Mapping[str, str], aws: Mapping[str, str], outputs: Path, log: Path, detail: Detail
) -> dict[str, str]:
    """Deploy all stacks without asking.

    Args:
        context: Settings, as `-c` takes them; `stage` is one.
        aws: As for `cdk`.
        outputs: The file for the stacks' outputs.
        log: As for `cdk`.
        detail: As for `cdk`.

    Returns:
        The outputs of all stacks, in one.

    Raises:
        CommandError: it failed.

    """
    settings = [argument for name, value in context.items() for argument in ("-c", f"{name}={value}")]
    assembly = outputs.with_name(f"{outputs.stem}.assembly")  # of its own: two deployments may run side by side
    arguments = ["deploy", "--all", "--require-approval", "never", "--progress", "events", "--output", str(assembly)]
    cdk([*arguments, "--outputs-file", str(outputs), *settings], aws=aws, log=log, detail=detail)
    found: dict[str, dict[str, Any]] = json.loads(outputs.read_text())
    return {name: value for stack in found.values() for name, value in stack.items()}
