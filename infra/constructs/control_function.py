"""The control function: the admin API behind the distribution, with a package and a role of its own."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.admin_functions import admin_environment, grant_right
from infra.constructs.admin_secret import AdminSecret
from infra.constructs.function import add_function
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings

CONCURRENCY = 10
"""Of the admin API where concurrency is reserved: the ceiling of what guessing at its secret can cost."""


class ControlFunction(Construct):
    """Makes keys and reads usage; it can call no model.

    It alone may put accounts, which is how keys are made. The stream function and the sweeper change accounts, too,
    for they reserve and book on them: that they change nothing else of a key is their code's doing. IAM tells items by
    their partition and not by their attributes, and an update makes an item that is not there.

    It is reached by its URL, behind the distribution, with the origin secret as the stream function, and by whoever has
    the admin secret. The other way, `lambda:InvokeFunction`, leads to `AdminFunctions`. With `admin_url` false there is
    that way only: no such function, no URL, no secret, nothing of it on the internet.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: UsageTable,
        origin: OriginSecret,
    ) -> None:
        """Package and create the function; grant it the admin secret and the right to all."""
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
                **admin_environment(settings, usage_table),
                "SLUICE_ADMIN_SECRET": self.secret.secret.secret_arn,
                **origin.variables,
            },
        )
        self.secret.grant_read(self.function)
        grant_right(usage_table, self.function, "all")
        self.url = self.function.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.NONE, invoke_mode=lambda_.InvokeMode.BUFFERED
        )
