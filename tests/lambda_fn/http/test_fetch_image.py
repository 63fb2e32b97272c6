"""Fetching images: only from named hosts, at their public addresses."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import limits
from lambda_fn.http import fetch_image
from lambda_fn.http.fetch_image import FetchError, allowed, fetch, public

HOST = "images.example.com"
URL = f"https://{HOST}/a.png?size=1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for the host, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "host.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Host:
    """A host that sends `reply` for any request, and keeps the requests."""

    def __init__(self) -> None:
        """Begin with no reply: the host is silent."""
        self.reply = b""
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its peer closes it."""
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self.reply)
        await reader.read()
        writer.close()


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> AsyncIterator[Host]:
    """Serve the host on loopback, whose address counts as public here."""
    served = Host()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=serving)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(fetch_image, "tls_context", lambda: trusting)
    monkeypatch.setattr(fetch_image, "_PORT", server.sockets[0].getsockname()[1])
    monkeypatch.setattr(fetch_image, "public", lambda address: True)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", _resolver("127.0.0.1"))
    yield served
    server.close()


def _resolver(*addresses: str) -> Callable[..., object]:
    async def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        assert host.encode("idna")  # as Python's resolver does, which raises for what is no name
        return [(2, 1, 6, "", (address, 443)) for address in addresses]

    return getaddrinfo


async def test_an_image_is_fetched(host: Host) -> None:
    """The request goes to the named host and has nothing of the caller's."""
    host.reply = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nimage"
    assert await fetch(URL, ["*.example.com"], 5) == b"image"
    assert host.requests[0].splitlines()[:2] == [
        b"GET /a.png?size=1 HTTP/1.1",
        f"host: {HOST}".encode(),
    ]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", "redirects"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n", "more than 5 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nimages\r\n",
            "more than 5 bytes",
        ),
        (b"garbage\r\n\r\n", "broke the connection"),
        (b"", "took over"),
    ],
)
async def test_a_host_that_sends_no_image(
    host: Host, reply: bytes, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redirects, other statuses, too many bytes, broken replies and silence end the fetch."""
    host.reply = reply
    if not reply:
        monkeypatch.setattr(limits, "IMAGE_TIMEOUT", 0.2)
    with pytest.raises(FetchError, match=reason):
        await fetch(URL, [HOST], 5)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], []])
async def test_an_inner_address_is_not_called(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name on the list that leads to an inner address is refused, whatever else it leads to."""
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", _resolver(*addresses))
    with pytest.raises(FetchError, match="no public address"):
        await fetch(URL, [HOST], 5)


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://localhost/a",
        "https://[::1]/a",
        "https://example.com.evil.test/a",
        f"https://{HOST}@evil.test/a",
        f"https://{HOST}:8443/a",
        f"http://{HOST}/a",
        f"https://{HOST}/a b",
        f"https://{HOST}/a\r\nx: y",
        f"https://{HOST}/ä",
        f"https://{HOST}\\@evil.test/a",
        f"https://{HOST}/{'a' * limits.MAX_IMAGE_PATH}",
        "https://[",
        "https:///a",
        "https://.example.com/a",
        f"https://{'a' * 64}.example.com/a",
        f"https://{'a.' * 130}example.com/a",
    ],
)
async def test_a_url_that_is_not_allowed(url: str) -> None:
    """Such a URL is refused before a name is resolved. The message does not repeat it."""
    with pytest.raises(FetchError) as caught:
        await fetch(url, ["*.example.com"], 5)
    assert "evil" not in str(caught.value)


@given(st.text(max_size=90), st.sampled_from(["", "a" * 70]))
def test_any_url_is_fetched_or_refused(rest: str, label: str) -> None:
    """Whatever a URL is, there is an answer. A name that is asked for has an acceptable form."""

    async def attempt() -> None:
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(FetchError):
            patch.setattr(loop, "getaddrinfo", _resolver())
            await fetch(f"https://{label}{rest}.example.com/a", ["*.example.com"], 5)

    asyncio.run(attempt())


def test_the_list_of_hosts() -> None:
    """A name allows itself, a star the names below one."""
    assert allowed("a.example.com", ["*.example.com"])
    assert allowed("example.com", ["example.com"])
    assert not allowed("example.com", ["*.example.com"])
    assert not allowed("badexample.com", ["*.example.com", "example.com"])


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_public_addresses(address: str, known: bool) -> None:
    """Only addresses of the public internet count."""
    assert public(address) is known
