"""Decides what a role may do, by its own policies and those of the resource.

Pure, except for a cache of decisions.
"""

import json
from dataclasses import dataclass
from typing import Any

from local.iam.policy import Context, Need, Principal, Statement, Verdict, evaluate, parse
from local.state import Role

# The maximum number of cached decisions, which no deployment reaches. A full cache is emptied.
_CACHED = 10_000


@dataclass(frozen=True)
class Caller:
    """A holder of temporary credentials of a role. `role` is the role's ARN.

    `session_policy` is the policy that AssumeRole got, or empty.
    """

    role: str
    session: str
    session_policy: str = ""

    @property
    def account(self) -> str:
        """The id of the role's account."""
        return self.role.split(":")[4]

    @property
    def arn(self) -> str:
        """The ARN of the session, by which AWS names the caller."""
        name = self.role.rpartition("/")[2]
        return f"arn:aws:sts::{self.account}:assumed-role/{name}/{self.session}"


@dataclass(frozen=True)
class _Role:
    stated: Role
    identity: tuple[Statement, ...]
    boundary: tuple[Statement, ...] | None
    trust: tuple[Statement, ...]


class Roles:
    """All roles and bucket policies of one deployed state."""

    def __init__(self) -> None:
        """There are no roles yet."""
        self._roles: dict[str, _Role] = {}
        self._buckets: dict[str, tuple[Statement, ...]] = {}
        self._decided: dict[tuple[Caller, Need, str], str | None] = {}

    def apply(self, roles: tuple[Role, ...], buckets: dict[str, Any]) -> None:
        """Use a deployed state, and forget earlier decisions."""
        current = self._roles
        self._roles = {
            role.arn: current[role.arn]
            if role.arn in current and current[role.arn].stated == role
            else _parsed(role)
            for role in roles
        }
        self._buckets = {
            f"arn:aws:s3:::{name}": parse(document) for name, document in buckets.items()
        }
        self._decided.clear()

    def refusal(self, caller: Caller, need: Need, region: str) -> str | None:
        """Return AWS's message if the caller lacks a permission, or None if it has it."""
        question = (caller, need, region)
        if question not in self._decided:
            if len(self._decided) >= _CACHED:
                self._decided.clear()
            self._decided[question] = self._decide(caller, need, region)
        return self._decided[question]

    def may_not_invoke(self, role: str, function: str) -> str | None:
        """Return the reason why a role may not invoke a function, both by their ARNs, or None."""
        need = Need("lambda:InvokeFunction", function)
        return self.refusal(Caller(role, "lambda"), need, function.split(":")[3])

    def trusts(
        self, role: str, service: str, context: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ) -> bool:
        """Return whether a service may assume a role."""
        parsed = self._roles.get(role)
        need = Need("sts:AssumeRole", role, context)
        return (
            parsed is not None
            and evaluate(parsed.trust, need, {}, Principal((service,))) is Verdict.ALLOWED
        )

    def _decide(self, caller: Caller, need: Need, region: str) -> str | None:
        role = self._roles.get(caller.role)
        context: Context = {
            "aws:principalaccount": (caller.account,),
            "aws:principalarn": (caller.role,),
            "aws:principaltype": ("AssumedRole",),
            "aws:requestedregion": (region,),
            # There is one account, and the loopback interface counts as TLS.
            "aws:resourceaccount": (caller.account,),
            "aws:securetransport": ("true",),
            "aws:sourceip": ("127.0.0.1",),
        }
        principal = Principal((caller.role, caller.arn), caller.account)
        identity = evaluate(role.identity, need, context) if role else Verdict.SILENT
        resource = evaluate(self._of_resource(need), need, context, principal)
        boundary = Verdict.ALLOWED
        if role is not None and role.boundary is not None:
            boundary = evaluate(role.boundary, need, context)
        session = Verdict.ALLOWED
        if caller.session_policy:
            session = evaluate(parse(caller.session_policy), need, context)
        sources = {
            "identity-based policy": identity,
            "resource-based policy": resource,
            "permissions boundary": boundary,
            "session policy": session,
        }
        for source, verdict in sources.items():
            if verdict is Verdict.DENIED:
                article = "an" if source[0] == "i" else "a"
                return _words(caller, need, f"with an explicit deny in {article} {source}")
        # Within an account, a policy of the resource is enough to grant a permission. A role's
        # trust policy is not: the caller's own policies must grant sts:AssumeRole as well.
        granted = identity is Verdict.ALLOWED or (
            resource is Verdict.ALLOWED and need.action != "sts:AssumeRole"
        )
        if not granted:
            return _words(
                caller, need, f"because no identity-based policy allows the {need.action} action"
            )
        if need.action == "sts:AssumeRole" and resource is not Verdict.ALLOWED:
            return _words(
                caller, need, f"because no resource-based policy allows the {need.action} action"
            )
        for source in ("permissions boundary", "session policy"):
            if sources[source] is not Verdict.ALLOWED:
                return _words(caller, need, f"because no {source} allows the {need.action} action")
        return None

    def _of_resource(self, need: Need) -> tuple[Statement, ...]:
        if need.action == "sts:AssumeRole":
            role = self._roles.get(need.resource)
            return role.trust if role else ()
        if need.resource.startswith("arn:aws:s3:::"):
            return self._buckets.get(need.resource.partition("/")[0], ())
        return ()


def _parsed(role: Role) -> _Role:
    return _Role(
        stated=role,
        identity=tuple(statement for document in role.policies for statement in parse(document)),
        boundary=None if role.boundary is None else parse(role.boundary),
        trust=parse(role.trust),
    )


def _words(caller: Caller, need: Need, why: str) -> str:
    # S3 puts the ARN in quotes.
    resource = json.dumps(need.resource) if need.action.startswith("s3:") else need.resource
    return (
        f"User: {caller.arn} is not authorized to perform: {need.action} on resource: {resource} "
        f"{why}"
    )
