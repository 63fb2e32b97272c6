"""The socket function: it answers the messages of sockets."""

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

MAX_EVENT_AGE = 60
"""Seconds for which Lambda keeps an event that it cannot run."""


class SocketFunction(Construct):
    """The stream function's package and runtime, invoked by the WebSocket API.

    It has a reserved concurrency of its own: the number of messages that are answered at once. A
    failed event is not repeated, because its client may already have a part of the answer.
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
            handler="lambda_fn.socket.gateway.main.run",
            description="Answers the messages of sockets",
            timeout=LIMITS.lambda_timeout,
            reserved=settings.websocket_concurrency,
            traced=True,
            environment={
                **public_environment(self, settings, usage_table, stream_table, endpoint),
                **answering_environment(settings),
                **secret.variables,
                "SLUICE_WEBSOCKET_URL": url,
            },
        )
        grant_answering(self.function, settings)
        self.release = Release(
            self, "Release", function=self.function, settings=settings, what="socket function"
        )
        self.release.alias.configure_async_invoke(
            max_event_age=Duration.seconds(MAX_EVENT_AGE), retry_attempts=0
        )
