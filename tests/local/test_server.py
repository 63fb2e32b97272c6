"""What the local cloud's log says of clients that send no HTTP."""

import asyncio
import contextlib
import logging

import pytest
from aiohttp import ClientConnectionResetError, web

from local.server import no_fault_of_ours


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nrubbish",
        b"GET / HTTP/1.1\r\nHost: x\r\nGone: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ],
)
async def test_clients_leave_no_trace(caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    """No HTTP, another protocol, and a client that has left are a line at most, without a trace."""

    async def handle(request: web.Request) -> web.Response:
        if "Gone" in request.headers:
            raise ClientConnectionResetError("Cannot write to closing transport")
        return web.Response(body=await request.read())

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(no_fault_of_ours)
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(sent)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
        logger.removeFilter(no_fault_of_ours)
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []


def test_faults_stay() -> None:
    """A fault of our own keeps its trace."""
    error = ValueError("ours")
    record = logging.LogRecord("aiohttp.server", logging.ERROR, "", 1, "Error", (), (ValueError, error, None))
    assert no_fault_of_ours(record)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
