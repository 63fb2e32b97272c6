"""The service stack: endpoint, functions, distribution."""

from functools import partial
from pathlib import Path

from aws_cdk import CfnOutput, Environment, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.admin_functions import AdminFunctions
from infra.constructs.background_keeper import BackgroundKeeper
from infra.constructs.control_function import ControlFunction
from infra.constructs.dashboard import Dashboard
from infra.constructs.domain import Domain
from infra.constructs.edge import Edge
from infra.constructs.key_figures import KeyFigures
from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.playground import Playground
from infra.constructs.recall_function import RecallFunction
from infra.constructs.service_alarms import ServiceAlarms
from infra.constructs.socket_function import SocketFunction
from infra.constructs.stream_function import StreamFunction, keeper_arn
from infra.constructs.stream_table import StreamTable
from infra.constructs.sweeper import Sweeper
from infra.constructs.usage_table import UsageTable
from infra.constructs.websocket_api import WebSocketApi
from infra.settings.deployment import Settings


class ServiceStack(Stack):
    """The resources that serve requests.

    The outputs are DistributionDomain, FunctionUrl, FunctionName, EndpointName, ModelName,
    SweeperName, AdminFunctionName, and the functions of single rights, such as
    AdminUsageFunctionName. With `admin_url` there are also AdminFunctionUrl and AdminSecretArn,
    with `domain` also Domain. Unless `persistence` is off, there are RecallFunctionName,
    RecallFunctionUrl and BackgroundFunctionName, and with `webhook_url` WebhookSecretArn. With
    `websocket` there are WebSocketBaseUrl and SocketFunctionName.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: UsageTable,
        stream_table: StreamTable | None = None,
        certificate: acm.ICertificate | None = None,
        web_acl: str | None = None,
        env: Environment | None = None,
    ) -> None:
        """Compose the stack and grant the functions their rights.

        Args:
            scope: The app.
            construct_id: The stack's name.
            root: The folder with the sources, weights and Dockerfile.
            settings: The deployment's settings.
            usage_table: The state stack's table of accounts and requests.
            stream_table: Its table of kept answers. None: no answer is kept.
            certificate: The certificate that a stack made for the settings' domain.
            web_acl: The ARN of a web ACL.
            env: The account and region of the deployment. Needed only with stacks in us-east-1.

        """
        super().__init__(
            scope,
            construct_id,
            description="Sluice: endpoint, functions, distribution",
            env=env,
            cross_region_references=env is not None,
        )
        endpoint = ModelEndpoint(self, "Model", root=root, settings=settings)
        secret = OriginSecret(self, "OriginSecret")
        stream = StreamFunction(
            self,
            "Stream",
            root=root,
            settings=settings,
            usage_table=usage_table,
            stream_table=stream_table,
            endpoint=endpoint,
            secret=secret,
        )
        sweeper = Sweeper(
            self,
            "Sweeper",
            root=root,
            settings=settings,
            usage_table=usage_table,
            stream_table=stream_table,
        )
        websocket = (
            WebSocketApi(self, "WebSocket", settings=settings) if settings.websocket else None
        )
        recall = sockets = signals = None
        keeper = None
        if stream_table is not None:
            keeper = BackgroundKeeper(
                self,
                "Background",
                root=root,
                settings=settings,
                stream_table=stream_table,
                stream=stream.release.alias,
            )
            recall = RecallFunction(
                self,
                "Recall",
                root=root,
                settings=settings,
                usage_table=usage_table,
                stream_table=stream_table,
                endpoint=endpoint,
                secret=secret,
                websocket_url=None if websocket is None else websocket.url,
            )
        if stream_table is not None and websocket is not None:
            add_sockets = partial(
                SocketFunction,
                self,
                root=root,
                settings=settings,
                usage_table=usage_table,
                stream_table=stream_table,
                endpoint=endpoint,
                secret=secret,
                url=websocket.url,
            )
            signals = add_sockets("SocketControl")
            sockets = add_sockets("Socket", control=signals.release.alias)
            websocket.serve(
                *(sockets.release.alias, signals.release.alias),
                *(sockets.function, signals.function),
            )
        control = None
        if settings.admin_url:
            control = ControlFunction(
                self,
                "Control",
                root=root,
                settings=settings,
                usage_table=usage_table,
                stream_table=stream_table,
                origin=secret,
            )
        admin = AdminFunctions(
            self,
            "Admin",
            root=root,
            settings=settings,
            usage_table=usage_table,
            stream_table=stream_table,
        )
        domain = Domain(self, "CustomDomain", settings=settings, certificate=certificate)
        playground = Playground(self, "Playground", root=root) if settings.playground else None
        edge = Edge(
            self,
            "Edge",
            url=stream.url,
            recall_url=None if recall is None else recall.url,
            admin_url=None if control is None else control.url,
            playground=playground,
            secret=secret,
            price_class=settings.price_class,
            domain=domain,
            web_acl=web_acl,
            strict_transport=settings.stage != "local",
        )

        watched_sockets = [it.function for it in (sockets, signals) if it is not None]
        ServiceAlarms(
            self,
            "Alarms",
            settings=settings,
            stream=stream.function,
            recall=None if recall is None else recall.function,
            sockets=watched_sockets,
        )
        if settings.key_figures == "insights":
            settling = [stream.function, *([] if sockets is None else [sockets.function])]
            KeyFigures(self, "KeyFigures", settings=settings, functions=settling)
        if settings.dashboard:
            Dashboard(
                self,
                "Dashboard",
                settings=settings,
                stream=stream.function,
                sweeper=sweeper.function,
                endpoint=endpoint,
                usage_table=usage_table,
                recall=None if recall is None else recall.function,
                stream_table=stream_table,
                sockets=watched_sockets,
            )

        # The stream function changes accounts and the ledger, and marks hours whose rollups must be
        # made again. It reads rollups, and whether an operator has stopped the service. It reads a
        # request's two items when another process settled the request first. It puts alerts about
        # budgets, which the sweeper sends.
        usage_table.grant_in(stream.function, ["GetItem", "UpdateItem"], "KEY#*", "LEDGER#*")
        usage_table.grant_in(stream.function, ["GetItem"], "SERVICE")
        usage_table.grant_in(stream.function, ["PutItem"], "LEDGER#*", "USAGE", "ALERTS")
        usage_table.grant_in(stream.function, ["Query"], "USAGE", "USAGE#*")
        endpoint.grant_stream(stream.function)
        if sockets is not None and signals is not None and stream_table is not None:
            # The socket function answers requests as the stream function does, and reads no usage.
            # The states and messages of sockets have partitions.
            usage_table.grant_in(sockets.function, ["GetItem", "UpdateItem"], "KEY#*", "LEDGER#*")
            usage_table.grant_in(sockets.function, ["GetItem"], "SERVICE")
            usage_table.grant_in(sockets.function, ["PutItem"], "LEDGER#*", "USAGE", "ALERTS")
            endpoint.grant_stream(sockets.function)
            all_but_delete = ["GetItem", "PutItem", "Query", "UpdateItem"]
            stream_table.grant_in(sockets.function, all_but_delete, "R#*", "V#*")
            stream_table.grant_watch(sockets.function)
            stream_table.grant_in(sockets.function, ["GetItem", "PutItem"], "I#*")
            of_sockets = ["GetItem", "PutItem", "UpdateItem"]
            stream_table.grant_in(sockets.function, of_sockets, "C#*")
            stream_table.grant_key(sockets.function)
            # Its control function reads accounts to authenticate, spends tickets, and cancels as
            # the recall function does.
            usage_table.grant_in(signals.function, ["GetItem"], "KEY#*", "LEDGER#*", "SERVICE")
            usage_table.grant_in(
                signals.function, ["UpdateItem"], "LEDGER#*", attributes=["cancel", "key", "state"]
            )
            endpoint.grant_stream(signals.function)
            stream_table.grant_in(signals.function, all_but_delete, "R#*")
            stream_table.grant_in(signals.function, of_sockets, "C#*")
            stream_table.grant_in(signals.function, ["GetItem", "DeleteItem"], "T#*")
            stream_table.grant_key(signals.function)
        # No role deletes anything but rollups, which can be made again. Neither the sweeper nor the
        # admin functions may call a model or a function.
        usage_table.grant_in(
            sweeper.function, ["GetItem", "Query"], "KEY#*", "LEDGER#*", "USAGE", "USAGE#*"
        )
        usage_table.grant_in(sweeper.function, ["UpdateItem"], "KEY#*", "LEDGER#*", "USAGE")
        usage_table.grant_in(sweeper.function, ["PutItem"], "LEDGER#*", "USAGE", "USAGE#*")
        usage_table.grant_in(sweeper.function, ["DeleteItem"], "USAGE", "USAGE#*")
        # It sums what a month has cost, and stops the service at a ceiling.
        watched = ["GetItem", "PutItem", "UpdateItem"]
        usage_table.grant_in(sweeper.function, watched, "SERVICE", "ALERTS")
        usage_table.grant_indexes(sweeper.function, "overdue", "keys")
        if stream_table is not None and recall is not None and keeper is not None:
            # The recall function reads accounts to authenticate, and counts requests: a call may
            # name no attribute of an account but its balances. It flags a running request as
            # cancelled, by a write whose condition names `key` and `state`. It can change no
            # limit, total or count of tokens.
            usage_table.grant_in(recall.function, ["GetItem"], "KEY#*", "LEDGER#*")
            usage_table.grant_in(recall.function, ["UpdateItem"], "KEY#*", attributes=["balance"])
            usage_table.grant_in(
                recall.function, ["UpdateItem"], "LEDGER#*", attributes=["cancel", "key", "state"]
            )
            endpoint.grant_stream(recall.function)
            # A response's head, events and bodies are in its partition, and so are the slots of its
            # readers. Whoever finds a producer dead ends the response in its place. A conversation
            # has a partition, to which responses append. The sweeper removes what was deleted, and
            # what deleted keys have stored.
            kept = ["R#*", "V#*"]
            writes = ["GetItem", "PutItem", "Query", "UpdateItem"]
            stream_table.grant_in(stream.function, writes, *kept)
            stream_table.grant_watch(stream.function)
            # The identities of requests, by which repeats find their response, have partitions.
            stream_table.grant_in(stream.function, ["GetItem", "PutItem"], "I#*")
            stream_table.grant_in(sweeper.function, [*writes, "DeleteItem"], *kept)
            stream_table.grant_in(sweeper.function, ["DeleteItem", "Query"], "ERASE")
            if sockets is not None:
                stream_table.grant_in(sweeper.function, ["DeleteItem"], "C#*")
            stream_table.grant_in(recall.function, [*writes, "DeleteItem"], *kept)
            # Places bound the background responses. A canceller gives the place back.
            stream_table.grant_in(stream.function, ["PutItem", "UpdateItem"], "Q#")
            stream_table.grant_in(recall.function, ["UpdateItem"], "Q#")
            # The calls of a key that follow running responses take slots, and so do its repeats.
            followers = [recall.function, stream.function]
            for function in [*followers, *([] if sockets is None else [sockets.function])]:
                stream_table.grant_in(function, ["PutItem", "Query", "UpdateItem"], "L#*")
            stream_table.grant_in(keeper.function, ["Query", "UpdateItem"], "Q#")
            stream_table.grant_in(keeper.function, writes, "R#*")
            if settings.webhook_url is not None:
                stream_table.grant_in(keeper.function, [*writes, "DeleteItem"], "W#")
                recall.function.add_to_role_policy(
                    iam.PolicyStatement(
                        actions=["lambda:InvokeFunction"], resources=[keeper_arn(self, settings)]
                    )
                )
            # The stream function lists stored chats, whose list shares its path with the request
            # for one.
            for function in (stream.function, recall.function, sweeper.function):
                stream_table.grant_index(function)
            if sockets is not None:
                stream_table.grant_in(recall.function, ["PutItem"], "T#*")
            for function in (
                *(stream.function, recall.function),
                *(sweeper.function, keeper.function),
            ):
                stream_table.grant_key(function)

        CfnOutput(self, "DistributionDomain", value=edge.distribution.distribution_domain_name)
        if domain.name is not None:
            CfnOutput(self, "Domain", value=domain.name)
        CfnOutput(self, "FunctionUrl", value=stream.url.url)
        CfnOutput(self, "FunctionName", value=stream.function.function_name)
        if recall is not None:
            CfnOutput(self, "RecallFunctionName", value=recall.function.function_name)
            CfnOutput(self, "RecallFunctionUrl", value=recall.url.url)
        if websocket is not None and sockets is not None:
            CfnOutput(self, "WebSocketBaseUrl", value=websocket.endpoint)
            CfnOutput(self, "SocketFunctionName", value=sockets.function.function_name)
        if keeper is not None:
            CfnOutput(self, "BackgroundFunctionName", value=keeper.function.function_name)
            if keeper.secret is not None:
                CfnOutput(self, "WebhookSecretArn", value=keeper.secret.secret_arn)
        CfnOutput(self, "EndpointName", value=endpoint.endpoint_name)
        CfnOutput(self, "ModelName", value=settings.model_name)
        CfnOutput(self, "SweeperName", value=sweeper.function.function_name)
        for right, function in admin.functions.items():
            named = "" if right == "all" else right.capitalize()
            CfnOutput(self, f"Admin{named}FunctionName", value=function.function_name)
        if control is not None:
            CfnOutput(self, "AdminFunctionUrl", value=control.url.url)
            CfnOutput(self, "AdminSecretArn", value=control.secret.secret.secret_arn)
