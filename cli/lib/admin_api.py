"""The admin API of a deployed stack, local or on AWS, as the commands use it.

The stack's outputs have its address, and Secrets Manager has its secret. If a right is named, or
the stack has no admin URL, the caller's AWS credentials invoke a function instead: that of the
right, or that of all rights.
"""

import argparse
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import Any, Self
from urllib.parse import urlencode

from cli.lib import values
from cli.lib.project import LOCAL, CommandError, UsageError, why
from cli.lib.stack import aws_options, undeployed, unreadable

PREFIX = "/admin/v1"
ALL = "all"
RIGHTS = (ALL, "keys", "budgets", "usage", "audit")
_TIMEOUT_S = 60.0
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)
"""Seconds before each repeat of a call that Lambda throttled, so that it was not carried out."""


class KeyNotFoundError(CommandError):
    """The admin API has no key of this id."""


@dataclass(frozen=True)
class Admin:
    """One stack's admin API."""

    stage: str
    outputs: Mapping[str, str]
    url: str | None
    """The distribution's URL. If it is None, the function is invoked."""
    secret: str = ""
    authority: str | None = None
    right: str = ALL
    """The right whose function is invoked."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """What the command line calls fields of bodies: {"limits.cost_per_day": "--cost-per-day"}.
    Fields of queries are options of their name.
    """

    @classmethod
    def of(cls, stage: str, name: str, *, right: str | None = None) -> Self:
        """Return the admin API of a stage's stack (`name` is its setting); with a `right`, by IAM.

        Raises:
            CommandError: there is no such stack, or no access to it.

        """
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        options = aws_options(stage)
        stack = f"{name}-{stage}-service"
        try:
            [described] = boto3.client("cloudformation", **options).describe_stacks(
                StackName=stack
            )["Stacks"]
            outputs = {
                output["OutputKey"]: output["OutputValue"]
                for output in described.get("Outputs", [])
            }
            if not {"AdminFunctionName", "DistributionDomain"} <= outputs.keys():
                raise undeployed(stack, stage)
            if right is not None or "AdminSecretArn" not in outputs:
                return cls(stage, outputs, None, right=right or ALL)
            manager = boto3.client("secretsmanager", **options)
            secret = manager.get_secret_value(
                SecretId=outputs["AdminSecretArn"], VersionStage="AWSCURRENT"
            )
        except (BotoCoreError, ClientError) as error:
            raise unreadable(stack, stage, error) from None
        authority = _authority() if stage == "local" else None
        scheme = "http" if stage == "local" and authority is None else "https"
        return cls(
            stage,
            outputs,
            f"{scheme}://{outputs['DistributionDomain']}",
            secret["SecretString"],
            authority,
        )

    def __call__(
        self, method: str, path: str, body: object = None, **query: object
    ) -> dict[str, Any]:
        """Make a call and return its JSON.

        Raises:
            KeyNotFoundError: there is no such key.
            UsageError: an argument is wrong.
            CommandError: the API refused, or did not answer.

        """
        encoded = urlencode({name: value for name, value in query.items() if value is not None})
        call = self._invoke if self.url is None else self._send
        for pause in (*_PAUSES_S, None):
            status, text = call(method, PREFIX + path, encoded, body)
            content = _object(text)
            result = content or {}
            is_throttled = status == 429 and "error" not in result
            if not is_throttled:
                break
            if pause is None:
                raise CommandError("The function of the admin API is busy. Try again.")
            time.sleep(pause)
        if status >= 400:
            found = result.get("error")
            error = found if isinstance(found, dict) else {}
            said = error.get("message") or f"The admin API answered {status}."
            if error.get("code") == "key_not_found":
                raise KeyNotFoundError(f"{said} `sluice keys list` shows the ids of all keys.")
            if status != 400:
                raise CommandError(said)
            raise UsageError(
                _spoken(said, {name: f"--{name}" for name in query} | dict(self.fields))
            )
        if text and content is None:
            raise CommandError(
                f"The admin API answered {status} without JSON. Is it this one's URL?"
            )
        return result

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Yield the items of a list. Each page is requested when it is needed."""
        after = None
        while True:
            page = self("GET", path, after=after, **query)
            yield from page["data"]
            after = page["next"]
            if after is None:
                return

    def _send(self, method: str, path: str, query: str, body: object) -> tuple[int, str]:
        request = urllib.request.Request(  # noqa: S310 (the scheme is ours)
            f"{self.url}{path}" + (f"?{query}" if query else ""),
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.secret}", "content-type": "application/json"},
            method=method,
        )
        trust = ssl.create_default_context(cafile=self.authority) if self.authority else None
        try:
            try:
                answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=trust)  # noqa: S310
            except urllib.error.HTTPError as refusal:
                answer = refusal
            with answer:
                return answer.status, answer.read().decode(errors="replace")
        except (OSError, HTTPException) as error:
            raise CommandError(
                f"The admin API at {self.url} does not answer: {why(error)}"
            ) from None

    def _invoke(self, method: str, path: str, query: str, body: object) -> tuple[int, str]:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        event = {"method": method, "path": path, "query": query, "body": body}
        name = self.outputs[
            f"Admin{'' if self.right == ALL else self.right.capitalize()}FunctionName"
        ]
        try:
            # No retries: the secret of a new key is in this one response only.
            once = Config(retries={"total_max_attempts": 1}, read_timeout=_TIMEOUT_S)
            functions = boto3.client("lambda", config=once, **aws_options(self.stage))
            response = functions.invoke(FunctionName=name, Payload=json.dumps(event))
        except (BotoCoreError, ClientError) as error:
            hint = (
                "" if self.right != ALL else " If you have one right only, name it: --right usage."
            )
            raise CommandError(f"The function {name} cannot be invoked: {error}.{hint}") from None
        result = json.loads(response["Payload"].read())
        if "FunctionError" in response:
            raise CommandError(f"The function {name} failed: {result.get('errorMessage')}")
        return result["statusCode"], result["body"]


def add_access(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Add the options that select a stack's admin API and the way to sign in.

    Without them on the command line, an `inner` parser keeps what the outer one has read.
    """
    values.add_stack(parser, inner=inner)
    unset, off = (argparse.SUPPRESS, argparse.SUPPRESS) if inner else (None, False)
    text = "invoke the admin function by IAM, without the admin secret"
    parser.add_argument(
        "--iam", dest="right", action="store_const", const=ALL, default=unset, help=text
    )
    text = "invoke the admin function of this one right by IAM"
    parser.add_argument("--right", choices=RIGHTS, default=unset, help=text)
    parser.add_argument(
        "--json", action="store_true", default=off, help="print the admin API's JSON"
    )


def admin(args: argparse.Namespace, fields: Mapping[str, str] | None = None) -> Admin:
    """Return the admin API that the command line selects, with what it calls fields of bodies.

    Raises as `Admin.of` does.
    """
    return replace(Admin.of(args.stage, args.stack_name, right=args.right), fields=fields or {})


def _object(text: str) -> dict[str, Any] | None:
    """Return a JSON object, None for any other text."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _spoken(message: str, fields: Mapping[str, str]) -> str:
    """Return a refusal with the command line's words for the fields that the API quotes.

    An item of a list is its field: 'models.0' is --model.
    """
    return re.sub(
        r"'([a-z_.]+?)(?:\.[0-9]+)?'", lambda quoted: fields.get(quoted[1], quoted[0]), message
    )


def _authority() -> str | None:
    from local.cloud import LocalCloud

    cloud = LocalCloud.find(LOCAL)
    return cloud.authority if cloud is not None else None
