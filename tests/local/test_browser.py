"""A hostile page in a real Chromium, against every listener of a local cloud.

It can read nothing and do nothing. The page is on another port of loopback, or its own name leads
to a listener here, as with DNS rebinding. It sends everything that a page can send without
permission: fetch with and without CORS, forms, images, frames, WebSockets.
"""

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from local import listeners
from tests.support import chromium
from tests.support.local_deployment import SECRET, STAGE, Deployed, deployed

pytestmark = pytest.mark.browser

EVIL = "evil.example"
CREDENTIAL = "X-Amz-Credential=local%2F20260101%2Fus-east-1%2F{}%2Faws4_request&X-Amz-Algorithm=AWS4-HMAC-SHA256"
TEMPLATE = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})

# Every way in which a page can send a request. All are used at once, and the script returns what it
# could read.
ATTACK = """
(async (targets) => {
  const read = [];
  const wait = (start) => new Promise((done) => { start(done); setTimeout(done, 3000); });
  const fetched = async (url, options) => {
    try {
      const answer = await fetch(url, {...options, signal: AbortSignal.timeout(3000)});
      if (answer.type !== 'opaque') read.push([url, answer.status, await answer.text()]);
    } catch (error) {}
  };
  const form = (url, method, fields, enctype) => wait((done) => {
    const frame = document.createElement('iframe');
    frame.name = 'f' + Math.random();
    document.documentElement.append(frame);
    const made = Object.assign(document.createElement('form'), {action: url, method, enctype, target: frame.name});
    for (const [name, value] of Object.entries(fields))
      made.append(Object.assign(document.createElement('input'), {name, value}));
    document.documentElement.append(made);
    made.submit();
    frame.onload = () => {
      try { read.push([url, 0, frame.contentDocument.documentElement.innerText]); } catch (error) {}
      done();
    };
  });
  await Promise.all(targets.flatMap(({url, body}) => [
    fetched(url, {}),
    fetched(url, {mode: 'no-cors'}),
    fetched(url, {method: 'POST', body}),
    fetched(url, {method: 'POST', mode: 'no-cors', body, headers: {'content-type': 'text/plain'}}),
    fetched(url, {method: 'POST', body, headers: {'x-amz-target': 'secretsmanager.GetSecretValue'}}),
    fetched(url, {method: 'PUT', body}),
    fetched(url, {method: 'DELETE'}),
    form(url, 'POST', {[body]: ''}, 'text/plain'),
    form(url, 'POST', {a: 'b'}, 'application/x-www-form-urlencoded'),
    wait((done) => Object.assign(new Image(), {src: url, onload: done, onerror: done})),
    wait((done) => {
      const script = Object.assign(document.createElement('script'), {src: url, onload: done, onerror: done});
      document.documentElement.append(script);
    }),
    wait((done) => {
      const socket = new WebSocket(url.replace('http', 'ws'));
      socket.onopen = () => { read.push([url, 101, 'a socket']); done(); };
      socket.onerror = done;
    }),
  ]));
  return read;
})
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Yield a local cloud with every kind of listener."""
    if shutil.which(chromium.NAME) is None:
        pytest.fail(chromium.INSTALL)
    with deployed(tmp_path_factory.mktemp("browser")) as deployment:
        yield deployment


class Own:
    """The attacker's own server, with its page.

    It also has an unguarded target, which shows that the attack works.
    """

    def __init__(self) -> None:
        """Begin without requests."""
        self.port = 0
        self.came: list[tuple[str, bool]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Record the request, and allow every page to read the response."""
        if request.path == "/page":
            return web.Response(text="<html></html>", content_type="text/html")
        self.came.append(
            (request.method, "upgrade" in request.headers.get("Connection", "").lower())
        )
        return web.Response(text="read me", headers={"Access-Control-Allow-Origin": "*"})


@pytest.fixture
async def own() -> AsyncIterator[Own]:
    """Yield the attacker's server, started on loopback."""
    server = Own()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    sock = listeners.bind([0])
    server.port = sock.getsockname()[1]
    runner = await listeners.serve(app, sock, cancel=False)
    yield server
    await runner.cleanup()


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[chromium.Page]:
    """Yield a page in a browser that resolves the attacker's names to loopback."""
    rules = f"MAP {EVIL} 127.0.0.1, MAP *.{EVIL} 127.0.0.1"
    async with chromium.page(tmp_path / "profile", resolve=rules) as opened:
        yield opened


def targets(running: Deployed, host: str, only: str | None = None) -> list[dict[str, str]]:
    """Return the targets by host name: known targets, and every listener's own paths."""
    secret = CREDENTIAL.format("secretsmanager")
    cloudformation = CREDENTIAL.format("cloudformation")
    paths = {
        "gateway": [
            (f"/?Action=CreateStack&StackName=evil&TemplateBody={TEMPLATE}&{cloudformation}", ""),
            (f"/?{secret}", '{"SecretId": "admin"}'),
            (f"/2015-03-31/functions/listens/invocations?{CREDENTIAL.format('lambda')}", "{}"),
            (f"/endpoints/e/invocations?{CREDENTIAL.format('sagemaker')}", '{"chunks": ["x"]}'),
            ("/_local/faults", '{"kind": "table-down"}'),
            ("/_local/status", ""),
        ],
        "control plane": [
            (f"/?Action=CreateStack&StackName=evil&TemplateBody={TEMPLATE}&{cloudformation}", ""),
            ("/_control/state", ""),
            ("/moto-api/reset", ""),
        ],
        "runtime API": [
            ("/2018-06-01/runtime/invocation/next", ""),
            ("/2018-06-01/runtime/init/error", "{}"),
        ],
        "container": [("/invocations", '{"chunks": ["x"]}'), ("/metrics", ""), ("/ping", "")],
        "function URLs": [("/event", "{}")],
        "edge": [("/event", "{}")],
        "sockets": [(f"/{STAGE}/@connections/AAAAAAAAAAAAAAA=", "{}"), (f"/{STAGE}", "")],
    }
    assert paths.keys() == running.ports.keys()
    return [
        {"url": f"http://{host}:{running.ports[name]}{path}", "body": body}
        for name, some in paths.items()
        if only in {None, name}
        for path, body in some
    ]


def harm(running: Deployed) -> dict[str, Any]:
    """Return the effects of an attack.

    These are stacks, faults, and invocations of the function and the endpoint. Log lines arrive in
    order, but after the response. So one more invocation is made, and its line is waited for.
    """
    clients = [running.client(service) for service in ("cloudformation", "lambda", "logs")]
    stacks, functions, logs = clients
    response = functions.invoke(FunctionName="listens", Payload=b'{"rawPath": "/event"}')
    state = {
        "stacks": sorted(stack["StackName"] for stack in stacks.describe_stacks()["Stacks"]),
        "faults": running.cloud.ask("faults")["faults"],
        "invocations": invocations(logs, response["ResponseMetadata"]["RequestId"]),
        "endpoint": (running.cloud.directory / "logs" / "cloud.log")
        .read_text(errors="replace")
        .count("invoke e:"),
    }
    for stack in clients:
        stack.close()
    return state


def invocations(logs: Any, last: str) -> int:
    """Return the number of invocations in the log, once it has the one with the id `last`."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        with contextlib.suppress(logs.exceptions.ResourceNotFoundException):
            events = logs.filter_log_events(logGroupName="/aws/lambda/listens")["events"]
            starts = [event["message"] for event in events if event["message"].startswith("START")]
            if any(last in start for start in starts):
                return len(starts)
        time.sleep(0.05)
    return pytest.fail(f"the log group has no invocation {last!r}")


def unharmed(running: Deployed, before: dict[str, Any]) -> bool:
    """Return whether nothing happened since `before` but the invocation that `harm` makes."""
    return harm(running) == before | {"invocations": before["invocations"] + 1}


async def test_the_attack_is_one(page: chromium.Page, own: Own) -> None:
    """Against a listener that checks nothing, every request arrives and the response is read."""
    await page.open(f"http://{EVIL}:{own.port}/page")
    read = await page.run(
        f"{ATTACK}({json.dumps([{'url': f'http://127.0.0.1:{own.port}/', 'body': 'x'}])})"
    )
    assert [text for _, _, text in read].count("read me") >= 2
    assert {"GET", "POST", "OPTIONS"} <= {method for method, _ in own.came}
    assert ("GET", True) in own.came


async def test_a_page_of_another_port(running: Deployed, page: chromium.Page, own: Own) -> None:
    """A page of loopback, or of a name that leads there, reaches only the edge and sockets.

    As on AWS, both are open to every page: the caller's key, or `$connect`, guards them.
    """
    open_ones = (f":{running.ports['edge']}/event", f":{running.ports['sockets']}/{STAGE}")
    before = await asyncio.to_thread(harm, running)
    for name in (EVIL, "localhost"):
        await page.open(f"http://{name}:{own.port}/page")
        attacked = [
            target
            for host in ("127.0.0.1", "localhost", EVIL)
            for target in targets(running, host)
            if not target["url"].endswith(open_ones)
        ]
        assert await page.run(f"{ATTACK}({json.dumps(attacked)})") == []
    assert await asyncio.to_thread(unharmed, running, before)


async def test_rebound_names(running: Deployed, page: chromium.Page) -> None:
    """A page whose own name leads to a listener gets only rejections.

    Page and listener have the same origin then.
    """
    before = await asyncio.to_thread(harm, running)
    for name, port in running.ports.items():
        await page.open(f"http://{EVIL}:{port}/ping")
        assert await page.run("location.origin") == f"http://{EVIL}:{port}"
        read = await page.run(f"{ATTACK}({json.dumps(targets(running, EVIL, only=name))})")
        assert read  # it may read the responses
        assert {status for _, status, _ in read} <= {0, 403, 404}, (name, read)
        assert not [
            text for _, _, text in read if SECRET in text or "rawPath" in text or "version" in text
        ]
    assert await asyncio.to_thread(unharmed, running, before)


async def test_the_edge_answers_as_aws_does(
    running: Deployed, page: chromium.Page, own: Own
) -> None:
    """The edge passes a page's request on. Without CORS, no page of another origin can read it."""
    await page.open(f"http://localhost:{own.port}/page")
    script = "fetch({url}).then((answer) => answer.text(), () => 'unreadable')"
    address = json.dumps(f"http://localhost:{running.ports['edge']}/event")
    assert await page.run(script.format(url=address)) == "unreadable"
    await page.open(json.loads(address))
    assert "rawPath" in await page.run(script.format(url=address))
