"""The control plane's HTTP server: moto's application, and the paths under `/_control/`.

    GET  /_control/state?after=VERSION     the desired state, once it is newer (204 after 25 s)
    POST /_control/report                  {"applied": version, "endpoints": {...},
                                            "distributions": {...}, "gateways": {...}}
    POST /_control/telemetry               log lines, metrics and traces, as in `telemetry`
    GET  /_control/alarms?now=UNIX         the states of all alarms, evaluated as at that time
    GET  /_control/code?function=NAME&version=V&region=REGION  the zip of a function's version
    GET  /_control/objects?uri=s3://...    [{"key", "size"}] below that address
    GET  /_control/object?bucket=B&key=K   an object's bytes
    GET  /_control/credentials?role=ARN&session=NAME     of AssumeRole, Expiration in Unix seconds
    GET  /_control/caller?key=ACCESSKEYID  the role of a temporary key, as `access.caller` says,
                                           or null
    GET  /_control/log_group?name=NAME&region=REGION           whether it exists
    GET  /_control/kept                    what outlives this local cloud, as in `kept`
    POST /_control/kept                    what an earlier one left
    GET  /_control/secret?id=NAME&region=REGION                a secret's ARN, or null

It listens on loopback, and answers only requests with the token that its process prints on standard
output.
"""

import io
import json
import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moto.awslambda.models import lambda_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs.models import logs_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from moto.sagemaker.models import sagemaker_backends
from werkzeug.serving import BaseWSGIServer, make_server

from local import trust
from local.moto import access, cloudfront, components, kept
from local.moto.alarms import evaluate
from local.moto.clients import INTERNAL_HEADER, client
from local.moto.exchange import EXCHANGE
from local.moto.handler import Handler
from local.moto.items.calls import ItemCalls
from local.moto.state import snapshot
from local.moto.telemetry import take

log = logging.getLogger("local.moto")

_POLL_S = 25.0
# Seconds between two evaluations of all alarms.
_ALARMS_S = 15.0
# In seconds, the longest time of AssumeRole. An environment keeps its credentials for its whole
# life.
_KEPT_S = 12 * 3600
# Services whose changes the data planes must see.
_WATCHED = {"lambda", "sagemaker", "cloudfront", "iam", "scheduler", "events"}
# The beginnings of operations that change nothing.
_READS = ("Describe", "Get", "List")
# In a form, boto3 and CDK write the operation first.
_OPERATION = re.compile(rb"Action=(\w+)")
_FORM = "application/x-www-form-urlencoded"
# A signature names the service fourth: key, date, region, service.
_SCOPE = re.compile(r"Credential=[^/]*/[^/]*/[^/]*/([^/]+)/aws4_request")
_ENVIRON_TOKEN = "HTTP_" + trust.CONTROL.upper().replace("-", "_")
_ENVIRON_INTERNAL = "HTTP_" + INTERNAL_HEADER.upper().replace("-", "_")

Environ = dict[str, Any]
Start = Callable[..., Any]


class Application:
    """The WSGI application.

    moto has no locks, so the requests of a service come one at a time. Otherwise a condition of a
    DynamoDB write might not hold, and an S3 object could not be read while it is replaced.
    CloudFormation's requests are the exception: they wait for stacks, which make requests of their
    own. `local.cloudformation` allows one operation on a stack at a time.
    """

    def __init__(self, token: str) -> None:
        """Create moto's application. Each service's part is loaded at its first request."""
        self._token = token
        self.moto = ItemCalls(DomainDispatcherApplication(create_backend_app))
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """Answer one request."""
        if not trust.matches_secret(environ.get(_ENVIRON_TOKEN), self._token):
            return _answer(
                start_response,
                "403 Forbidden",
                b"only the local cloud itself may call the control plane\n",
                "text/plain",
            )
        path = environ.get("PATH_INFO", "")
        if path == "/_control/telemetry":
            lines = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            with self._locks["logs"], self._locks["monitoring"], self._locks["xray"]:
                take(lines)
            return _json(start_response, {})
        if path == "/_control/alarms":
            asked = parse_qs(environ.get("QUERY_STRING", ""))
            return _json(start_response, self.alarms(float(asked.get("now", [time.time()])[0])))
        if path.startswith("/_control/"):
            query = {
                key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()
            }
            return _control(path.removeprefix("/_control/"), query, environ, start_response)
        if environ["REQUEST_METHOD"] == "GET" and (document := cloudfront.config(path)) is not None:
            return _answer(start_response, "200 OK", document, "text/xml")
        service = _service(environ)
        changes = _may_change(service, environ)
        if (answered := components.answer(environ, start_response)) is not None:
            return answered
        if service == "cloudformation":
            return self.moto(environ, start_response)
        with self._locks[service]:
            body = list(self.moto(environ, start_response))
        if changes:
            EXCHANGE.changed()
            if _ENVIRON_INTERNAL not in environ:
                EXCHANGE.settle()
        return body

    def alarms(self, now: float) -> list[dict[str, str]]:
        """Return the states of all alarms, evaluated as at a time in Unix seconds."""
        with self._locks["monitoring"]:
            return evaluate.all_regions(now)

    def watch(self) -> None:
        """Evaluate all alarms every `_ALARMS_S` seconds, for ever."""
        while True:
            time.sleep(_ALARMS_S)
            try:
                self.alarms(time.time())
            except Exception:
                log.exception("alarms could not be evaluated")


def _service(environ: Environ) -> str:
    """Return the service that a request is signed for; without a signature S3, as in moto."""
    match = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    return match[1] if match else "s3"


def _may_change(service: str, environ: Environ) -> bool:
    """Return whether a request may change what the data planes run.

    They parse and apply the whole state after each change, which takes longer than most requests.
    """
    if environ["REQUEST_METHOD"] == "GET":
        return False
    if service == "s3":
        return bool(environ["QUERY_STRING"].startswith("policy"))
    if service not in _WATCHED:
        return False
    operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith(_FORM):
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        found = _OPERATION.match(body)
        operation = found[1].decode() if found else ""
    return not operation.startswith(_READS)


def _control(
    path: str, query: dict[str, str], environ: Environ, start_response: Start
) -> Iterable[bytes]:
    match path:
        case "state":
            if not EXCHANGE.wait_newer(int(query.get("after", "0")), _POLL_S):
                return _answer(start_response, "204 No Content", b"")
            return _json(start_response, snapshot())
        case "report":
            report = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            _show_statuses(report["endpoints"])
            EXCHANGE.report(
                report["applied"],
                {kind: report[kind] for kind in ("endpoints", "distributions", "gateways")},
            )
            return _json(start_response, {})
        case "kept" if environ["REQUEST_METHOD"] == "POST":
            kept.load(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
            return _json(start_response, {})
        case "kept":
            return _json(start_response, kept.dump())
        case "code":
            function = lambda_backends[DEFAULT_ACCOUNT_ID][query["region"]].get_function(
                query["function"], query["version"]
            )
            return _answer(start_response, "200 OK", function.code_bytes)
        case "objects":
            return _json(start_response, _objects(query["uri"]))
        case "object":
            item = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(query["bucket"], query["key"])
            return (
                _answer(start_response, "200 OK", item.value)
                if item
                else _answer(start_response, "404 Not Found", b"")
            )
        case "credentials":
            # A function's name may have one character; a session's name has at least two.
            session = query["session"].ljust(2, "_")
            credentials = client("sts").assume_role(
                RoleArn=query["role"], RoleSessionName=session, DurationSeconds=_KEPT_S
            )["Credentials"]
            return _json(
                start_response, {**credentials, "Expiration": credentials["Expiration"].timestamp()}
            )
        case "caller":
            return _json(start_response, access.caller(query["key"]))
        case "log_group":
            return _json(
                start_response,
                query["name"] in logs_backends[DEFAULT_ACCOUNT_ID][query["region"]].groups,
            )
        case "secret":
            return _json(start_response, access.secret_arn(query["id"], query["region"]))
    return _answer(start_response, "404 Not Found", b"")


def _objects(uri: str) -> list[dict[str, Any]]:
    """Return the objects below an address, none if there is no such bucket."""
    parts = urlsplit(uri)
    s3 = client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=parts.path[1:])
    try:
        return [
            {"key": item["Key"], "size": item["Size"]}
            for page in pages
            for item in page.get("Contents", [])
        ]
    except s3.exceptions.NoSuchBucket:
        return []


def _show_statuses(endpoints: dict[str, dict[str, Any]]) -> None:
    for regions in list(sagemaker_backends.values()):
        for backend in list(regions.values()):
            for name, endpoint in list(backend.endpoints.items()):
                if name in endpoints:
                    endpoint.endpoint_status = endpoints[name]["status"]
                    endpoint.failure_reason = endpoints[name]["reason"]


def _json(start_response: Start, value: Any) -> Iterable[bytes]:
    return _answer(start_response, "200 OK", json.dumps(value).encode(), "application/json")


def _answer(
    start_response: Start, status: str, body: bytes, kind: str = "application/octet-stream"
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body] if body else []


def bind(token: str) -> tuple[BaseWSGIServer, Application]:
    """Return a server on a free loopback port, and the application that it serves.

    The port is the server's `port`, and `serve_forever` runs it. Requests must have `token`.
    """
    served = Application(token)
    httpd = make_server("127.0.0.1", 0, served, threaded=True, request_handler=Handler)
    return httpd, served
