"""The two functions of sockets: one answers requests, and one opens, cancels and closes."""

from pathlib import Path

from aws_cdk import Duration
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.release import Release
from infra.constructs.stream_function import (
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


CONTROL_CONCURRENCY = 20
"""Reserved for opening, cancelling and closing. Each takes some 0.1 s, so it is 200 a second: the
stage takes 100 handshakes.
"""


class SocketFunction(Construct):
    """The stream function's package and runtime, invoked by the WebSocket API.

    It answers requests, as many at once as its reserved concurrency says. With `control` it opens
    sockets, cancels responses and closes sockets, so that these do not wait while all environments
    of the other one are busy. An event that failed is not repeated, because its client may have had
    a part of the answer.
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
        control: bool = False,
    ) -> None:
        """Package and create the function. The service stack grants its rights.

        `url` is the address of the API's stage.
        """
        super().__init__(scope, construct_id)
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content="function",
            # The exec wrapper starts this module as a program.
            handler=f"lambda_fn.socket.gateway.{'control_main' if control else 'main'}.run",
            description=f"{'Opens, cancels and closes' if control else 'Answers requests of'} sockets",
            timeout=_CONTROL_TIMEOUT if control else LIMITS.lambda_timeout,
            reserved=CONTROL_CONCURRENCY if control else settings.websocket_concurrency,
            traced=True,
            environment={
                **public_environment(self, settings, usage_table, stream_table, endpoint),
                **({} if control else answering_environment(settings)),
                **secret.variables,
                "SLUICE_WEBSOCKET_URL": url,
            },
        )
        if not control:
            grant_answering(self.function, settings)
        self.release = Release(
            self,
            "Release",
            function=self.function,
            settings=settings,
            what="control function of sockets" if control else "socket function",
            failures={"Errors": 2},  # they have no function URL
        )
        self.release.alias.configure_async_invoke(
            max_event_age=Duration.seconds(MAX_EVENT_AGE), retry_attempts=0
        )
