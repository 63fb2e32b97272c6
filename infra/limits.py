"""The table of all time limits of a request, in seconds. Synthesis checks them against each other,
and `sluice doctor` checks the deployed figures.

The limits of AWS's services are facts; ours are chosen to fit between them.
"""

from dataclasses import dataclass


class LimitsError(ValueError):
    """Two time limits contradict each other; the message names both."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a request, from the client inwards."""

    cloudfront_read: float = 60
    """CloudFront's wait for the first byte and for each packet after it (origin read timeout)."""
    cloudfront_read_max: float = 120
    """The maximum of `cloudfront_read` without a raised quota. CDK accepts more, but the deployment
    fails.
    """
    lambda_timeout: float = 540
    """The stream function's timeout."""
    lambda_timeout_max: float = 900
    """Lambda's maximum for a timeout."""
    sagemaker_first_byte: float = 60
    """SageMaker's wait for the container's answer."""
    sagemaker_response: float = 480
    """SageMaker's limit for a whole streamed response."""
    admission: float = 13
    """The function's two writes before the model is invoked, at worst."""
    settlement: float = 30
    """The function's writes after the stream's end with their retries, at worst."""
    first_answer: float = 12
    """How long the function waits for the first record, so that a failure has its own status; then
    it answers 200.
    """
    heartbeat: float = 15
    """The longest silence of the function towards the client."""
    container_answer: float = 2
    """How long the container waits for its first event before it answers 200."""
    container_heartbeat: float = 10
    """The longest silence of the container towards the function."""
    stream_deadline: float = 465
    """The deadline that the function sets for the container."""
    stream_grace: float = 5
    """How much longer the function waits for the container's last record."""

    sweep_period: float = 300
    """Between two runs of the sweeper."""
    sweep_timeout: float = 240
    """One run's timeout."""
    control_timeout: float = 55
    """The control function's timeout."""

    def check(self) -> None:
        """Raise LimitsError for the first pair that contradicts each other."""
        for message in self.contradictions():
            raise LimitsError(message)

    def contradictions(self) -> list[str]:
        """Return a sentence for each pair that contradicts each other, which names both."""
        needed = self.sagemaker_response + self.admission + self.settlement
        rules = [
            (
                "cloudfront_read",
                self.cloudfront_read,
                "cloudfront_read_max",
                self.cloudfront_read_max,
            ),
            ("lambda_timeout", self.lambda_timeout, "lambda_timeout_max", self.lambda_timeout_max),
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
            ("container_heartbeat", self.container_heartbeat, "heartbeat", self.heartbeat),
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
            # What a killed function leaves is overdue after the longest stream, and should be
            # settled soon after it.
            ("sweep_period", self.sweep_period, "sagemaker_response", self.sagemaker_response),
            ("control_timeout", self.control_timeout, "cloudfront_read", self.cloudfront_read),
        ]
        return [
            f"{name} ({value:g} s) must not be over {limit_name} ({limit:g} s)"
            for name, value, limit_name, limit in rules
            if value > limit
        ]


LIMITS = Limits()
