"""Every time limit on the way of a request, in one table, checked against each other at synth.

Seconds throughout. The services' own limits are facts; the others are chosen to fit between them.
"""

from dataclasses import dataclass


class LimitsError(ValueError):
    """Two time limits contradict each other; the message names both."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """One way's limits, from the client inwards."""

    cloudfront_read: int = 60
    """CloudFront's wait for the first byte and for each packet after it (origin read timeout)."""
    cloudfront_read_most: int = 120
    """What CloudFront takes for it without a raised quota; CDK accepts more and only the deployment fails."""
    lambda_timeout: int = 540
    """The stream function's timeout."""
    lambda_timeout_most: int = 900
    """Lambda's own limit."""
    sagemaker_first_byte: int = 60
    """SageMaker's wait for the container's answer."""
    sagemaker_response: int = 480
    """SageMaker's limit for a streamed response in all."""
    admission: int = 13
    """The function's two writes before the model is invoked, at worst."""
    settlement: int = 30
    """The function's writes after the stream's end with their retries, at worst."""
    first_answer: int = 12
    """So long the function waits for the first record, so that a failure has its true status; then it answers 200."""
    heartbeat: int = 15
    """The longest silence that the function leaves on the wire."""
    container_answer: int = 2
    """The container waits this long for its first event before it answers 200."""

    def check(self) -> None:
        """Raise LimitsError at the first pair that contradicts each other."""
        needed = self.sagemaker_response + self.admission + self.settlement
        rules = [
            ("cloudfront_read", self.cloudfront_read, "cloudfront_read_most", self.cloudfront_read_most),
            ("lambda_timeout", self.lambda_timeout, "lambda_timeout_most", self.lambda_timeout_most),
            ("sagemaker_response + admission + settlement", needed, "lambda_timeout", self.lambda_timeout),
            ("sagemaker_first_byte", self.sagemaker_first_byte, "sagemaker_response", self.sagemaker_response),
            ("container_answer", self.container_answer, "first_answer", self.first_answer),
            ("container_answer", self.container_answer, "sagemaker_first_byte", self.sagemaker_first_byte),
            # A heartbeat that is late by as much again must still arrive before CloudFront cuts the connection.
            ("twice the heartbeat", 2 * self.heartbeat, "cloudfront_read", self.cloudfront_read),
            ("admission + first_answer", self.admission + self.first_answer, "cloudfront_read", self.cloudfront_read),
        ]
        for name, value, limit_name, limit in rules:
            if value > limit:
                raise LimitsError(f"{name} ({value} s) must not be over {limit_name} ({limit} s)")


LIMITS = Limits()
