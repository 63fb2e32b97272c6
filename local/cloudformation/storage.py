"""AWS::S3::BucketPolicy, AWS::SecretsManager::Secret and RotationSchedule."""

import json
from typing import Any

from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import DeployError, Properties, Resource
from local.moto import kept

# Members of GetRandomPassword. The other members say where the password goes.
_PASSWORD = (
    "ExcludeCharacters",
    "ExcludeLowercase",
    "ExcludeNumbers",
    "ExcludePunctuation",
    "ExcludeUppercase",
    "IncludeSpace",
    "PasswordLength",
    "RequireEachIncludedType",
)


class BucketPolicy(Resource):
    """A bucket's policy. Ref is the bucket."""

    type = "AWS::S3::BucketPolicy"
    replaced_by = frozenset({"Bucket"})

    def create(self) -> None:
        """Put the policy."""
        self._put(self.properties)
        self.physical_id = self.properties["Bucket"]

    def update(self, properties: Properties) -> None:
        """Replace the policy."""
        self._put(properties)

    def _put(self, properties: Properties) -> None:
        policy = json.dumps(properties["PolicyDocument"])
        call(
            "s3",
            self.context.region,
            "put_bucket_policy",
            Bucket=properties["Bucket"],
            Policy=policy,
        )

    def delete(self) -> None:
        """Delete the policy."""
        call_quietly(
            "s3", self.context.region, "delete_bucket_policy", Bucket=self.properties["Bucket"]
        )


class Secret(Resource):
    """A secret with a fixed or a generated value. Ref is its ARN."""

    type = "AWS::SecretsManager::Secret"
    name_property = "Name"

    def create(self) -> None:
        """Create the secret with its first value, or with the one that was kept."""
        value = kept.take_secret(self.context.region, self.name)
        if value is None or "SecretString" in self.properties:
            value = self._value(self.properties)
        response = call(
            "secretsmanager",
            self.context.region,
            "create_secret",
            Name=self.name,
            Description=self.properties.get("Description"),
            SecretString=value,
            Tags=self.properties.get("Tags"),
        )
        self.physical_id = response["ARN"]

    def update(self, properties: Properties) -> None:
        """Set a new value if the properties that produce it have changed.

        Otherwise the value stays, as in CloudFormation.
        """
        made_from = ("SecretString", "GenerateSecretString")
        if any(properties.get(key) != self.properties.get(key) for key in made_from):
            value = self._value(properties)
            call(
                "secretsmanager",
                self.context.region,
                "put_secret_value",
                SecretId=self.physical_id,
                SecretString=value,
            )

    def _value(self, properties: Properties) -> str:
        if "SecretString" in properties:
            return str(properties["SecretString"])
        generator = properties.get("GenerateSecretString", {})
        options = {key: generator[key] for key in _PASSWORD if key in generator}
        password = call("secretsmanager", self.context.region, "get_random_password", **options)[
            "RandomPassword"
        ]
        if "GenerateStringKey" not in generator:
            return str(password)
        try:
            template = json.loads(generator["SecretStringTemplate"])
        except (KeyError, ValueError) as error:
            raise DeployError("SecretStringTemplate is not a JSON object") from error
        return json.dumps({**template, generator["GenerateStringKey"]: password})

    def delete(self) -> None:
        """Delete the secret at once, so that its name can be used again."""
        call_quietly(
            "secretsmanager",
            self.context.region,
            "delete_secret",
            SecretId=self.physical_id,
            ForceDeleteWithoutRecovery=True,
        )

    def attribute(self, name: str) -> Any:
        """Return Id, which is the ARN."""
        return self.physical_id if name == "Id" else super().attribute(name)


class RotationSchedule(Resource):
    """The rotation schedule of a secret, and its function. Ref is the secret's ARN.

    The schedule is only stored. To rotate the secret, invoke the function with the four steps.
    """

    type = "AWS::SecretsManager::RotationSchedule"
    replaced_by = frozenset({"SecretId"})

    def create(self) -> None:
        """Store the schedule."""
        self.physical_id = self.properties["SecretId"]

    def update(self, properties: Properties) -> None:
        """Store the schedule."""

    def delete(self) -> None:
        """Do nothing."""


RESOURCES: list[type[Resource]] = [BucketPolicy, Secret, RotationSchedule]
