"""The certificate authorities that clients of the local stack trust: its own, beside the usual
ones.
"""

import ssl
from pathlib import Path

import certifi


def bundle(authority: str) -> Path:
    """Write the authorities in use and the local stack's (the file `authority`) into one file, and
    return its path.

    SSL_CERT_FILE replaces a client's authorities, and other programs run in the shell that it is
    set in.
    """
    path = Path(authority).with_name("bundle.pem")
    # SSL_CERT_FILE's, if it is set
    usual = Path(ssl.get_default_verify_paths().cafile or certifi.where()).read_text()
    own = Path(authority).read_text()
    path.write_text(usual if own in usual else f"{usual}\n{own}")
    return path
