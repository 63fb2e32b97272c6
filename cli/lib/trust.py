"""A file of the certificate authorities to trust: the usual ones and the local stack's."""

import ssl
from pathlib import Path

import certifi


def bundle(authority: str) -> Path:
    """Write a bundle of the authorities in use and the local stack's. Return its path.

    `authority` is the path of the local stack's. SSL_CERT_FILE replaces all authorities of a
    client, and other programs run in the same shell, so the bundle has the usual ones too.
    """
    path = Path(authority).with_name("bundle.pem")
    # SSL_CERT_FILE's, if it is set
    usual = Path(ssl.get_default_verify_paths().cafile or certifi.where()).read_text()
    own = Path(authority).read_text()
    path.write_text(usual if own in usual else f"{usual}\n{own}")
    return path
