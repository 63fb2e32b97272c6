"""Documents name existing files, targets and commands, and their links work."""

import ast
import builtins
import re
from pathlib import Path

import pytest

from lambda_fn import errors

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *(
            ROOT / name
            for name in (
                "README.md",
                "ARCHITECTURE.md",
                "CONTRIBUTING.md",
                "SECURITY.md",
                "CHANGELOG.md",
            )
        ),
        ROOT / "examples/README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
FOLDERS = (
    "bench|cli|demo_model|docs|examples|infra|lambda_fn|local|locks|model|schema_guard|tests"
    "|runtime|stream|metering|reporting|control|dialects|transform|encode|schema|sweep|engines"
)
BASES = ("", "lambda_fn", "lambda_fn/control", "model")
NO_CLIENT_GETS = {"abandoned", "conflict", "not_begun", "permission_denied", "repeated"}
"""Codes that only logs have, and default codes of classes that are never raised with them."""


def prose(text: str) -> str:
    """Return a page without its fenced code and without the output of `make bench-report`."""
    return re.sub(
        r"^```.*?^```$|<!-- (\w+): begin -->.*?<!-- \1: end -->",
        "",
        text,
        flags=re.DOTALL | re.MULTILINE,
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_file_that_is_named_is_there(name: str) -> None:
    """A path in code exists, from the root or from the part that the page is about."""
    spans = re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", prose((ROOT / name).read_text()))
    assert [
        path for path in spans if not any((ROOT / base / path).exists() for base in BASES)
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_target_that_is_named_is_there(name: str) -> None:
    """A target of make that a page names exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", (ROOT / name).read_text())) <= targets


@pytest.mark.parametrize("name", NAMES)
def test_each_link_leads_to_a_file(name: str) -> None:
    """A relative link leads to a file of the repository. `make docs` checks the anchors, too."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", prose((ROOT / name).read_text()))
    assert [link for link in links if not ((ROOT / name).parent / link).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_lines_have_a_width_to_read(name: str) -> None:
    """A line has at most 100 columns. Table rows, code and unbreakable text are exempt."""
    lines = prose((ROOT / name).read_text()).splitlines()
    assert [
        line
        for line in lines
        if len(line) > 100 and not line.startswith("|") and " " in line.strip("- ")
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_python_program_defines_what_it_uses(name: str) -> None:
    """A reader can run each Python program of a page as it stands there."""
    undefined = set()
    for program in re.findall(
        r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.DOTALL | re.MULTILINE
    ):
        known = set(dir(builtins))
        used = set()
        for node in ast.walk(ast.parse(program)):
            match node:
                case ast.Name(id=word, ctx=ast.Load()):
                    used.add(word)
                case ast.Name(id=word) | ast.arg(arg=word) | ast.ExceptHandler(name=str(word)):
                    known.add(word)
                case (
                    ast.FunctionDef(name=word)
                    | ast.AsyncFunctionDef(name=word)
                    | ast.ClassDef(name=word)
                ):
                    known.add(word)
                case ast.alias(name=word, asname=other):
                    known.add(other or word.partition(".")[0])
        undefined |= used - known
    assert undefined == set()


def test_each_error_code_is_in_the_reference() -> None:
    """Each code that an error of the public API is made with is explained in the reference."""
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.APIError)
    }
    codes = {kind.default_code for kind in kinds.values()} - {None}
    for path in (ROOT / "lambda_fn").rglob("*.py"):
        if path.is_relative_to(ROOT / "lambda_fn/control"):
            continue  # the admin API documents itself
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in kinds
            ):
                codes |= {
                    str(word.value.value)
                    for word in node.keywords
                    if word.arg == "code" and isinstance(word.value, ast.Constant)
                }
    assert len(codes) > 40
    reference = "".join(path.read_text() for path in (ROOT / "docs/reference").glob("*.md"))
    assert {code for code in codes - NO_CLIENT_GETS if f"`{code}`" not in reference} == set()


def test_the_readme_is_short() -> None:
    """The README has at most 120 lines."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_decisions_are_numbered_and_dated() -> None:
    """Each decision has the next number, a date and a status. The index has a row with the same."""
    folder = ROOT / "docs/decisions"
    records = sorted(folder.glob("0*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = path.read_text()
        head = re.match(r"# (\d{4}): (.+)\n\n- Date: (\d{4}-\d\d-\d\d)\n- Status: (.+)\n", text)
        assert head is not None, path.name
        number, title, date, status = head.groups()
        assert path.name.startswith(number)
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]
        assert (
            f"| [{number}]({path.name}) | {date} | {title} | {status} |"
            in (folder / "index.md").read_text()
        )


def test_the_site_has_each_page() -> None:
    """`make docs` ends with an error for a page that its navigation lacks."""
    named = (ROOT / "mkdocs.yml").read_text()
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    assert [str(it) for it in pages if f" {it}\n" not in named and it.parts[0][0] != "."] == []


def test_the_changelog_has_the_released_version() -> None:
    """The changelog begins with Unreleased, then versions with dates.

    The newest is the package's.
    """
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert heads[0] == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(version[1])}\] - \d{{4}}-\d\d-\d\d", heads[1])
