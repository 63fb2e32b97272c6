"""The functions' packages, built for both targets from the real sources."""

import hashlib
import io
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import infra.packaging.package
from infra.packaging.bytecode import BytecodeError, check_tags
from infra.packaging.package import Package, PackageError, Target, build
from infra.settings.deployment import host_architecture, host_python_version

REPOSITORY = Path(__file__).resolve().parents[3]
ARM = Target(python_version="3.14", architecture="arm64", wheels="lambda")
HOST = Target(python_version=host_python_version(), architecture=host_architecture(), wheels="host")
EM_AARCH64 = 183


def checkout(folder: Path) -> Path:
    """Copy this repository's sources into `folder`, so that it builds its own packages.

    Return it.
    """
    folder.mkdir()
    for name in ("lambda_fn", "locks", "schema_guard"):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the mode and hash of every file, by path."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode & 0o777,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module", params=["function", "uvloop"])
def arm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Return the package for AWS, without uvloop and with it."""
    root = checkout(tmp_path_factory.mktemp("arm") / "root")
    return build(root=root, target=ARM, content=request.param)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Return the package for the local cloud."""
    return build(root=checkout(tmp_path_factory.mktemp("host") / "root"), target=HOST)


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> dict[Target, Package]:
    """Return the control function's package, for both targets."""
    root = checkout(tmp_path_factory.mktemp("control") / "root")
    return {target: build(root=root, target=target, content="control") for target in (ARM, HOST)}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Return a repository whose function has no dependencies and one module."""
    root = tmp_path / "small"
    for path, text in {
        "lambda_fn/stream/main.py": "X = {1, 2}\n",
        "lambda_fn/bootstrap": "#!/bin/sh\n",
        "schema_guard/__init__.py": "",
        "locks/function.txt": "",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_every_library_is_of_the_target_machine_and_python(arm: Package) -> None:
    """All shared objects are AArch64 ELF files for CPython 3.14, on any build machine."""
    libraries = sorted(arm.path.rglob("*.so"))
    assert libraries
    for path in libraries:
        header = path.read_bytes()[:20]
        assert header[:5] == b"\x7fELF\x02"
        assert struct.unpack_from("<H", header, 18) == (EM_AARCH64,)
        assert ".cpython-314-aarch64-linux-gnu" in path.name or ".abi3" in path.name


def test_no_library_needs_a_newer_libc_than_lambda_has(arm: Package) -> None:
    """No library needs a newer glibc than 2.34, Amazon Linux 2023's."""
    for path in arm.path.rglob("*.so"):
        versions = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", path.read_bytes())]
        assert max(versions, default=0) <= 34


def test_another_versions_bytecode_is_never_in_the_package(arm: Package) -> None:
    """Bytecode is CPython 3.14's. Without that Python there is none."""
    compiled = list(arm.path.rglob("*.pyc"))
    check_tags(arm.path, "cpython-314")
    assert bool(compiled) == (arm.bytecode is not None)
    if arm.bytecode:
        assert arm.bytecode.startswith("3.14.")


def test_nothing_unused_is_in_the_package(arm: Package) -> None:
    """The package has no SDK data, tests, scripts or C sources. It has every licence."""
    names = {path.name for path in arm.path.iterdir()}
    assert not names & {"botocore", "boto3", "bin", "tests", "pip"}
    paths = [path.relative_to(arm.path) for path in arm.path.rglob("*")]
    assert not [
        path
        for path in paths
        if path.suffix in {".pyi", ".pyx", ".c", ".h"} or path.name in {"tests", "RECORD"}
    ]
    for folder in arm.path.glob("*.dist-info"):
        assert list((folder / "licenses").rglob("*"))


def test_the_wrapper_can_be_executed_and_all_can_be_read(arm: Package) -> None:
    """The bootstrap is 0755 at the root, every other file 0644, and every folder 0755."""
    modes = {path: mode for path, (mode, _) in tree(arm.path).items()}
    assert modes.pop("bootstrap") == 0o755
    assert set(modes.values()) == {0o644}
    assert {path.stat().st_mode & 0o777 for path in arm.path.rglob("*") if path.is_dir()} == {0o755}
    assert "lambda_fn/bootstrap" not in modes
    assert "lambda_fn/limits.py" in modes


def zipped(package: Package) -> int:
    """Return the size of a package in bytes, zipped."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in package.path.rglob("*"):
            archive.write(path, path.relative_to(package.path))
    return content.tell()


def test_the_package_is_small(arm: Package) -> None:
    """The package has under 12 MB zipped, because a cold start downloads it.

    On a machine without the target's Python it has no bytecode, and is smaller still.
    """
    assert zipped(arm) < 12_000_000


def test_the_control_functions_package_is_apart(
    arm: Package, control: dict[Target, Package]
) -> None:
    """Only the control function's package has the admin API and its dependencies.

    It has under 8 MB zipped with bytecode.
    """
    names = {path.name for path in control[ARM].path.iterdir()}
    assert {"fastapi", "mangum", "pydantic_core", "lambda_fn"} <= names
    assert "bootstrap" not in names
    assert (control[ARM].path / "lambda_fn/control/handler.py").is_file()
    assert not {path.name for path in arm.path.iterdir()} & {"fastapi", "mangum", "pydantic_core"}
    assert not (arm.path / "lambda_fn/control").exists()
    assert max(map(zipped, control.values())) < 8_500_000


def test_the_control_function_runs_from_its_package(control: dict[Target, Package]) -> None:
    """The control function's handlers import from its package alone."""
    environment = {
        "AWS_REGION": "eu-west-1",
        "SLUICE_USAGE_TABLE": "t",
        "SLUICE_MODEL_NAMES": '["m"]',
    }
    imports = (
        "import lambda_fn.control.handler, lambda_fn.control.rotate, fastapi; "
        "print(fastapi.__file__)"
    )
    code = f"import sys; sys.path[:0] = [sys.argv[1]]; {imports}"
    command = [sys.executable, "-I", "-S", "-c", code, str(control[HOST].path)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert completed.stdout.startswith(str(control[HOST].path))


def test_the_same_sources_give_the_same_bytes(host: Package, tmp_path: Path) -> None:
    """The same sources in another folder make the same package, bytecode included."""
    again = build(root=checkout(tmp_path / "elsewhere"), target=HOST)
    assert again.path != host.path
    assert tree(again.path) == tree(host.path)


def test_bytecode_of_the_host_is_valid_for_ever(host: Package) -> None:
    """Each source has bytecode of this version.

    Python never checks it against the source's time.
    """
    sources = [path for path in host.path.rglob("*.py") if not path.is_symlink()]
    compiled = list(host.path.rglob("*.pyc"))
    assert len(compiled) == len(sources)
    for path in compiled:
        assert struct.unpack_from("<I", path.read_bytes(), 4) == (
            0b01,
        )  # hash-based and unchecked: PEP 552


def test_the_hosts_package_runs_on_the_host(host: Package) -> None:
    """The function's modules and dependencies import from the package alone."""
    imports = (
        "import httptools, msgspec, starlette, lambda_fn.stream.main, schema_guard; "
        "print(msgspec.__file__)"
    )
    code = f"import sys; sys.path[:0] = [sys.argv[1]]; {imports}"
    command = [sys.executable, "-I", "-S", "-c", code, str(host.path)]
    completed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert completed.stdout.startswith(str(host.path))


def test_an_unchanged_package_is_not_built_again(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second synthesis uses the first one's package."""
    first = build(root=small, target=HOST)
    monkeypatch.setattr(infra.packaging.package, "find_uv_bin", lambda: pytest.fail("built again"))
    assert build(root=small, target=HOST) == first


def test_a_changed_source_is_packaged(small: Path) -> None:
    """The package follows its sources, also when a source is removed."""
    before = tree(build(root=small, target=HOST).path)
    (small / "lambda_fn/stream/main.py").rename(small / "lambda_fn/other.py")
    after = tree(build(root=small, target=HOST).path)
    assert {path for path in after if path.endswith(".py")} == {
        "lambda_fn/other.py",
        "schema_guard/__init__.py",
    }
    assert before["bootstrap"] == after["bootstrap"]


def test_a_build_that_failed_is_not_taken_for_done(small: Path) -> None:
    """A source that does not compile fails every synthesis until it is corrected."""
    (small / "lambda_fn/stream/main.py").write_text("def\n")
    for _ in range(2):
        with pytest.raises(BytecodeError, match=r"lambda_fn/stream/main\.py"):
            build(root=small, target=HOST)


@pytest.mark.parametrize(
    "missing", ["lambda_fn/bootstrap", "locks/function.txt", "schema_guard/__init__.py"]
)
def test_a_missing_source_is_named(small: Path, missing: str) -> None:
    """Without the wrapper or the lock there is no package. The error names the missing file."""
    (small / missing).unlink()
    with pytest.raises(PackageError, match=missing):
        build(root=small, target=HOST)


def test_a_dependency_without_a_hash_is_refused(small: Path) -> None:
    """Only packages that the lock has hashes of are installed. The message is uv's own."""
    (small / "locks/function.txt").write_text("idna==3.20\n")
    with pytest.raises(PackageError, match=r"(?s)could not be installed.*hash"):
        build(root=small, target=HOST)


def test_wheels_of_the_host_are_not_built_for_another(small: Path) -> None:
    """`wheels=host` with another Python than this machine's fails before anything is built."""
    with pytest.raises(
        PackageError, match=r"wheels=host can only build for this machine.* not for .*3\.99"
    ):
        build(
            root=small,
            target=Target(python_version="3.99", architecture=host_architecture(), wheels="host"),
        )


def test_an_absent_python_leaves_the_package_without_bytecode(small: Path) -> None:
    """Without an interpreter of the target's version, the package has no bytecode."""
    package = build(
        root=small, target=Target(python_version="3.99", architecture="arm64", wheels="lambda")
    )
    assert package.bytecode is None
    assert not list(package.path.rglob("*.pyc"))
