"""The recall function: it reads, resumes, lists, cancels and deletes kept answers."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.release import Release
from infra.constructs.stream_function import public_environment
from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings


class RecallFunction(Construct):
    """The stream function's package and runtime, behind a streaming function URL of its own.

    It has a reserved concurrency of its own, so that answers can be read and stopped while every
    environment of the stream function is busy. Like the stream function, it rejects callers without
    the origin secret.
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
        websocket_url: str | None = None,
    ) -> None:
        """Package and create the function. The service stack grants its rights.

        `websocket_url` is the address of sockets, for which the function makes tickets.
        """
        super().__init__(scope, construct_id)
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content="function",
            # The exec wrapper starts this module as a program.
            handler="lambda_fn.recall.main.run",
            description="Reads, resumes, lists and cancels kept answers",
            timeout=LIMITS.lambda_timeout,
            reserved=settings.recall_concurrency,
            traced=True,
            environment={
                **public_environment(self, settings, usage_table, stream_table, endpoint),
                **secret.variables,
                **({} if websocket_url is None else {"SLUICE_WEBSOCKET_URL": websocket_url}),
            },
        )
        self.release = Release(
            self, "Release", function=self.function, settings=settings, what="recall function"
        )
        self.url = self.release.alias.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.NONE,
            invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
        )
