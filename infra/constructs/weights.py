"""The model's weights: deployed, in S3 already, or downloaded by the container."""

from pathlib import Path

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.nag import accept, place
from infra.settings.container import HUGGING_FACE
from infra.settings.weights_files import PACKED, check_file


class Weights(Construct):
    """SageMaker's data source for the setting `weights`, and the grant to read exactly that.

    A file becomes an asset. An `s3://` URI is used as it is; one that ends in a slash means
    everything below it. SageMaker copies the weights to /opt/ml/model. An object gets the last part
    of its key as its name. A `.tar.gz`, such as JumpStart's, is unpacked there. There is no data
    source without weights, or if the container downloads them from Hugging Face.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, location: str | None
    ) -> None:
        """Refer to the weights.

        Raises:
            SettingsError: `location` is a file that does not exist, or that is not a model.

        """
        super().__init__(scope, construct_id)
        self._source: tuple[str, str] | None = None
        if location is None or location.startswith(HUGGING_FACE):
            return
        if location.startswith("s3://"):
            bucket, key = location.removeprefix("s3://").split("/", 1)
            self._source = bucket, key
            return
        path = root / location
        check_file(path, location)
        asset = s3_assets.Asset(self, "File", path=str(path))
        self._source = asset.s3_bucket_name, asset.s3_object_key

    @property
    def data_source(self) -> sagemaker.CfnModel.ModelDataSourceProperty | None:
        """The data source of CfnModel's container; None if there is none."""
        if self._source is None:
            return None
        bucket, key = self._source
        return sagemaker.CfnModel.ModelDataSourceProperty(
            s3_data_source=sagemaker.CfnModel.S3DataSourceProperty(
                s3_uri=f"s3://{bucket}/{key}",
                s3_data_type="S3Prefix" if key.endswith("/") else "S3Object",
                compression_type="Gzip" if key.endswith(PACKED) else "None",
            )
        )

    def grant_read(self, role: iam.Role) -> None:
        """Grant a role reading the weights and listing their prefix.

        SageMaker lists it before it downloads.
        """
        if self._source is None:
            return
        bucket, key = self._source
        prefix = key.endswith("/")
        bucket_arn = Stack.of(self).format_arn(service="s3", region="", account="", resource=bucket)
        objects = f"{bucket_arn}/{key}" + ("*" if prefix else "")
        role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=[objects]))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[bucket_arn],
                conditions={"StringLike": {"s3:prefix": key + ("*" if prefix else "")}},
            )
        )
        if prefix:
            finding = f"arn:{place(role)[0]}:s3:::{bucket}/{key}*"
            accept(
                role, {f"IAM5[Resource::{finding}]": "The model is every object under this prefix."}
            )
