"""The container's image built by CodeBuild, for deployments from machines without Docker."""

from pathlib import Path

from aws_cdk import CustomResource, Duration, IgnoreMode, RemovalPolicy, Stack
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from infra.constructs.inline_function import add_inline_function
from infra.constructs.trust import service_of_this_account
from infra.nag import accept, place

# Docker Hub limits pulls by address, and CodeBuild shares its addresses. So a pull is tried again.
_BUILD = """
if docker manifest inspect "$IMAGE:$TAG" >/dev/null 2>&1; then echo "The image is there already."; else
[ -z "$BASE" ] || for minutes in 1 2 4 0; do docker pull -q "$BASE" && break; sleep ${minutes}m; done
docker buildx build --platform linux/amd64 --provenance=false --sbom=false \\
--output type=docker,oci-mediatypes=false --target "$TARGET" -f "$DOCKERFILE" -t "$IMAGE:$TAG" . \\
&& docker push -q "$IMAGE:$TAG"; fi
"""
_ANSWER = """
if [ "$CODEBUILD_BUILD_SUCCEEDING" = 1 ]; then STATUS=SUCCESS; else STATUS=FAILED; fi
printf '{"Status":"%s","Reason":"See the log of the build %s","PhysicalResourceId":"image","StackId":"%s","RequestId":"%s","LogicalResourceId":"%s"}' \
"$STATUS" "$CODEBUILD_BUILD_ID" "$CFN_StackId" "$CFN_RequestId" "$CFN_LogicalResourceId" > /tmp/answer.json
curl -sS -X PUT -H 'content-type:' --data-binary @/tmp/answer.json "$CFN_ResponseURL"
"""  # noqa: E501


_READ = ("GetObject", "GetBucket", "List")


class ImageBuild(Construct):
    """A repository, and in it the image of the sources at `root`.

    The image's tag is a hash of the sources. The image exists once the resource `done` does, so
    what uses `uri` must depend on `done`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        dockerfile: str,
        target: str,
        base: str,
        exclude: list[str],
    ) -> None:
        """Upload the sources, build the image and push it when the stack is deployed.

        `base` is the base image of `target`, which is pulled first, or an empty text.
        """
        super().__init__(scope, construct_id)
        source = s3_assets.Asset(
            self, "Source", path=str(root), exclude=exclude, ignore_mode=IgnoreMode.DOCKER
        )
        self.repository = ecr.Repository(
            self,
            "Repository",
            encryption=ecr.RepositoryEncryption.AES_256,
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,  # the tag is a hash of the sources
            removal_policy=RemovalPolicy.DESTROY,
            empty_on_delete=True,
            lifecycle_rules=[ecr.LifecycleRule(max_image_count=5)],  # enough for rollbacks
        )
        log = logs.LogGroup(
            self,
            "Log",
            retention=logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(self, "BuildRole", assumed_by=service_of_this_account(self, "codebuild"))
        project = codebuild.Project(
            self,
            "Project",
            description="Builds the model's container",
            role=role,
            source=codebuild.Source.s3(bucket=source.bucket, path=source.s3_object_key),
            environment=codebuild.BuildEnvironment(
                build_image=codebuild.LinuxBuildImage.AMAZON_LINUX_2023_6,
                compute_type=codebuild.ComputeType.LARGE,
                privileged=True,
            ),
            environment_variables={
                "IMAGE": codebuild.BuildEnvironmentVariable(value=self.repository.repository_uri),
                "DOCKERFILE": codebuild.BuildEnvironmentVariable(value=dockerfile),
                "TARGET": codebuild.BuildEnvironmentVariable(value=target),
                "BASE": codebuild.BuildEnvironmentVariable(value=base),
            },
            logging=codebuild.LoggingOptions(
                cloud_watch=codebuild.CloudWatchLoggingOptions(log_group=log)
            ),
            grant_report_group_permissions=False,
            # CloudFormation waits an hour in all.
            queued_timeout=Duration.minutes(8),
            timeout=Duration.minutes(48),
            build_spec=codebuild.BuildSpec.from_object(
                {
                    "version": "0.2",
                    "phases": {
                        "build": {
                            "commands": [
                                (
                                    "aws ecr get-login-password | docker login -u AWS "
                                    '--password-stdin "${IMAGE%%/*}"'
                                ),
                                _BUILD,
                            ]
                        },
                        "post_build": {"commands": [_ANSWER]},
                    },
                }
            ),
        )
        self.repository.grant_pull_push(project)
        starter = self._starter(project)
        self._report_failures(project, starter)
        # Earlier versions pushed OCI manifests under `{target}-{hash}`.
        tag = f"{target}-docker-{source.asset_hash}"
        self.done = CustomResource(
            self,
            "Done",
            service_token=starter.function_arn,
            resource_type="Custom::SluiceImage",
            properties={"Project": project.project_name, "Tag": tag},
            service_timeout=Duration.hours(1),
        )
        # The project does not depend on its role's policy, without which a build can neither read
        # nor push.
        self.done.node.add_dependency(project, role, self.repository)
        self.uri = f"{self.repository.repository_uri}:{tag}"
        made = project.node.default_child
        assert isinstance(made, codebuild.CfnProject)  # noqa: S101
        accept(
            project,
            {
                "CB3": "Docker inside the build needs the privileged mode.",
                "CB4": "Artifacts go to ECR, which encrypts them itself; the build keeps none.",
            },
        )
        partition, region, account = place(self)
        name = Stack.of(self).get_logical_id(made)
        own = f"arn:{partition}:logs:{region}:{account}:log-group:/aws/codebuild/<{name}>:*"
        accept(
            role,
            {
                **{
                    f"IAM5[Action::s3:{it}*]": "CDK's grant to read the sources' asset."
                    for it in _READ
                },
                "IAM5[Resource::*]": "ecr:GetAuthorizationToken knows no resources.",
                f"IAM5[Resource::{own}]": "CDK's grant of its own log.",
            },
        )

    def _starter(self, project: codebuild.Project) -> lambda_.Function:
        starter = add_inline_function(
            self,
            "Starter",
            module="image_build",
            description="Starts the build of the model's container, and reports its failure",
            timeout=Duration.seconds(30),
        )
        starter.add_to_role_policy(
            iam.PolicyStatement(
                actions=["codebuild:StartBuild", "codebuild:BatchGetBuilds"],
                resources=[project.project_arn],
            )
        )
        return starter

    def _report_failures(self, project: codebuild.Project, starter: lambda_.Function) -> None:
        """Call the starter when a build ends without success, in any phase."""
        detail = {
            "project-name": [project.project_name],
            "build-status": ["FAILED", "FAULT", "STOPPED", "TIMED_OUT"],
        }
        rule = events.CfnRule(
            self,
            "Failed",
            description="Reports a failed build of the model's container",
            event_pattern={
                "source": ["aws.codebuild"],
                "detail-type": ["CodeBuild Build State Change"],
                "detail": detail,
            },
            state="ENABLED",
            targets=[events.CfnRule.TargetProperty(arn=starter.function_arn, id="Starter")],
        )
        starter.add_permission(
            "Failed",
            principal=iam.ServicePrincipal("events.amazonaws.com"),
            source_arn=rule.attr_arn,
        )
