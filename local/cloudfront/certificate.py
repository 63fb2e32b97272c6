"""A certificate for `localhost`, with which the edge speaks TLS to clients that verify it.

Each certificate has its own authority, whose key is never stored. So a client that trusts the
authority trusts this certificate only.
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
    """The PEM files: clients must trust `authority`; `server` has the certificate and its key."""

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

    A new one is made if there is none, or if it expires within two days.
    """
    folder = directory / "tls"
    certificate = Certificate(folder / "authority.pem", folder / "server.pem")
    if not _is_good(certificate):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, server = _make()
        certificate.server.touch(mode=0o600)
        certificate.server.write_bytes(server)
        certificate.authority.write_bytes(authority)
    return certificate


def _is_good(certificate: Certificate) -> bool:
    if not (certificate.authority.exists() and certificate.server.exists()):
        return False
    ends = x509.load_pem_x509_certificate(certificate.server.read_bytes()).not_valid_after_utc
    return ends > _now() + datetime.timedelta(days=_RENEWED_DAYS)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _make() -> tuple[bytes, bytes]:
    """Return two PEM files: an authority's certificate, and a server's with its key.

    The authority signs the server's certificate.
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
    # Clocks differ, at least between a machine and its containers.
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
