"""The SageMaker endpoint: role, model, endpoint configuration, endpoint, scaling and alarms.

CDK's L2 constructs lack routing and time-outs, so these are L1s. The endpoint has an explicit name:
alarms, scaling and the function refer to it before it exists and while it is stopped. The model and
the configuration have no names, so CloudFormation can replace them while the endpoint runs.
"""

from pathlib import Path
from typing import Any, NamedTuple

from aws_cdk import CfnCondition, CfnParameter, Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra import instances
from infra.constructs.container_image import ContainerImage
from infra.constructs.endpoint_guard import EndpointGuard
from infra.constructs.endpoint_role import EndpointRole
from infra.constructs.endpoint_scaling import EndpointScaling, managed
from infra.constructs.image_check import ImageCheck
from infra.constructs.weights import Weights
from infra.environment_size import check_sagemaker
from infra.images import containers
from infra.settings.container_environment import environment, gpus
from infra.settings.deployment import Settings
from infra.settings.prices import PARTS, changes

STATE = "EndpointState"
"""The stack's parameter that says whether the endpoint exists.

`sluice endpoint stop` and `start` change it.
"""
VARIANT = "primary"
_NEWEST_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"  # driver 580: CUDA 13, and every earlier one
_CUDA_12_4_AMI = "al2-ami-sagemaker-inference-gpu-3-1"  # driver 550: up to CUDA 12.4


class Names(NamedTuple):
    """The explicit names of a deployment's endpoint."""

    endpoint: str
    component: str | None
    """The inference component, if there is one."""
    log_group: str
    """The log group that SageMaker writes the container's output to."""


def endpoint_names(settings: Settings) -> Names:
    """Return the names of the endpoint that the stacks make."""
    endpoint = f"{settings.name}-{settings.stage}"
    if not settings.scale_to_zero:
        return Names(endpoint, None, f"/aws/sagemaker/Endpoints/{endpoint}")
    component = f"{endpoint}-model"
    return Names(endpoint, component, f"/aws/sagemaker/InferenceComponents/{component}")


class ModelEndpoint(Construct):
    """An endpoint that serves one model with one container.

    If a setting names an existing endpoint, that one is used unchanged.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, settings: Settings
    ) -> None:
        """Create the endpoint.

        Raises:
            SettingsError: the weights or the Dockerfile are missing.

        """
        super().__init__(scope, construct_id)
        self._settings = settings
        self.component: str | None = None
        if settings.endpoint_name is not None:
            self.endpoint_name = settings.endpoint_name
            return
        self.endpoint_name, self.component, self._log_group = endpoint_names(settings)
        self._running = self._state()
        self._make(root)

    @property
    def metric_dimensions(self) -> dict[str, str] | None:
        """The dimensions of SageMaker's metrics of the model, None of an endpoint that exists."""
        if self._settings.endpoint_name is not None:
            return None
        if self.component is not None:
            return {"InferenceComponentName": self.component}
        return {"EndpointName": self.endpoint_name, "VariantName": VARIANT}

    @property
    def invocation(self) -> dict[str, Any]:
        """The arguments with which the stream function calls the model.

        It is `lambda_fn.settings.Model` as a JSON object.
        """
        settings = self._settings
        model: dict[str, Any] = {
            "endpoint": self.endpoint_name,
            "context_tokens": settings.context_tokens,
        }
        if settings.default_max_tokens is not None:
            model["default_max_tokens"] = settings.default_max_tokens
        model |= self._prices()
        if settings.model_dialect != "sluice":
            model["dialect"] = settings.model_dialect
        if self.component is not None:
            model["component"] = self.component
        return model | self._abilities() | self._images()

    def _images(self) -> dict[str, Any]:
        """Return the limits of images, for a model that reads them."""
        settings = self._settings
        if not settings.max_images:
            return {}
        limits = {
            "max_images": settings.max_images,
            "image_tokens": settings.image_tokens,
            "image_hosts": list(settings.image_hosts) or None,
        }
        return {name: value for name, value in limits.items() if value is not None}

    def _abilities(self) -> dict[str, Any]:
        """Return the settings of the model's abilities that are not at their defaults."""
        settings = self._settings
        found: dict[str, Any] = {}
        if settings.reasoning != "shown":
            found["reasoning"] = settings.reasoning
        if settings.reasoning_tags is not None:
            found["reasoning_tags"] = settings.reasoning_tags
        if settings.container == "sglang":  # it takes a budget by code of the request only
            found["reasoning_budget"] = False
        if settings.embeddings:
            found["embeddings"] = True
        return found

    def _prices(self) -> dict[str, Any]:
        """Return the prices that are set, in nano-USD a token.

        The settings have them in USD per million tokens.
        """
        settings = self._settings
        prices = {f"{part}_price": getattr(settings, f"{part}_price") for part in PARTS}
        found: dict[str, Any] = {
            name: round(price * 1000) for name, price in prices.items() if price is not None
        }
        if settings.price_changes:
            found["price_changes"] = [
                {"since": since, **nano} for since, nano in changes(settings.price_changes)
            ]
        return found

    def grant_stream(self, grantee: iam.IGrantable) -> None:
        """Grant invoking this endpoint and those of the other models.

        Only calls for an inference are granted. The API reference of the streamed call says that
        its caller must be allowed `sagemaker:InvokeEndpoint`, and IAM knows an action of its name.
        """
        arns = [self._arn("endpoint", self.endpoint_name)]
        if self.component is not None:
            arns.append(self._arn("inference-component", self.component))
        for model in self._settings.others.values():
            arns.append(self._arn("endpoint", model["endpoint"]))
            if "component" in model:
                arns.append(self._arn("inference-component", model["component"]))
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=[
                "sagemaker:InvokeEndpoint",
                "sagemaker:InvokeEndpointWithResponseStream",
            ],
            resource_arns=list(dict.fromkeys(arns)),
        )

    def _arn(self, kind: str, name: str) -> str:
        # ARNs have the name in lower case.
        return Stack.of(self).format_arn(
            service="sagemaker", resource=kind, resource_name=name.lower()
        )

    def _state(self) -> CfnCondition:
        stack = Stack.of(self)
        state = CfnParameter(
            stack,
            STATE,
            default="Running",
            allowed_values=["Running", "Stopped"],
            description="Whether the endpoint exists and is paid for; `sluice endpoint` changes it",
        )
        return CfnCondition(
            stack, "EndpointRuns", expression=Fn.condition_equals(state.value_as_string, "Running")
        )

    def _make(self, root: Path) -> None:
        settings = self._settings
        image = ContainerImage(self, "Image", root=root, settings=settings)
        weights = Weights(self, "Weights", root=root, location=settings.weights)
        role = EndpointRole(self, "Execution", settings=settings, log_group=self._log_group)
        image.grant_pull(role.role)
        weights.grant_read(role.role)
        isolated = settings.network_isolation
        self._isolated = not settings.from_hugging_face if isolated is None else isolated
        variables = environment(settings)
        check_sagemaker(variables)
        vpc = sagemaker.CfnModel.VpcConfigProperty(
            subnets=list(settings.subnets), security_group_ids=list(settings.security_groups)
        )
        model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=role.role.role_arn,
            enable_network_isolation=self._isolated,
            vpc_config=vpc if settings.subnets else None,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=image.uri,
                model_data_source=weights.data_source,
                environment=variables,
            ),
        )
        # SageMaker checks the role's permissions when it makes the model.
        model.node.add_dependency(role)
        if settings.stage != "local":  # which takes no image from a registry
            model.node.add_dependency(ImageCheck(self, "ImageCheck", image=image, after=role))
        self._serve(model, role.role)

    def _serve(self, model: sagemaker.CfnModel, role: iam.Role) -> None:
        settings = self._settings
        guard = EndpointGuard(
            self, "Guard", settings=settings, dimensions=self.metric_dimensions or {}
        )
        configuration = self._configuration(model, role)
        endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=self.endpoint_name,
            endpoint_config_name=configuration.attr_endpoint_config_name,
            deployment_config=guard.of_endpoint if self.component is None else None,
            # A deployment keeps the number of instances that scaling has set.
            retain_all_variant_properties=(
                settings.max_instances is not None and self.component is None
            )
            or None,
        )
        endpoint.cfn_options.condition = self._running
        last: Construct = endpoint
        if self.component is not None:
            last = self._component(self.component, model, guard)
            last.node.add_dependency(endpoint)
        if settings.scales:
            EndpointScaling(
                self,
                "Scaling",
                settings=settings,
                endpoint_name=self.endpoint_name,
                variant=VARIANT,
                component=self.component,
                running=self._running,
                after=last,
            )

    def _configuration(
        self, model: sagemaker.CfnModel, role: iam.Role
    ) -> sagemaker.CfnEndpointConfig:
        settings = self._settings
        of_model = self.component is None
        variant = sagemaker.CfnEndpointConfig.ProductionVariantProperty(
            variant_name=VARIANT,
            model_name=model.attr_model_name if of_model else None,
            instance_type=settings.instance_type,
            initial_instance_count=settings.instance_count,
            initial_variant_weight=1 if of_model else None,
            inference_ami_version=self._ami(),
            managed_instance_scaling=None if of_model else managed(settings),
            # Streams differ in length a hundredfold. With round robin, one instance would queue
            # requests while another is idle.
            routing_config=sagemaker.CfnEndpointConfig.RoutingConfigProperty(
                routing_strategy="LEAST_OUTSTANDING_REQUESTS"
            ),
            container_startup_health_check_timeout_in_seconds=settings.startup_seconds
            if of_model
            else None,
            model_data_download_timeout_in_seconds=settings.download_seconds if of_model else None,
        )
        vpc = sagemaker.CfnEndpointConfig.VpcConfigProperty(
            subnets=list(settings.subnets), security_group_ids=list(settings.security_groups)
        )
        return sagemaker.CfnEndpointConfig(
            self,
            "Configuration",
            production_variants=[variant],
            kms_key_id=settings.kms_key,
            # An endpoint with inference components sets these itself. Data capture stays off:
            # prompts are private.
            execution_role_arn=None if of_model else role.role_arn,
            enable_network_isolation=None if of_model else self._isolated,
            vpc_config=vpc if settings.subnets and not of_model else None,
            # Unset, SageMaker switches it on for new configurations.
            metrics_config=sagemaker.CfnEndpointConfig.MetricsConfigProperty(
                enable_detailed_observability=settings.detailed_metrics,
                metric_publish_frequency_in_seconds=60,
            ),
        )

    def _component(
        self, name: str, model: sagemaker.CfnModel, guard: EndpointGuard
    ) -> sagemaker.CfnInferenceComponent:
        """Create the model as an inference component. Each copy takes all GPUs of an instance."""
        settings = self._settings
        kind = sagemaker.CfnInferenceComponent
        on_gpu = instances.has_gpu(settings.instance_type)
        component = kind(
            self,
            "Component",
            inference_component_name=name,
            endpoint_name=self.endpoint_name,
            variant_name=VARIANT,
            specification=kind.InferenceComponentSpecificationProperty(
                model_name=model.attr_model_name,
                compute_resource_requirements=kind.InferenceComponentComputeResourceRequirementsProperty(
                    number_of_accelerator_devices_required=gpus(settings) if on_gpu else None,
                    number_of_cpu_cores_required=None if on_gpu else 1,
                    min_memory_required_in_mb=1024,
                ),
                startup_parameters=kind.InferenceComponentStartupParametersProperty(
                    container_startup_health_check_timeout_in_seconds=settings.startup_seconds,
                    model_data_download_timeout_in_seconds=settings.download_seconds,
                ),
            ),
            runtime_config=kind.InferenceComponentRuntimeConfigProperty(
                copy_count=settings.instance_count
            ),
            deployment_config=guard.of_component,
        )
        component.cfn_options.condition = self._running
        return component

    def _ami(self) -> str | None:
        settings = self._settings
        if settings.ami_version is not None or not instances.has_gpu(settings.instance_type):
            return settings.ami_version
        container = containers().get(settings.container) if settings.image_uri is None else None
        return (
            _CUDA_12_4_AMI if container is not None and container.cuda <= (12, 4) else _NEWEST_AMI
        )
