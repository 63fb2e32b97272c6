"""The secret that proves to a function that a request came through the distribution."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.nag import accept

LENGTH = 48
"""Letters and digits, which are all allowed in a header. This length has over 280 bits."""


class OriginSecret(Construct):
    """The current and the previous secret.

    The functions accept both, so the secret can be changed without a gap. They are two generated
    secrets, and not one JSON object with an empty `previous`: AWS does not document what
    CloudFormation makes of a reference to an empty value, and a fixed value would be a public
    secret. Until the first change, no client sends the previous one.

    CloudFormation reads a secret when it deploys a resource that refers to it. It reads the secret
    again only when that resource changes.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        """Create both secrets."""
        super().__init__(scope, construct_id)
        self._current = self._generated("Current", "sent by the distribution")
        self._previous = self._generated("Previous", "still accepted by the functions")
        accept(
            self,
            {
                "SMG4": (
                    "Changing it takes a deployment of the function and then of the "
                    "distribution, in that order."
                )
            },
        )

    @property
    def current(self) -> str:
        """A dynamic reference to the current secret.

        CloudFormation resolves it; the template never has the value.
        """
        return self._current.secret_value.unsafe_unwrap()

    @property
    def previous(self) -> str:
        """A dynamic reference to the previous secret."""
        return self._previous.secret_value.unsafe_unwrap()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a function that checks the secret."""
        return {
            "SLUICE_ORIGIN_SECRET": self.current,
            "SLUICE_ORIGIN_SECRET_PREVIOUS": self.previous,
        }

    def _generated(self, construct_id: str, use: str) -> secretsmanager.Secret:
        return secretsmanager.Secret(
            self,
            construct_id,
            description=f"Sluice origin secret, {use}",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=LENGTH
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
