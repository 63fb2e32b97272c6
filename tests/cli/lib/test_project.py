"""Errors of commands."""

import os
import ssl
from pathlib import Path

import pytest

from cli.lib.project import owner, why


def test_the_owner_of_a_forbidden_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that cannot be looked at, it is the owner of the folder that it is in."""
    file = tmp_path / "gone" / "file"
    error = PermissionError(13, "Permission denied", str(file))
    assert owner(error) == ""  # the folder is this user's, who can help himself
    me = tmp_path.owner()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert owner(error) == f". {tmp_path} belongs to {me}; run the command as that user."
    assert owner(FileNotFoundError(2, "No such file or directory", str(file))) == ""
    assert owner(PermissionError(13, "Permission denied")) == ""


def test_a_certificate_that_is_not_trusted() -> None:
    """Another authority is advised only where the certificate's own is not known."""
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] (_ssl.c:1)")
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    said = "the certificate is not trusted: unable to get local issuer certificate. "
    assert why(error).startswith(said)
    assert "`export SSL_CERT_FILE=" in why(error)
    error.verify_code, error.verify_message = 10, "certificate has expired"
    assert why(error) == "the certificate is not trusted: certificate has expired"


def test_authorities_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variable is named, as ssl does not name the file: that of a removed local cloud, say."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(FileNotFoundError) as failed:
        ssl.create_default_context(cafile=str(tmp_path / "gone.pem"))
    assert why(failed.value) == "No such file or directory"
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    assert why(failed.value).startswith(
        f"the variable SSL_CERT_FILE names {tmp_path}/gone.pem, which does not exist. Clear it by "
        "`unset SSL_CERT_FILE`"
    )
    with pytest.raises(FileNotFoundError) as other:
        (tmp_path / "other").read_text()
    assert why(other.value) == "No such file or directory"
