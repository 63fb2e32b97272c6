"""The admin API of a deployed stack, local or on AWS, as the commands use it.

Where it is stands in the stack's outputs, and its secret in Secrets Manager. With a right, or where the stack has no
admin URL, a function is invoked instead, by whatever the caller's AWS credentials allow: that of all rights, or of one.
"""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

from cli.lib.project import LOCAL, CommandError
from cli.lib.stack import aws_options, undeployed, unreadable

PREFIX = "/admin/v1"
ALL = "all"
RIGHTS = (ALL, "keys", "budgets", "usage", "audit")
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Admin:
    """One stack's admin API."""

    stage: str
    outputs: Mapping[str, str]
    url: str | None
    """Of the distribution; None: the function is invoked."""
    secret: str = ""
    authority: str | None = None
    right: str = ALL
    """Which function is invoked."""

    @classmethod
    def of(cls, stage: str, name: str, *, right: str | None = None) -> Self:
        """Find the admin API of a stage's stack, of which `name` is the setting; with a `right`, by IAM.

        Raises:
            CommandError: there is no such stack, or no access to it.

        """
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        options = aws_options(stage)
        stack = f"{name}-{stage}-service"
        try:
            [described] = boto3.client("cloudformation", **options).describe_stacks(StackName=stack)["Stacks"]
            outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
            if not {"AdminFunctionName", "DistributionDomain"} <= outputs.keys():
                raise undeployed(stack, stage)
            if right is not None or "AdminSecretArn" not in outputs:
                return cls(stage, outputs, None, right=right or ALL)
            manager = boto3.client("secretsmanager", **options)
            found = manager.get_secret_value(SecretId=outputs["AdminSecretArn"], VersionStage="AWSCURRENT")
        except (BotoCoreError, ClientError) as error:
            raise unreadable(stack, stage, error) from None
        authority = _authority() if stage == "local" else None
        scheme = "http" if stage == "local" and authority is None else "https"
        return cls(stage, outputs, f"{scheme}://{outputs['DistributionDomain']}", found["SecretString"], authority)

    def __call__(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """Make a call; give its JSON.

        Raises:
            CommandError: it was refused, or nobody answered.

        """
        status, text = self.raw(method, path, body, **query)
        found: dict[str, Any] = json.loads(text) if text.startswith("{") else {}
        if status >= 400:
            raise CommandError(found.get("error", {}).get("message") or f"The admin API answered {status}.")
        return found

    def raw(self, method: str, path: str, body: object = None, **query: object) -> tuple[int, str]:
        """Make a call; give its status and text. Raises CommandError when nobody answers."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        where = PREFIX + path
        return self._invoke(method, where, asked, body) if self.url is None else self._send(method, where, asked, body)

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """Give everything of a list, page by page."""
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
            with urllib.request.urlopen(request, timeout=_TIMEOUT, context=trust) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()
        except (urllib.error.URLError, TimeoutError) as error:
            raise CommandError(f"The admin API at {self.url} does not answer: {error}") from None

    def _invoke(self, method: str, path: str, query: str, body: object) -> tuple[int, str]:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        event = {"method": method, "path": path, "query": query, "body": body}
        name = self.outputs[f"Admin{'' if self.right == ALL else self.right.capitalize()}FunctionName"]
        try:
            # never again by itself: the secret of a key that is made is in that one answer only
            once = Config(retries={"total_max_attempts": 1}, read_timeout=_TIMEOUT)
            functions = boto3.client("lambda", config=once, **aws_options(self.stage))
            answer = functions.invoke(FunctionName=name, Payload=json.dumps(event))
        except (BotoCoreError, ClientError) as error:
            hint = "" if self.right != ALL else " With one right only, name it: --right usage."
            raise CommandError(f"The function {name} cannot be invoked: {error}.{hint}") from None
        found = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise CommandError(f"The function {name} failed: {found.get('errorMessage')}")
        return found["statusCode"], found["body"]


def _authority() -> str | None:
    from local.cloud import LocalCloud

    cloud = LocalCloud.find(LOCAL)
    return cloud.authority if cloud is not None else None
