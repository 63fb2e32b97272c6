"""What clients are to trust beside the authorities that they know: the local stack's own."""

import ssl
from pathlib import Path

import certifi


def bundle(authority: str) -> Path:
    """Make a file of the authorities in use and the local stack's, beside the latter's own; its path.

    SSL_CERT_FILE takes the place of a client's own authorities, and the shell that it is set in has other uses.
    """
    path = Path(authority).with_name("bundle.pem")
    known = Path(ssl.get_default_verify_paths().cafile or certifi.where()).read_text()  # SSL_CERT_FILE's, if it is set
    own = Path(authority).read_text()
    path.write_text(known if own in known else f"{known}\n{own}")
    return path
