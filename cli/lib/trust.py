"""Which certificate authorities to trust: the usual ones and the local stack's."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cli.lib.stack import LocalStack

_NAMES = frozenset({"localhost", "127.0.0.1"})
"""What the local stack's certificate is for."""


def authority_of(url: str) -> str | None:
    """Return the file of the only authority to trust at a URL; None for the usual ones.

    It is the local stack's where the URL is at its address, also by another name of this machine.
    """
    stack = LocalStack.saved()
    if stack is None or stack.authority is None:
        return None
    try:
        parts = urlsplit(url)
        here = parts.scheme == "https" and parts.hostname in _NAMES and parts.port == stack.port
    except ValueError:  # no URL
        return None
    return stack.authority if here and Path(stack.authority).exists() else None


def bundle(authority: str) -> Path:
    """Write a bundle of the authorities in use and the local stack's. Return its path.

    `authority` is the path of the local stack's. SSL_CERT_FILE replaces all authorities of a
    client, and other programs run in the same shell, so the bundle has the usual ones too.
    """
    path = Path(authority).with_name("bundle.pem")
    import certifi

    # SSL_CERT_FILE's, if it is set
    usual = Path(ssl.get_default_verify_paths().cafile or certifi.where()).read_text()
    own = Path(authority).read_text()
    path.write_text(usual if own in usual else f"{usual}\n{own}")
    return path
