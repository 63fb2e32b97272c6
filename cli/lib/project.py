"""The paths that commands use, and the error that ends one."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
"""The local cloud's folder: its state, its logs, and the file that describes the stack in it."""
LOGS = LOCAL / "logs"

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
"""Variables that name the certificate authorities of TLS clients."""
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""Codes of OpenSSL's X509_V_ERR: a certificate's issuer is itself, or is not known."""


class CommandError(Exception):
    """A command failed. The message tells the user what failed, why, and what to do."""

    status = 1
    """The exit status of the command."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        """Keep the message and the path of the `log` that has more."""
        super().__init__(message)
        self.log = log


class UsageError(CommandError):
    """The command line has a value or a combination of options that no parser could refuse."""

    status = 2


def owner(error: OSError) -> str:
    """Return to whom a file belongs that may not be used, as the end of a sentence."""
    if not isinstance(error, PermissionError) or not isinstance(error.filename, str):
        return ""
    for path in (Path(error.filename), *Path(error.filename).parents):
        try:
            found = path.stat()
        except OSError:  # the folder that it is in may not be looked into
            continue
        if found.st_uid == os.geteuid():
            return ""
        try:
            name = path.owner()
        except KeyError:
            name = f"user {found.st_uid}"
        return f". {path} belongs to {name}; run the command as that user."
    return ""


def _stale() -> str:
    """Return what is wrong with the variables of certificates, empty if nothing is.

    The file of a local cloud with TLS may be gone by now. ssl does not name it in its error.
    """
    for name in _CERTIFICATES:
        path = os.environ.get(name)
        if path and not Path(path).exists():
            return (
                f"the variable {name} names {path}, which does not exist. Clear it by `unset "
                f'{name}`, or set it anew by `eval "$(sluice env)"`'
            )
    return ""


def why(error: BaseException) -> str:
    """Return the reason of an error in words, without Python's `[Errno 111]`.

    Of a certificate that is not trusted, and of authorities that are not there, the words say what
    to do.
    """
    inner = getattr(error, "reason", None)  # of urllib's URLError
    if isinstance(inner, BaseException):
        return why(inner)
    if (refused := getattr(error, "verify_message", None)) is not None:  # of ssl, slow to import
        remedy = (
            ". If its authority is yours, name that one's file: `export "
            "SSL_CERT_FILE=/path/to/authority.pem`"
        )
        unknown = getattr(error, "verify_code", 0) in _UNKNOWN_AUTHORITY
        return f"the certificate is not trusted: {refused}{remedy if unknown else ''}"
    if isinstance(error, FileNotFoundError) and error.filename is None and (said := _stale()):
        return said
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
