"""The secret by which the functions know that a request came through the distribution."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.nag import accept

LENGTH = 48
"""Letters and digits: over 280 bits, and every one of them may stand in a header."""


class OriginSecret(Construct):
    """The current and the previous secret, which the functions both accept, so that they can be changed without a gap.

    They are two secrets, each generated, and not one JSON object with an empty `previous`: what CloudFormation makes of
    a reference to an empty value is not documented, and a fixed word in its place would be a secret that everybody can
    read. Until the first change, the previous one is a value that nobody sends.

    CloudFormation reads them when it deploys a resource that refers to them, and again only when that resource changes.
    """

    def __init__(self, scope: Construct, construct_id: str) -> None:
        """Create both."""
        super().__init__(scope, construct_id)
        self._current = self._generated("Current", "sent by the distribution")
        self._previous = self._generated("Previous", "still accepted by the functions")
        accept(
            self,
            {"SMG4": "Changing it takes a deployment of the function and then of the distribution, in that order."},
        )

    @property
    def current(self) -> str:
        """A dynamic reference, resolved by CloudFormation; the template never holds the value."""
        return self._current.secret_value.unsafe_unwrap()

    @property
    def previous(self) -> str:
        """A dynamic reference like `current`."""
        return self._previous.secret_value.unsafe_unwrap()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a function that is to know them."""
        return {"SLUICE_ORIGIN_SECRET": self.current, "SLUICE_ORIGIN_SECRET_PREVIOUS": self.previous}

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
