"""The model's weights in S3: uploaded with the deployment, or there already."""

from pathlib import Path

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.nag import accept
from infra.settings import SettingsError


class Weights(Construct):
    """SageMaker's data source for `location`, and the grant to read exactly that.

    A file becomes an asset, an `s3://` URI stays where it is; one that ends in a slash means everything under it.
    SageMaker lays them under /opt/ml/model as they are (an object under the last part of its key), nothing unpacked.
    """

    def __init__(self, scope: Construct, construct_id: str, *, root: Path, location: str) -> None:
        """Refer to the weights. Raises SettingsError when `location` is a file that does not exist."""
        super().__init__(scope, construct_id)
        if location.startswith("s3://"):
            self._bucket, self._key = location.removeprefix("s3://").split("/", 1)
        else:
            path = root / location
            if not path.is_file():
                raise SettingsError(f"weights={location}: there is no such file; give a GGUF file or an s3:// URI")
            asset = s3_assets.Asset(self, "File", path=str(path))
            self._bucket, self._key = asset.s3_bucket_name, asset.s3_object_key

    @property
    def data_source(self) -> sagemaker.CfnModel.ModelDataSourceProperty:
        """For CfnModel's container."""
        return sagemaker.CfnModel.ModelDataSourceProperty(
            s3_data_source=sagemaker.CfnModel.S3DataSourceProperty(
                s3_uri=f"s3://{self._bucket}/{self._key}",
                s3_data_type="S3Prefix" if self._key.endswith("/") else "S3Object",
                compression_type="None",
            )
        )

    def grant_read(self, role: iam.Role) -> None:
        """Let `role` read the weights and list their bucket, which SageMaker does before it downloads."""
        prefix = self._key.endswith("/")
        bucket_arn = Stack.of(self).format_arn(service="s3", region="", account="", resource=self._bucket)
        objects = f"{bucket_arn}/{self._key}" + ("*" if prefix else "")
        role.add_to_policy(iam.PolicyStatement(actions=["s3:GetObject"], resources=[objects]))
        role.add_to_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[bucket_arn]))
        if prefix:
            finding = f"arn:<AWS::Partition>:s3:::{self._bucket}/{self._key}*"
            accept(role, {f"IAM5[Resource::{finding}]": "The model is every object under this prefix."})
