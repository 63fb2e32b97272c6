"""The deployment's dashboard: what clients feel first, then why, then what it runs on."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.request_metrics import (
    CAUSES,
    KEPT,
    NAMESPACE,
    OUTPUT_TOKENS,
    REJECTED,
    TTFT,
    deployment_of,
)
from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.settings.deployment import Settings

_WIDTH, _HEIGHT, _COLUMNS = 6, 6, 24
Line = list[Any]


class Dashboard(Construct):
    """One dashboard. Its name is that of the deployment."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        stream: lambda_.Function,
        sweeper: lambda_.IFunction,
        endpoint: ModelEndpoint,
        usage_table: UsageTable,
        recall: lambda_.IFunction | None = None,
        stream_table: StreamTable | None = None,
        sockets: Sequence[lambda_.IFunction] = (),
    ) -> None:
        """Create it. Where answers are kept, there are `recall` and `stream_table`.

        `sockets` are the function that answers sockets and the one that opens, cancels and closes.
        """
        super().__init__(scope, construct_id)
        self._settings = settings
        self._deployment = deployment_of(settings)
        self._region = Stack.of(self).region
        self._models = [settings.model_name, *settings.others]
        rows = [
            *([self._clients(stream), self._pace(), self._reasons()] if settings.metrics else []),
            *([] if endpoint.metric_dimensions is None else [self._endpoint(endpoint)]),
            self._platform(stream, sweeper, usage_table),
        ]
        if recall is not None and stream_table is not None:
            rows.append(self._kept(recall, stream_table))
        if sockets:
            rows.append(self._of_sockets(*sockets))
        cloudwatch.CfnDashboard(
            self,
            "Resource",
            dashboard_name=self._deployment,
            dashboard_body=Stack.of(self).to_json_string({"widgets": _placed(rows)}),
        )

    def _widget(
        self,
        title: str,
        lines: Sequence[Line],
        *,
        stat: str = "Sum",
        period: int = 60,
        label: str = "",
        view: str = "timeSeries",
        stacked: bool = False,
    ) -> dict[str, Any]:
        return {
            "type": "metric",
            "width": _WIDTH,
            "height": _HEIGHT,
            "properties": {
                "title": title,
                "metrics": list(lines),
                "stat": stat,
                "period": period,
                "region": self._region,
                "view": view,
                "stacked": stacked,
                "yAxis": {"left": {"min": 0, **({"label": label} if label else {})}},
            },
        }

    def _own(self, name: str, **options: Any) -> Line:
        return [NAMESPACE, name, "Deployment", self._deployment, options]

    def _by_model(self, name: str, model: str, **options: Any) -> Line:
        return [NAMESPACE, name, "Deployment", self._deployment, "Model", model, options]

    def _clients(self, stream: lambda_.IFunction) -> list[dict[str, Any]]:
        reserved = self._settings.reserved_concurrency
        concurrency: list[Line] = [
            [
                "AWS/Lambda",
                "ConcurrentExecutions",
                "FunctionName",
                stream.function_name,
                {"label": "streams", "stat": "Maximum", "id": "streams"},
            ]
        ]
        if reserved is not None:
            ceiling = {"expression": f"{reserved} + 0 * streams", "label": "ceiling"}
            concurrency.append([ceiling])
        return [
            self._widget(
                "Completion rate",
                [
                    self._own("Completed", id="c", visible=False),
                    self._own("Failed", id="f", visible=False),
                    [{"expression": "100 * c / (c + f)", "label": "completed"}],
                ],
                label="%",
            ),
            self._widget(
                "Time to first token",
                [self._own(TTFT, stat=stat, label=stat) for stat in ("p50", "p95", "p99")],
                label="s",
            ),
            self._widget("Streams at once", concurrency),
            self._widget(
                "Cost of tokens an hour", [self._own("CostUSD", label="USD")], period=3600
            ),
        ]

    def _pace(self) -> list[dict[str, Any]]:
        each = [(model, {"label": model}) for model in self._models]
        return [
            self._widget(
                "Tokens a second",
                [
                    self._own(OUTPUT_TOKENS, id="t", visible=False),
                    [{"expression": "t / PERIOD(t)", "label": "all responses"}],
                ],
            ),
            self._widget(
                "Tokens a second of one response",
                [self._by_model("TokensPerSecond", name, **label) for name, label in each],
                stat="p50",
            ),
            self._widget(
                "Time between tokens, p95 of a response",
                [self._by_model("InterTokenP95", name, **label) for name, label in each],
                stat="p95",
                label="s",
            ),
            self._widget(
                "Heartbeats before the first token",
                [self._by_model("HeartbeatsBeforeFirstToken", name, **it) for name, it in each],
            ),
        ]

    def _reasons(self) -> list[dict[str, Any]]:
        model = self._models
        return [
            self._widget(
                "Rejected before admission, by code",
                [self._own(f"Rejected.{code}", label=code) for code in REJECTED],
                stacked=True,
            ),
            self._widget(
                "Endings, other than complete",
                [
                    self._by_model(f"Ended{cause}", name, label=f"{name} {cause}")
                    for name in model
                    for cause in CAUSES
                    if cause != "Complete"
                ],
                stacked=True,
            ),
            self._widget(
                "Settlement and admission",
                [
                    self._by_model(metric, name, label=f"{name} {metric}")
                    for name in model
                    for metric in ("SettlementLag", "AdmissionTime")
                ],
                stat="p95",
                label="s",
            ),
            self._widget(
                "Money at risk",
                [
                    self._own("SettlementsUnsaved", label="settlements unsaved"),
                    self._own("Recovered", label="recovered by the sweeper"),
                    *(self._by_model("Unbilled", name, label=f"{name} unbilled") for name in model),
                ],
                period=300,
            ),
        ]

    def _endpoint(self, endpoint: ModelEndpoint) -> list[dict[str, Any]]:
        dimensions = endpoint.metric_dimensions or {}
        of = [value for pair in dimensions.items() for value in pair]
        copies = endpoint.component is not None
        at_once = f"ConcurrentRequestsPer{'Copy' if copies else 'Model'}"
        instances = f"/aws/sagemaker/{'InferenceComponents' if copies else 'Endpoints'}"
        return [
            self._widget(
                "Endpoint: invocations and errors",
                [
                    ["AWS/SageMaker", name, *of, {"label": name}]
                    for name in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
                ],
            ),
            self._widget(
                "Endpoint: time to the first byte",
                [
                    ["AWS/SageMaker", "ModelLatency", *of, {"stat": stat, "label": stat}]
                    for stat in ("p50", "p95")
                ],
                label="µs",
            ),
            self._widget(
                "Endpoint: requests at once",
                [["AWS/SageMaker", at_once, *of, {"stat": "Maximum", "label": "at once"}]],
                period=10,
            ),
            self._widget(
                "Instances: processor, memory, GPU",
                [
                    [instances, name, *of, {"label": name}]
                    for name in (
                        "CPUUtilization",
                        "MemoryUtilization",
                        "GPUUtilization",
                        "GPUMemoryUtilization",
                    )
                ],
                stat="Average",
                label="%",
            ),
        ]

    def _platform(
        self, stream: lambda_.Function, sweeper: lambda_.IFunction, usage_table: UsageTable
    ) -> list[dict[str, Any]]:
        return [
            self._widget("Stream function", _of_function(stream, *_INVOCATIONS)),
            self._cold_starts(stream),
            self._widget("Sweeper", _of_function(sweeper, *_INVOCATIONS[:2]), period=300),
            self._widget("Usage table", _of_table(usage_table.name)),
        ]

    def _kept(self, recall: lambda_.IFunction, stream_table: StreamTable) -> list[dict[str, Any]]:
        own: list[dict[str, Any]] = []
        if self._settings.metrics:
            each = [(name, metric) for name in self._models for metric in KEPT]
            own = [
                self._widget(
                    "Kept answers: read again",
                    [
                        self._by_model(metric, name, label=f"{name} {metric}")
                        for name, metric in each
                    ],
                ),
                self._widget(
                    "Kept answers: longest wait for the log",
                    [self._by_model("FlushLag", name, label=name) for name in self._models],
                    stat="p95",
                    label="s",
                ),
            ]
        return [
            *own,
            self._widget("Recall function", _of_function(recall, *_INVOCATIONS)),
            self._widget("Stream table", _of_table(stream_table.name)),
        ]

    def _of_sockets(
        self, answering: lambda_.IFunction, control: lambda_.IFunction
    ) -> list[dict[str, Any]]:
        return [
            self._widget("Sockets: requests", _of_function(answering, *_INVOCATIONS)),
            self._widget(
                "Sockets: wait of messages for a function",
                _of_function(answering, "AsyncEventAge"),
                stat="Maximum",
                label="ms",
            ),
            self._widget("Sockets: lost messages", _of_function(answering, "AsyncEventsDropped")),
            self._widget("Sockets: open, cancel, close", _of_function(control, *_INVOCATIONS)),
        ]

    def _cold_starts(self, stream: lambda_.Function) -> dict[str, Any]:
        """Return a widget over Lambda's own log lines: it has no metric of cold starts."""
        query = (
            f"SOURCE '{stream.log_group.log_group_name}' "
            "| filter type = 'platform.report' and ispresent(record.metrics.initDurationMs) "
            "| stats count() as starts, pct(record.metrics.initDurationMs, 95) as p95_ms by bin(5m)"
        )
        properties = {
            "title": "Cold starts, and their p95 in ms",
            "query": query,
            "region": self._region,
            "view": "timeSeries",
        }
        return {"type": "log", "width": _WIDTH, "height": _HEIGHT, "properties": properties}


_INVOCATIONS = ("Invocations", "Errors", "Throttles")
_CAPACITY = ("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits", "WriteThrottleEvents")


def _of_function(function: lambda_.IFunction, *names: str) -> list[Line]:
    of = ("FunctionName", function.function_name)
    return [["AWS/Lambda", name, *of, {"label": name}] for name in names]


def _of_table(table: str) -> list[Line]:
    return [["AWS/DynamoDB", name, "TableName", table, {"label": name}] for name in _CAPACITY]


def _placed(rows: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the widgets of rows, each with its place."""
    return [
        {**widget, "x": column * _WIDTH % _COLUMNS, "y": number * _HEIGHT}
        for number, row in enumerate(rows)
        for column, widget in enumerate(row)
    ]
