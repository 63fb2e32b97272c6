"""`sluice up`. tests/e2e and `make up` deploy with it."""

import errno
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from cli import main as main_module
from cli.commands import up
from cli.lib.admin_api import Admin, KeyNotFoundError
from cli.lib.project import CommandError
from cli.lib.streams import OutputLostError
from cli.main import main
from local.cloud import LocalCloud
from local.trust import Keys


def test_options_reach_the_local_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `--host`, and each option that is not at its default, reaches `python -m local`."""
    passed: list[Any] = []
    monkeypatch.setattr(up, "run", lambda args: passed.append(up.cloud_options(args)))
    assert main(["up", "--host", "host.docker.internal", "--host", "[fd00::1]"]) == 0
    assert main(["up", "--time-scale", "60", "--lambda-concurrency", "4"]) == 0
    assert main(["up"]) == 0
    assert passed == [
        ["--host=host.docker.internal", "--host=[fd00::1]"],
        ["--time-scale", "60.0", "--lambda-concurrency", "4"],
        [],
    ]


def test_an_invalid_setting_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in a setting is reported before the local cloud is started."""

    def start(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr("cli.lib.local_cloud.start", start)
    assert main(["up", "-c", "parallel=none"]) == 2
    assert main(["up", "-c", "weights=no-such.gguf"]) == 2
    with pytest.raises(SystemExit):
        main(["up", "-c", "parallel"])


def test_ctrl_c_before_the_local_cloud_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Ctrl-C while the local cloud starts says that nothing is left, and ends with 130."""

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.lib.local_cloud.start", interrupted)
    monkeypatch.setattr(up, "LOCAL", tmp_path)
    assert main(["up"]) == 130
    assert capsys.readouterr().out.strip() == (
        "The local cloud had not started yet. Nothing is left running."
    )


@pytest.mark.parametrize(
    ("error", "was_running", "said"),
    [
        (KeyboardInterrupt(), True, "The local cloud that ran before goes on."),
        (KeyboardInterrupt(), False, ""),
        (OutputLostError(OSError(errno.EIO, "")), False, ""),
    ],
    ids=["Ctrl-C over a running one", "Ctrl-C", "the terminal is gone"],
)
def test_who_stops_the_local_cloud(
    error: BaseException,
    said: str,
    *,
    was_running: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """An end in the middle stops what this command has started, also without a terminal."""
    stopped: list[bool] = []

    def ended(*_: Any, **__: Any) -> Any:
        raise error

    cloud = LocalCloud(tmp_path, 1, "http://127.0.0.1:1", Keys.new())
    monkeypatch.setattr("cli.lib.local_cloud.reusable", lambda *_, **__: cloud)
    if not was_running:
        monkeypatch.setattr("cli.lib.local_cloud.reusable", lambda *_, **__: None)
    monkeypatch.setattr("cli.lib.local_cloud.start", lambda *_, **__: cloud)
    monkeypatch.setattr("cli.lib.local_cloud.stop", lambda: stopped.append(True))
    for module in (up, main_module):
        monkeypatch.setattr(module, "discard_output", lambda: None)
    monkeypatch.setattr(up, "_deploy", ended)
    monkeypatch.setattr(up, "LOCAL", tmp_path)
    assert main(["up"]) != 0
    assert stopped == ([] if was_running else [True])
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "valid"),
    [({"status": "active"}, True), ({"status": "revoked"}, False), (None, False)],
    ids=["active", "revoked", "deleted"],
)
def test_a_key_that_was_kept_may_be_revoked_or_deleted_meanwhile(
    found: dict[str, Any] | None, *, valid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then another one is made; else no later `sluice up` would get a first answer."""

    def call(_method: str, path: str) -> dict[str, Any]:
        assert path == f"/keys/{'a' * 12}"
        if found is None:
            raise KeyNotFoundError("There is no such key.")
        return found

    monkeypatch.setattr(Admin, "of", lambda *_: call)
    assert up._is_valid(f"sk-{'a' * 12}-{'b' * 43}", "sluice") is valid


def test_a_key_that_was_kept_is_not_called_invalid_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then nothing is known about it. A text that is no key is not valid."""

    def call(_method: str, _path: str) -> None:
        raise CommandError("The admin API does not answer.")

    monkeypatch.setattr(Admin, "of", lambda *_: call)
    with pytest.raises(CommandError, match="does not answer"):
        up._is_valid(f"sk-{'a' * 12}-{'b' * 43}", "sluice")
    assert not up._is_valid("changed by hand", "sluice")


@pytest.mark.parametrize(
    ("code", "message", "absent"),
    [("ValidationError", "Stack CDKToolkit does not exist", True), ("InternalFailure", "", False)],
)
def test_only_an_absent_stack_is_not_bootstrapped(
    code: str, message: str, *, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another error is no reason to bootstrap again."""
    client = boto3.client(
        "cloudformation", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    monkeypatch.setattr(up, "_client", lambda *_: client)
    with Stubber(client) as stubber:
        stubber.add_client_error("describe_stacks", code, message)
        with nullcontext() if absent else pytest.raises(ClientError):
            assert not up._is_bootstrapped({})


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "8787.5", ""])
def test_a_port_is_a_number(port: str) -> None:
    """A port that no program can listen on is an invalid command line."""
    with pytest.raises(SystemExit) as ended:
        main(["up", f"--port={port}"])
    assert ended.value.code == 2


def test_the_readme_shows_what_is_printed() -> None:
    """The sample in the README has the steps of the source in their order, and its last lines."""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    sample = readme.partition("$ make up\n")[2].partition("\n```")[0]
    steps = re.findall(r"^✓ (.*) \([\d.]+ s\)$", sample, re.MULTILINE)
    folder = Path(up.__file__).parents[1]
    sources = (folder / "lib/local_cloud.py").read_text() + (folder / "commands/up.py").read_text()
    named = re.findall(r'with step\("([^"]+)"\)', sources)
    assert steps == [name for name in named if name != "Stopping the local cloud"]
    assert f"\n{up.QUESTION}\n" in sample
    assert f"\n{up.NEXT}\n\n{up.PLAYGROUND}\nhttp://localhost:8787/#key=" in sample
    assert all(len(line) <= 80 for line in sample.splitlines())


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--time-scale", "0", "is not a number over 0"),
        ("--time-scale", "-1", "is not a number over 0"),
        ("--time-scale", "nan", "is not a number over 0"),
        ("--time-scale", "fast", "is not a number over 0"),
        ("--lambda-concurrency", "0", "is not a whole number from 1"),
        ("--host", "bad host", "bad host"),
    ],
)
def test_an_option_that_cannot_be_starts_nothing(
    option: str, value: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 2, and the message names the option."""
    with pytest.raises(SystemExit) as ended:
        main(["up", f"{option}={value}"])
    assert ended.value.code == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert f"Argument {option}: " in printed
    assert reason in printed


def test_a_cloud_that_is_stopped_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the local cloud ends during the deployment, that is told, and not what CDK makes of it."""

    def fail(**_: object) -> None:
        raise CommandError("cdk deploy failed: ECONNREFUSED")

    cloud = SimpleNamespace(aws_environment=dict, ended=lambda: True)
    monkeypatch.setattr(up, "_is_bootstrapped", lambda _: True)
    monkeypatch.setattr("cli.lib.cdk.deploy", fail)
    with pytest.raises(CommandError, match=r"^The local cloud ended while .* `sluice up`\.$"):
        up._deploy(cast("LocalCloud", cloud), {}, name="sluice", tls=False)


def test_an_image_that_cannot_be_built_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No local cloud is left. The error names the variable by which the base can be another."""

    def start(*_: Any, **__: Any) -> Any:
        raise AssertionError

    def fail(*_: Any, **__: Any) -> None:
        raise CommandError("podman build failed:\n    no such host")

    monkeypatch.setattr("cli.lib.local_cloud.start", start)
    monkeypatch.setattr("cli.lib.container.engine", lambda: "podman")
    monkeypatch.setattr("cli.lib.container.run_logged", fail)
    monkeypatch.setattr(up, "LOCAL", tmp_path)
    assert main(["up", "--container"]) == 1
    assert "set SLUICE_BASE_IMAGE to another one." in capsys.readouterr().err
