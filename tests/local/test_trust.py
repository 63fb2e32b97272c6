"""Every socket of a local cloud rejects web pages, foreign names and other users."""

import asyncio
import http.client
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from local import trust
from local.cloud import LocalCloud, LocalCloudError
from tests.support.local_deployment import NAMED, STAGE, Deployed, deployed, listening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc says who listens")

PATHS = (
    "/",
    "/_local/status",
    "/_local/faults",
    "/_control/state",
    "/moto-api/data.json",
    "/ping",
    "/metrics",
    "/invocations",
    "/2018-06-01/runtime/invocation/next",
    "/endpoints/e/invocations",
    "/?Action=ListStacks&X-Amz-Credential=local/20260101/us-east-1/cloudformation/aws4_request",
)
PAGES = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-origin"},
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Yield a local cloud with every kind of listener."""
    with deployed(tmp_path_factory.mktemp("listeners")) as deployment:
        yield deployment


def ask(
    port: int, method: str, path: str, headers: dict[str, str]
) -> tuple[int, http.client.HTTPMessage]:
    """Return status and headers of a response.

    A connection that is closed without a response counts as a 403.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": f"localhost:{port}", **headers}.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        response = connection.getresponse()
        response.read()
    except (ConnectionError, http.client.BadStatusLine):
        return 403, http.client.HTTPMessage()
    finally:
        connection.close()
    return response.status, response.headers


@pytest.mark.parametrize(
    ("host", "port", "tls", "own"),
    [
        ("localhost", 80, False, True),  # as clients send it
        ("LOCALHOST:80", 80, False, True),
        ("127.0.0.1", 80, False, True),
        ("[::1]", 80, False, True),
        ("[::1]:80", 80, False, True),
        ("localhost", 443, True, True),
        ("localhost:443", 443, True, True),
        ("[::1]:9000", 9000, True, True),
        ("localhost", 443, False, False),
        ("localhost", 80, True, False),
        ("localhost", 9000, False, False),
        ("localhost:443", 80, False, False),
        ("localhost:", 80, False, False),
        ("localhost:x", 80, False, False),
        ("::1", 80, False, False),
        ("", 80, False, False),
        (":80", 80, False, False),
        ("evil.example", 80, False, False),
        ("evil.example:80", 80, False, False),
        ("evil.localhost", 80, False, False),
        ("localhost.evil", 443, True, False),
        ("80", 80, False, False),
    ],
)
def test_a_host_without_a_port_has_that_of_the_scheme(
    host: str, port: int, tls: bool, own: bool
) -> None:
    """Clients leave 80 out with HTTP, and 443 with HTTPS. No other name passes for that."""
    transport = Mock(asyncio.Transport)
    known = {"sockname": ("127.0.0.1", port), "sslcontext": object() if tls else None}
    transport.get_extra_info.side_effect = known.get
    request = make_mocked_request("GET", "/", {"Host": host}, transport=transport)
    assert trust.is_for_own_host(request) == own


def test_buckets_have_names_below_localhost() -> None:
    """Only the gateway takes them, with its port."""
    for host, port in (("bucket.localhost", 80), ("bucket.localhost:9000", 9000)):
        assert trust.is_own_host(host, port, buckets=True)
        assert not trust.is_own_host(host, port)
        assert not trust.is_own_host(host, port + 1, buckets=True)


def test_all_are_known(running: Deployed) -> None:
    """The tests name every listener, and all are on loopback only."""
    environments = running.runtime_apis()
    [function] = running.cloud.ask("status")["functions"]
    assert len(environments) == function["environments"]
    ports = {*running.ports.values(), *environments}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(port, 16) in ports:
                assert address == "0100007F"


def test_pages_and_foreign_names(running: Deployed) -> None:
    """Every path of every listener rejects a request of a page, except at the edge.

    It also rejects a request to a foreign host name.
    """
    edge = running.ports["edge"]
    for port in listening(running.cloud.pid):
        for method in ("GET", "POST", "OPTIONS"):
            for path in PATHS:
                for host in (
                    f"evil.example:{port}",
                    "localhost",
                    f"localhost:{port + 1}",
                    f"localhost.evil:{port}",
                ):
                    status, _ = ask(port, method, path, {"Host": host})
                    assert 400 <= status < 500, (running.ports, port, method, path, host)
                for page in PAGES:
                    status, headers = ask(port, method, path, page)
                    assert not [
                        name for name in headers if name.lower().startswith("access-control-")
                    ]
                    assert 400 <= status < 500 or port == edge, (
                        running.ports,
                        port,
                        method,
                        path,
                        page,
                    )


def test_sockets(running: Deployed) -> None:
    """As on AWS, a page of any origin may open a socket. A foreign name opens none.

    The name of `--host` opens one, because clients in containers need it as they need the edge. No
    page may call `@connections`, whose calls are signed anyway.
    """
    port = running.ports["sockets"]
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for host in ("evil.example", f"localhost:{port + 1}", f"evil.{NAMED}"):
        assert ask(port, "GET", f"/{STAGE}", {**upgrade, "Host": host})[0] == 403
    for method in ("GET", "POST", "DELETE"):
        path = f"/{STAGE}/@connections/AAAAAAAAAAAAAAA="
        assert ask(port, method, path, {})[0] == 403
        for page in PAGES:
            assert ask(port, method, path, page)[0] == 403
    for page in ({}, *PAGES):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Host": f"localhost:{port}", **upgrade, **page}
        try:
            connection.request("GET", f"/{STAGE}", headers=headers)
            assert connection.getresponse().status == 101
        finally:
            connection.close()


def test_a_name_that_was_given_is_the_edge_s_alone(running: Deployed) -> None:
    """Only the edge accepts the host name of `--host`. Any port may follow the name.

    The edge accepts no similar name.
    """
    edge = running.ports["edge"]
    for host in (NAMED, f"{NAMED}:{edge}", f"{NAMED.upper()}:1", "[fd00::1]", "[fd00::1]:9000"):
        for port in listening(running.cloud.pid):
            status, _ = ask(port, "GET", "/event", {"Host": host})
            assert status == 200 if port == edge else 400 <= status < 500, (
                running.ports,
                port,
                host,
            )
    for host in (
        f"evil.{NAMED}",
        f"{NAMED}.evil",
        f"{NAMED}:{edge}:{edge}",
        f"{NAMED}:",
        f"{NAMED}:x",
        "",
        ":",
        "[fd00::1",
    ):
        assert ask(edge, "GET", "/event", {"Host": host})[0] >= 400, host


@pytest.mark.parametrize(
    "name", ["", "*", "*.example", "a:80", "http://a", "a b", "a/b", "[::1", "a.", "ä"]
)
def test_what_is_no_name_is_refused_at_the_start(name: str, tmp_path: Path) -> None:
    """An invalid host name, such as a pattern, ends the start with the reason."""
    with pytest.raises(LocalCloudError, match="without a port"):
        LocalCloud.start(tmp_path, options=[f"--host={name}"])


def test_nobody_without_a_secret(running: Deployed) -> None:
    """A program without a key, token or signature is rejected.

    The edge and the program's own Runtime API are exceptions.
    """
    for name, port in running.ports.items():
        if name not in {"edge", "runtime API"}:
            for path in PATHS:
                assert 400 <= ask(port, "POST", path, {})[0] < 500, (name, path)


def test_a_function_url_past_the_edge(running: Deployed) -> None:
    """A function URL answers programs, as on AWS. A page's request must come through the edge."""
    port, edge = running.ports["function URLs"], running.ports["edge"]
    assert ask(port, "GET", "/event", {"Host": running.host})[0] == 200
    for page in PAGES:
        assert ask(port, "GET", "/event", {"Host": running.host, **page})[0] == 403
        assert (
            ask(port, "GET", "/event", {"Host": running.host, "x-sluice-edge": "", **page})[0]
            == 403
        )
        assert ask(edge, "GET", "/event", {"x-sluice-edge": "guessed", **page})[0] == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_other_users(running: Deployed) -> None:
    """Another user can neither use the Runtime API nor read the local cloud's files."""
    [port, *_] = running.runtime_apis()
    script = (
        "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', "
        "int(sys.argv[1]), timeout=60);"
        "c.request('GET', '/2018-06-01/runtime/invocation/next'); print(c.getresponse().status);"
        "print(os.access(sys.argv[2], os.R_OK))"
    )
    file = str(running.cloud.directory / "cloud.json")
    completed = subprocess.run(
        ["/usr/bin/python3", "-c", script, str(port), file],
        user=65534,
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert completed.stdout.split() == ["403", "False"], completed.stderr


def test_modes(running: Deployed) -> None:
    """Only its own user can read the files of a local cloud, above all its keys and logs."""
    folder = running.cloud.directory
    for path in (folder, folder / "logs", folder / "cloud.json", *(folder / "logs").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    everything = "".join(path.read_text(errors="replace") for path in (folder / "logs").iterdir())
    for secret in (running.cloud.keys.secret_key, running.cloud.keys.token):
        assert secret not in everything
        assert secret not in str(running.cloud)
