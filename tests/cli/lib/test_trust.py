"""Which certificate authorities clients trust."""

from pathlib import Path

import pytest

from cli.lib.stack import LocalStack
from cli.lib.trust import authority_of, bundle
from local.cloudfront.certificate import ensure


def test_bundle_keeps_what_was_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle has the authorities in use and the local one, also when it is itself in use."""
    trusted = tmp_path / "known.pem"
    trusted.write_text("known")
    authority = ensure(tmp_path).authority
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    path = bundle(str(authority))
    assert path.read_text() == f"known\n{authority.read_text()}"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    again = bundle(str(authority)).read_text()
    assert again.count(authority.read_text()) == 1


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("https://localhost:8787/v1", True),
        ("https://127.0.0.1:8787", True),
        ("http://localhost:8787/v1", False),
        ("https://localhost:8788/v1", False),
        ("https://localhost/v1", False),
        ("https://example.com:8787/v1", False),
        ("https://localhost:x/v1", False),
        ("https://[x", False),
    ],
)
def test_the_local_stack_has_its_own(
    url: str, is_local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only at the local stack's address its authority is trusted, and only if it speaks TLS."""
    own = str(ensure(tmp_path).authority)
    monkeypatch.setattr("cli.lib.stack._FILE", tmp_path / "stack.json")
    assert authority_of(url) is None
    LocalStack("http://localhost:8787/v1", "k", "m", "t").save()
    assert authority_of(url) is None
    LocalStack("https://localhost:8787/v1", "k", "m", "t", authority=own).save()
    assert authority_of(url) == (own if is_local else None)
