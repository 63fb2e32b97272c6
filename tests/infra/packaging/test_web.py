"""The build of the playground."""

from pathlib import Path

import pytest

from infra.packaging import web
from infra.packaging.package import PackageError
from infra.packaging.web import build

PAGE = '<!doctype html><script type="module" src="./src/main.ts"></script>'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with a page of one script."""
    (tmp_path / "web/src").mkdir(parents=True)
    (tmp_path / "web/index.html").write_text(PAGE)
    (tmp_path / "web/src/main.ts").write_text("document.title = 'One';\n")
    return tmp_path


def test_it_is_built_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a change, no build runs. A changed source is built again, under another name."""
    path = build(root=root)
    (first,) = (path / "assets").glob("*.js")
    assert first.name in (path / "index.html").read_text()
    with monkeypatch.context() as patched:
        patched.setattr(web, "_run", lambda *_: pytest.fail("it was built again"))
        assert build(root=root) == path
    (root / "web/src/main.ts").write_text("document.title = 'Two';\n")
    build(root=root)
    (second,) = (path / "assets").glob("*.js")
    assert second.name != first.name


def test_a_page_that_cannot_be_built_is_told_with_its_reason(root: Path) -> None:
    """What was built before stays, and is not taken for the new one."""
    path = build(root=root)
    (root / "web/src/main.ts").write_text("const = ;\n")
    with pytest.raises(PackageError, match="Vite could not build the playground"):
        build(root=root)
    assert (path / "index.html").is_file()
    with pytest.raises(PackageError, match="Vite could not build the playground"):
        build(root=root)


def test_what_is_missing_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Vite, the message says how to go on without a playground."""
    with pytest.raises(PackageError, match=r"web/index\.html"):
        build(root=root / "other")
    monkeypatch.setattr(web, "_VITE", root / "none.js")
    with pytest.raises(PackageError, match="playground=false"):
        build(root=root)
