"""The bundle of certificate authorities for clients."""

from pathlib import Path

import pytest

from cli.lib.trust import bundle
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
