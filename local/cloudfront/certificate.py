"""A certificate for `localhost`, with which the edge speaks TLS to clients that verify it.

An authority is made for each certificate and its key is never written, so that trusting the
authority means trusting this certificate only.
"""

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 30
_RENEWED_DAYS = 2
_NAMES = [
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
]


@dataclass(frozen=True)
class Certificate:
    """The files: `authority` is what clients must trust, `server` has the chain and its key."""

    authority: Path
    server: Path

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.server)
        return context


def ensure(directory: Path) -> Certificate:
    """Return the certificate of the local cloud in `directory`.

    It is made if there is none or it is about to expire.
    """
    folder = directory / "tls"
    found = Certificate(folder / "authority.pem", folder / "server.pem")
    if not _is_good(found):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, server = _make()
        found.server.touch(mode=0o600)
        found.server.write_bytes(server)
        found.authority.write_bytes(authority)
    return found


def _is_good(found: Certificate) -> bool:
    if not (found.authority.exists() and found.server.exists()):
        return False
    ends = x509.load_pem_x509_certificate(found.server.read_bytes()).not_valid_after_utc
    return ends > _now() + datetime.timedelta(days=_RENEWED_DAYS)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _make() -> tuple[bytes, bytes]:
    """Return an authority's certificate, and a server's certificate with its key, signed by the
    authority.
    """
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = _name("Sluice local cloud")
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _unsigned(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    server = (
        _unsigned(_name("localhost"), root_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return root.public_bytes(pem), server.public_bytes(pem) + private


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    # clocks differ, at least between a machine and its containers
    begins = _now() - datetime.timedelta(hours=1)
    return builder.not_valid_before(begins).not_valid_after(begins + datetime.timedelta(days=_DAYS))


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
