"""All time limits of a request, in seconds.

Synthesis checks them against each other, and `sluice doctor` checks the deployed figures. The
limits of AWS's services are facts. Ours are chosen to fit between them.
"""

from dataclasses import dataclass


class LimitsError(ValueError):
    """Two time limits contradict each other; the message names both."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a request, from the client inwards."""

    cloudfront_read: float = 60
    """How long CloudFront waits for the first byte and for each packet (origin read timeout)."""
    cloudfront_read_max: float = 120
    """The maximum value of `cloudfront_read` without a raised quota.

    CDK accepts more, but then the deployment fails.
    """
    lambda_timeout: float = 540
    """The stream function's timeout."""
    lambda_timeout_max: float = 900
    """Lambda's maximum for a timeout."""
    sagemaker_first_byte: float = 60
    """How long SageMaker waits for the container's response to begin."""
    sagemaker_response: float = 480
    """SageMaker's limit for a whole streamed response."""
    admission: float = 13
    """The maximum time of the function's two writes before it invokes the model."""
    settlement: float = 30
    """The maximum time of the function's writes after the stream's end, retries included."""
    first_answer: float = 12
    """How long the function waits for the first record before it answers 200.

    Until then, a failure can have its own status.
    """
    heartbeat: float = 15
    """The longest silence of the function towards the client."""
    container_answer: float = 2
    """How long the container waits for its first event before it answers 200."""
    container_heartbeat: float = 10
    """The longest silence of the container towards the function."""
    endpoint_silence: float = 70
    """The silence of the endpoint after which the function counts it as dead."""
    stream_deadline: float = 465
    """The deadline that the function sets for the container."""
    stream_grace: float = 5
    """How much longer the function waits for the container's last record."""

    sweep_period: float = 300
    """The time between two runs of the sweeper."""
    sweep_timeout: float = 240
    """The sweeper's timeout."""
    queued_time: float = 60
    """The time in which the invocation of a background answer must come."""
    keeper_period: float = 60
    """The time between two runs of the keeper of background answers."""
    keeper_timeout: float = 55
    """Its timeout."""
    control_timeout: float = 55
    """The control function's timeout."""

    def check(self) -> None:
        """Raise LimitsError for the first pair that contradicts each other."""
        for message in self.contradictions():
            raise LimitsError(message)

    def contradictions(self) -> list[str]:
        """Return a sentence for each pair of limits that contradict each other. It names both."""
        needed = self.sagemaker_response + self.admission + self.settlement
        rules = [
            (
                "cloudfront_read",
                self.cloudfront_read,
                "cloudfront_read_max",
                self.cloudfront_read_max,
            ),
            ("lambda_timeout", self.lambda_timeout, "lambda_timeout_max", self.lambda_timeout_max),
            ("keeper_timeout", self.keeper_timeout, "keeper_period", self.keeper_period),
            ("keeper_period", self.keeper_period, "sweep_period", self.sweep_period),
            ("queued_time", self.queued_time, "lambda_timeout", self.lambda_timeout),
            (
                "sagemaker_response + admission + settlement",
                needed,
                "lambda_timeout",
                self.lambda_timeout,
            ),
            (
                "sagemaker_first_byte",
                self.sagemaker_first_byte,
                "sagemaker_response",
                self.sagemaker_response,
            ),
            ("container_answer", self.container_answer, "first_answer", self.first_answer),
            (
                "container_answer",
                self.container_answer,
                "sagemaker_first_byte",
                self.sagemaker_first_byte,
            ),
            # The function's heartbeats do not wait for the container's, which only show that the
            # endpoint lives. One of them may be late by one period.
            (
                "twice the container_heartbeat",
                2 * self.container_heartbeat,
                "endpoint_silence",
                self.endpoint_silence,
            ),
            (
                "endpoint_silence",
                self.endpoint_silence,
                "sagemaker_response",
                self.sagemaker_response,
            ),
            (
                "stream_deadline + stream_grace",
                self.stream_deadline + self.stream_grace,
                "sagemaker_response",
                self.sagemaker_response,
            ),
            # A heartbeat that is late by one period must still arrive before CloudFront cuts the
            # connection.
            ("twice the heartbeat", 2 * self.heartbeat, "cloudfront_read", self.cloudfront_read),
            (
                "admission + first_answer",
                self.admission + self.first_answer,
                "cloudfront_read",
                self.cloudfront_read,
            ),
            # A run that uses its whole timeout ends before the next one begins.
            ("sweep_timeout", self.sweep_timeout, "sweep_period", self.sweep_period),
            # The request of a killed function is overdue after the longest stream. It should be
            # settled soon after that.
            ("sweep_period", self.sweep_period, "sagemaker_response", self.sagemaker_response),
            ("control_timeout", self.control_timeout, "cloudfront_read", self.cloudfront_read),
        ]
        return [
            f"{name} ({value:g} s) must not be over {limit_name} ({limit:g} s)"
            for name, value, limit_name, limit in rules
            if value > limit
        ]


LIMITS = Limits()
