"""The two functions of sockets: one answers requests, and one opens, cancels and closes."""

from pathlib import Path

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.release import ALIAS, Release
from infra.constructs.stream_function import (
    answering_content,
    answering_environment,
    grant_answering,
    public_environment,
)
from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings

_CONTROL_TIMEOUT = 60.0
MAX_EVENT_AGE = 60
"""Seconds for which Lambda keeps an event that it cannot run."""
CONTROL_EVENT_AGE = 180
"""The same for the control function, whose events are repeated once, a minute after a failure."""


CONTROL_CONCURRENCY = 20
"""Reserved for opening, cancelling and closing. Each takes some 0.1 s, so it is 200 a second: the
stage takes 100 handshakes.
"""


class SocketFunction(Construct):
    """The stream function's package and runtime, invoked by the WebSocket API.

    It answers requests, as many at once as its reserved concurrency says. With `control` it opens
    sockets, cancels responses and closes sockets, so that these do not wait while all environments
    of the other one are busy. A request that failed is not repeated, because its client may have
    had a part of the answer. Lambda tells the control function of it, which ends what was left. Its
    own events are repeated, because none does harm a second time.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: UsageTable,
        stream_table: StreamTable,
        endpoint: ModelEndpoint,
        secret: OriginSecret,
        url: str,
        control: lambda_.IFunction | None = None,
    ) -> None:
        """Package and create the function. The service stack grants its rights.

        `url` is the address of the API's stage. Without `control`, this is the control function,
        and else the one that answers.
        """
        super().__init__(scope, construct_id)
        answers = control is not None
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content=answering_content(settings) if answers else "function",
            # The exec wrapper starts this module as a program.
            handler=f"lambda_fn.socket.gateway.{'main' if answers else 'control_main'}.run",
            description=f"{'Answers requests of' if answers else 'Opens, cancels and closes'} sockets",
            timeout=LIMITS.lambda_timeout if answers else _CONTROL_TIMEOUT,
            reserved=settings.websocket_concurrency if answers else CONTROL_CONCURRENCY,
            traced=True,
            environment={
                **public_environment(self, settings, usage_table, stream_table, endpoint),
                **(
                    answering_environment(settings)
                    if answers
                    else {"SLUICE_SOCKET_FUNCTION": f"{settings.socket_name}:{ALIAS}"}
                ),
                **secret.variables,
                "SLUICE_WEBSOCKET_URL": url,
            },
        )
        if answers:
            grant_answering(self.function, settings)
            # The control function invokes it. By a reference, each would need the other.
            resource = self.function.node.default_child
            assert isinstance(resource, lambda_.CfnFunction)  # noqa: S101 - it has no other
            resource.function_name = settings.socket_name
        else:
            self._grant_next(settings)
        self.release = Release(
            self,
            "Release",
            function=self.function,
            settings=settings,
            what="socket function" if answers else "control function of sockets",
            failures={"Errors": 2},  # they have no function URL
        )
        self.release.alias.configure_async_invoke(
            max_event_age=Duration.seconds(MAX_EVENT_AGE if answers else CONTROL_EVENT_AGE),
            retry_attempts=0 if answers else 1,
            on_failure=None if control is None else destinations.LambdaDestination(control),
        )

    def _grant_next(self, settings: Settings) -> None:
        """Grant the control function to invoke the answering one, where that one has failed."""
        answering = Stack.of(self).format_arn(
            service="lambda",
            resource="function",
            resource_name=f"{settings.socket_name}:{ALIAS}",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        self.function.add_to_role_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[answering])
        )
