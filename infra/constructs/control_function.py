"""The control function: the admin API behind the distribution, with its own package and role."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.admin_functions import admin_environment, grant_right
from infra.constructs.admin_secret import AdminSecret
from infra.constructs.function import add_function
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings

CONCURRENCY = 10
"""The function's reserved concurrency, in deployments that reserve any.

It limits what guesses at the secret can cost.
"""


class ControlFunction(Construct):
    """A function that makes keys and reads usage. It cannot call models.

    Only this function and the admin functions may put account items, which makes keys. The stream
    function and the sweeper update accounts when they reserve and settle. IAM could limit their
    updates to the attributes that they name, but a condition names secrets and limits, too, and an
    update can make a missing item. So only the code of these functions ensures that they change
    nothing else of a key.

    Callers reach the function by its URL behind the distribution, with the admin secret. Like the
    stream function, it requires the origin secret. Callers with `lambda:InvokeFunction` use
    `AdminFunctions` instead. With `admin_url` false there is no control function, no URL and no
    admin secret.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: UsageTable,
        stream_table: StreamTable | None,
        origin: OriginSecret,
    ) -> None:
        """Package and create the function, and grant it the admin secret and all rights."""
        super().__init__(scope, construct_id)
        self.secret = AdminSecret(self, "Secret", root=root, settings=settings)
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content="control",
            handler="lambda_fn.control.handler.handler",
            description="Serves the admin API",
            timeout=LIMITS.control_timeout,
            reserved=CONCURRENCY,
            environment={
                **admin_environment(settings, usage_table, stream_table),
                "SLUICE_ADMIN_SECRET": self.secret.secret.secret_arn,
                **origin.variables,
            },
        )
        self.secret.grant_read(self.function)
        grant_right(usage_table, stream_table, self.function, "all")
        self.url = self.function.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.NONE, invoke_mode=lambda_.InvokeMode.BUFFERED
        )
