"""Decides on each request before the control plane and the data planes see it.

The access key and the signature of a request identify the caller. Keys of AssumeRole belong to
their role. The only other key is the developer's, who is the account's administrator. Policies come
with the deployed state, so that a change holds as soon as the call that makes it has returned.
"""

import logging
import re
from typing import Any, Protocol

from aiohttp import web

from local import bodies, trust
from local.iam import operations
from local.iam.actions import needs
from local.iam.authentication import Authentication, Refused
from local.iam.policy import Need
from local.iam.refusals import Kind, refuse
from local.iam.roles import Caller, Roles
from local.state import State

log = logging.getLogger("local.iam")

# The paths of the data planes' calls, by the service that they must be signed for.
_INVOCATIONS = {
    "sagemaker": re.compile(r"/endpoints/[^/]+/invocations(-response-stream)?"),
    "lambda": re.compile(r"/2015-03-31/functions/[^/]+/invocations"),
}
_NOT_OWNER = (
    "The request has no valid token. Send the token of cloud.json in the local cloud's "
    "folder as a bearer token, "
    "as LocalCloud.ask does."
)
_WHOLE_SECRET = re.compile(r"arn:aws:secretsmanager:.+-[A-Za-z0-9]{6}")


class Control(Protocol):
    """Requests to the control plane."""

    async def get_json(self, path: str, **query: str) -> Any:
        """Return the role of a key, or the ARN of a secret."""


class Authorizer:
    """Decides on every request."""

    def __init__(self, control: Control, keys: trust.Keys) -> None:
        """`keys` are the developer's."""
        self._control = control
        self._token = keys.token
        self._authentication = Authentication(control, keys)
        self.roles = Roles()

    def apply(self, state: State) -> None:
        """Use the policies of a deployed state."""
        self.roles.apply(state.roles, state.bucket_policies)

    @web.middleware
    async def middleware(self, request: web.Request, handler: trust.Handler) -> web.StreamResponse:
        """Pass a request on, or answer it with a refusal."""
        if request.path.startswith("/_local/"):
            if not trust.matches_secret(
                request.headers.get("Authorization"), f"Bearer {self._token}"
            ):
                return web.json_response({"message": _NOT_OWNER}, status=403)
            return await handler(request)
        try:
            signature, caller = await self._authentication.of(request)
        except Refused as error:
            log.warning(
                "%s %s: %s %s", request.method, request.path, error.kind.name, error.message
            )
            return refuse(request, error.service, error.kind, error.message)
        if caller is None:
            return await handler(request)
        scope = operations.scope(signature)
        # The path selects the data plane, so a signature for another service must not bypass the
        # check.
        if request.method == "POST" and any(
            path.fullmatch(request.path)
            for service, path in _INVOCATIONS.items()
            if service != scope.service
        ):
            return refuse(request, scope.service, Kind.WRONG_SERVICE)
        try:
            refused = await self._refusal(request, scope, caller)
        except (ValueError, KeyError, TypeError, AttributeError, SyntaxError):
            return refuse(request, scope.service, Kind.MALFORMED)
        if refused is not None:
            log.warning("AccessDenied: %s", refused)
            return refuse(request, scope.service, Kind.DENIED, refused)
        return await handler(request)

    async def permit(self, request: web.Request, service: str, need: Need) -> web.Response | None:
        """Return the refusal of a request to a data plane of its own address, or None.

        The request must be signed for `service`, by a caller that has the permission `need`.
        """
        try:
            signature, caller = await self._authentication.of(request)
        except Refused as error:
            log.warning("%s %s: %s", request.method, request.path, error.kind.name)
            return refuse(request, service, error.kind, error.message)
        scope = operations.scope(signature)
        if scope.service != service:
            return refuse(request, service, Kind.WRONG_SERVICE)
        if caller is None:
            return None
        if refused := self.roles.refusal(caller, need, scope.region):
            log.warning("AccessDenied: %s", refused)
            return refuse(request, service, Kind.DENIED, refused)
        return None

    async def _refusal(
        self, request: web.Request, scope: operations.Scope, caller: Caller
    ) -> str | None:
        query = dict(request.query)
        body = b""
        if operations.needs_body(scope.service, request.method, query):
            content = await bodies.read(request, bodies.LARGEST)
            if content is None:
                raise ValueError("the body is too long")
            body = content
        call = operations.Call(
            scope=scope,
            account=caller.account,
            method=request.method,
            host=request.host,
            path=request.raw_path.partition("?")[0],
            query=query,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
        )
        required = needs(call)
        if required is None:
            named = operations.operation(call) if scope.service != "s3" else None
            action = f"{scope.service}:{named[0] if named else f'{request.method} {call.path}'}"
            return (
                f"User: {caller.arn} is not authorized to perform: {action} (the local cloud "
                "does not know which "
                "permissions this operation needs)"
            )
        for need in required:
            if refused := self.roles.refusal(
                caller, await self._resolved(need, scope.region), scope.region
            ):
                return refused
        return None

    async def _resolved(self, need: Need, region: str) -> Need:
        if not need.action.startswith("secretsmanager:") or need.resource == "*":
            return need
        if _WHOLE_SECRET.fullmatch(need.resource):
            return need
        arn = await self._control.get_json("secret", id=need.resource, region=region)
        # A secret that does not exist is checked under the requested name.
        return Need(need.action, arn or need.resource)
