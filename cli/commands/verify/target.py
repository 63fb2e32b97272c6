"""The deployment that is verified: its outputs, its AWS clients, temporary keys and requests."""

import http.client
import json
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlencode, urlsplit

from cli.commands.check.wire import Response
from cli.lib.admin_api import Admin
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, outputs_of, running_cloud

OWNER = "sluice verify"
"""The owner of every temporary key."""
_ABANDONED_S = 7200
"""A temporary key of this age is of a run that was interrupted."""
_POLL_S = 0.25
_TIMEOUT_S = 120.0


class NoResponse(Exception):
    """A request had no response; the message says what happened."""


@dataclass
class Target:
    """A deployed stack, local or on AWS.

    `listener` is the address of the local cloud's function URLs; None on AWS, where each has an
    address of its own.
    """

    stage: str
    name: str
    outputs: Mapping[str, str]
    options: Mapping[str, str]
    admin: Admin
    listener: str | None = None
    authority: str | None = None
    key: str = ""
    """The temporary key of this run."""
    patience: float = 60.0
    """Seconds to wait for logs and settlements; CloudWatch's are late by some seconds."""
    _made: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, stage: str, name: str) -> "Target":
        """Return a stage's stack.

        Raises:
            CommandError: there is no such stack, or no access to it.

        """
        admin = Admin.of(stage, name)
        state = outputs_of(stage, f"{name}-{stage}-state") or {}
        listener = running_cloud().ask("status")["function_urls"] if stage == "local" else None
        outputs = {**state, **admin.outputs}
        options = aws_options(stage)
        return cls(stage, name, outputs, options, admin, listener, admin.authority)

    @property
    def stack(self) -> str:
        """The name of the service stack."""
        return f"{self.name}-{self.stage}-service"

    @property
    def origin(self) -> str:
        """The address of the distribution, without a path."""
        scheme = "http" if self.stage == "local" and self.authority is None else "https"
        domain = self.outputs.get("Domain") or self.outputs["DistributionDomain"]
        return f"{scheme}://{domain}"

    def client(self, service: str, **more: Any) -> Any:
        """Return boto3's client of a service."""
        import boto3

        return boto3.client(service, **{**self.options, **more})

    # Keys

    def make_key(self, **fields: Any) -> str:
        """Make a temporary key. `remove_keys` deletes it."""
        asked = {"name": f"{OWNER} {time.strftime('%Y-%m-%d')}", "owner": OWNER, **fields}
        made = self.admin("POST", "/keys", asked)
        self._made.append(made["id"])
        return str(made["secret"])

    @property
    def key_id(self) -> str:
        """The public id of this run's key."""
        return self._made[0]

    def remove_keys(self) -> None:
        """Delete the temporary keys of this run, and those that an interrupted one left."""
        old = time.time() - _ABANDONED_S
        rows = self.admin.pages("/keys", owner=OWNER)
        left = {row["id"] for row in rows if row["created_at"] < old} | {*self._made}
        for key_id in left:
            self.admin("DELETE", f"/keys/{key_id}")
        self._made.clear()

    # Requests

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        url: str | None = None,
        timeout: float = _TIMEOUT_S,
    ) -> Response:
        """Send a request to the distribution, or to the function URL `url`.

        Return the response with the time at which each piece came. `key` replaces the run's own; an
        empty one sends none.

        Raises:
            NoResponse: no status came.

        """
        base = self.origin if url is None else (self.listener or url.rstrip("/"))
        parts = urlsplit(base)
        sent = {"content-type": "application/json", "user-agent": "sluice-verify"}
        bearer = self.key if key is None else key
        if bearer:
            sent["authorization"] = f"Bearer {bearer}"
        if url is not None:
            sent["host"] = urlsplit(url).netloc
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            trust = ssl.create_default_context(cafile=self.authority)
            connection = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=trust)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        began = time.monotonic()
        try:
            connection.request(method, path, data, {**sent, **(headers or {})})
            received = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoResponse(f"{method} {path}: {error or type(error).__name__}") from None
        found = Response(
            received.status, {name.lower(): value for name, value in received.getheaders()}
        )
        try:
            while piece := received.read1(65_536):
                found.pieces.append((time.monotonic() - began, piece))
        except (OSError, http.client.HTTPException):
            found.cut = True
        finally:
            connection.close()
        return found

    def chat(self, prompt: str = "Say hello.", **fields: Any) -> Response:
        """Request a chat completion from the distribution.

        `key`, `headers`, `url` and `timeout` are `send`'s. All others are fields of the request.
        """
        more = {
            name: fields.pop(name)
            for name in ("key", "headers", "url", "timeout")
            if name in fields
        }
        body = {
            "model": self.outputs["ModelName"],
            "messages": [{"role": "user", "content": prompt}],
            **fields,
        }
        return self.send("POST", "/v1/chat/completions", body, **more)

    def script(self, script: Mapping[str, Any], **fields: Any) -> Response:
        """Request a completion in which the scripted engine does what `script` says."""
        return self.chat(json.dumps(script), **fields)

    # What is deployed

    @cached_property
    def resources(self) -> list[dict[str, str]]:
        """The resources of the service stack."""
        # DescribeStackResources has no more than 100.
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        return [
            one
            for page in pages.paginate(StackName=self.stack)
            for one in page["StackResourceSummaries"]
        ]

    def physical(self, kind: str, logical: str = "") -> list[str]:
        """Return the physical ids of a type, of those whose logical id begins with `logical`."""
        return [
            one["PhysicalResourceId"]
            for one in self.resources
            if one["ResourceType"] == kind and one["LogicalResourceId"].startswith(logical)
        ]

    @cached_property
    def function(self) -> dict[str, Any]:
        """The stream function's configuration."""
        return dict(
            self.client("lambda").get_function_configuration(
                FunctionName=self.outputs["FunctionName"]
            )
        )

    @cached_property
    def endpoint(self) -> dict[str, Any]:
        """The endpoint."""
        name = self.outputs["EndpointName"]
        return dict(self.client("sagemaker").describe_endpoint(EndpointName=name))

    @cached_property
    def variant(self) -> dict[str, Any]:
        """The production variant of the endpoint's configuration."""
        found = self.client("sagemaker").describe_endpoint_config(
            EndpointConfigName=self.endpoint["EndpointConfigName"]
        )
        return dict(found["ProductionVariants"][0])

    @cached_property
    def model(self) -> dict[str, Any]:
        """The model that the endpoint serves."""
        sagemaker = self.client("sagemaker")
        name = self.variant.get("ModelName")
        if name is None:
            listed = sagemaker.list_inference_components(
                EndpointNameEquals=self.outputs["EndpointName"]
            )["InferenceComponents"]
            found = sagemaker.describe_inference_component(
                InferenceComponentName=listed[0]["InferenceComponentName"]
            )
            name = found["Specification"]["ModelName"]
        return dict(sagemaker.describe_model(ModelName=name))

    @property
    def container(self) -> Mapping[str, str]:
        """The environment of the endpoint's container."""
        found: Mapping[str, str] = self.model["PrimaryContainer"].get("Environment", {})
        return found

    @property
    def engine(self) -> str:
        """The container's engine; empty if the container is not this project's."""
        return self.container.get("SLUICE_ENGINE", "")

    def role_of(self, function: str) -> str:
        """Return the name of a function's role."""
        found = self.client("lambda").get_function_configuration(FunctionName=function)
        return str(found["Role"].rpartition("/")[2])

    # What arrives later

    def wait(self, found: Callable[[], Any], *, patience: float | None = None) -> Any:
        """Return the first result that is not empty; the last one when time is up."""
        ends = time.monotonic() + (self.patience if patience is None else patience)
        while not (result := found()) and time.monotonic() < ends:
            time.sleep(_POLL_S)
        return result

    def promql(self, query: str) -> list[object]:
        """Return the series that CloudWatch answers a query of PromQL with. Raises OSError."""
        import boto3
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        region = self.client("cloudwatch").meta.region_name
        asked = urlencode({"query": query})
        url = f"https://monitoring.{region}.amazonaws.com/api/v1/query?{asked}"
        signed = AWSRequest("GET", url)
        SigV4Auth(boto3.Session().get_credentials(), "monitoring", region).add_auth(signed)
        request = urllib.request.Request(url, headers=dict(signed.headers))
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return list(json.load(response)["data"]["result"])

    def log_lines(self, group: str, text: str, since: float) -> list[str]:
        """Return the lines of a log group that contain `text`, from Unix time `since`."""
        pages = (
            self.client("logs")
            .get_paginator("filter_log_events")
            .paginate(logGroupName=group, filterPattern=f'"{text}"', startTime=int(since * 1000))
        )
        return [
            event["message"]
            for page in pages
            for event in page["events"]
            if text in event["message"]
        ]

    @property
    def function_log(self) -> str:
        """The stream function's log group."""
        return str(self.function["LoggingConfig"]["LogGroup"])

    @property
    def endpoint_log(self) -> str:
        """The log group that the stack makes for the endpoint's containers."""
        components = self.physical("AWS::SageMaker::InferenceComponent")
        if components:
            return f"/aws/sagemaker/InferenceComponents/{components[0].rpartition('/')[2]}"
        return f"/aws/sagemaker/Endpoints/{self.outputs['EndpointName']}"

    def ledger(self, response: Response) -> dict[str, Any]:
        """Return a request's ledger item, once it is settled; OPEN if it is not in time."""
        request = response.headers["x-request-id"]

        def settled() -> dict[str, Any] | None:
            item = self.admin("GET", f"/requests/{request}")
            return item if item["state"] != "OPEN" else None

        return self.wait(settled) or self.admin("GET", f"/requests/{request}")


@contextmanager
def temporary_keys(target: Target) -> Iterator[None]:
    """Make the run's key, and delete all temporary keys afterwards, whatever happens.

    Raises:
        CommandError: the admin API refused.

    """
    try:
        target.key = target.make_key()
        yield
    finally:
        try:
            target.remove_keys()
        except CommandError as error:
            raise CommandError(
                f"Temporary keys are left: {error} Delete those of `sluice keys list "
                f"--stage {target.stage} --owner '{OWNER}'`."
            ) from None
