"""Replaces moto's deployment of stacks; moto still reads the requests and writes the responses.

It also patches other parts of moto that prevent stacks from being deployed. A comment gives the
reason for each patch.
"""

from enum import Enum
from functools import lru_cache
from typing import Any

from moto.applicationautoscaling import models as scaling_models
from moto.applicationautoscaling import responses as scaling_responses
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Stack
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.common_models import BaseModel
from moto.core.responses import ActionResult
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.models import FakeBucket
from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend

from local.cloudformation.changesets import ChangeSets, forget
from local.cloudformation.stacks import Described, Stacks, deployed_as, find, new, read
from local.cloudformation.template import LONGEST_BODY


def install() -> None:
    """Apply all patches. Call it once, in the control plane's process."""
    _stacks(Stacks())
    _endpoints()
    # moto's list of scalable dimensions lacks the copies of inference components.
    members = [(item.name, item.value) for item in scaling_models.ScalableDimensionValueSet]
    make: Any = Enum
    dimensions = make(
        "dimensions", [*members, ("COPIES", "sagemaker:inference-component:DesiredCopyCount")]
    )
    scaling_models.ScalableDimensionValueSet = scaling_responses.ScalableDimensionValueSet = (
        dimensions
    )
    # moto ignores the conditions of a policy's statements: a Deny of insecure transport would deny
    # every request.
    FakeBucket.get_permission = lambda _bucket, _action, _resource: PermissionResult.NEUTRAL
    # moto keeps every instance of every model in memory, including each version of each DynamoDB
    # item.
    BaseModel.__new__ = lambda cls, *_args, **_named: object.__new__(cls)
    # Without the cache, moto searches its folders at each request.
    dispatcher = DomainDispatcherApplication
    dispatcher.get_backend_for_host = lru_cache(maxsize=1024)(dispatcher.get_backend_for_host)


def _stacks(stacks: Stacks) -> None:
    change_sets = ChangeSets(stacks)

    def create_stack(
        backend: Any, name: str, template: str, parameters: Any, **options: Any
    ) -> Any:
        existing = find(backend, name)
        if existing is not None:
            raise ValidationError(existing.stack_id, message=f"Stack [{name}] already exists")
        read(template, parameters)
        stack = new(backend, name, parameters, options.get("tags"), options.get("role_arn"))
        stacks.start(backend, stack, "CREATE", template, parameters)
        return stack

    def update_stack(
        backend: Any, name: str, template: str, role_arn: Any, parameters: Any, tags: Any
    ) -> Any:
        stack = backend.get_stack(name)
        values = backend._resolve_update_parameters(instance=stack, incoming_params=parameters)  # noqa: SLF001 - moto's
        stacks.start(backend, stack, "UPDATE", template or stack.template, values)
        return stack

    def delete_stack(backend: Any, name_or_stack_id: str) -> None:
        stack = find(backend, name_or_stack_id)
        if getattr(stack, "enable_termination_protection", False):
            raise ValidationError(
                message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection is "
                "enabled"
            )
        if stack is not None:
            forget(backend, stack)
            stacks.start(backend, stack, "DELETE")

    def protect(response: Any) -> Any:
        stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))  # noqa: SLF001 - moto's own way
        wanted = response._get_bool_param("EnableTerminationProtection", False)  # noqa: SLF001 - likewise
        stack.enable_termination_protection = wanted
        return ActionResult({"StackId": stack.stack_id})

    CloudFormationResponse.update_termination_protection = protect  # moto has no such action
    CloudFormationBackend.create_stack = create_stack
    CloudFormationBackend.update_stack = update_stack
    CloudFormationBackend.delete_stack = delete_stack
    CloudFormationBackend.create_change_set = lambda backend, *args, **named: change_sets.create(
        backend, *args, **named
    )
    for name in ("create_stack", "update_stack", "create_change_set"):
        setattr(
            CloudFormationResponse, name, _with_a_short_body(getattr(CloudFormationResponse, name))
        )
    CloudFormationResponse.execute_change_set = lambda response: change_sets.execute(response)
    CloudFormationResponse.delete_change_set = lambda response: change_sets.delete(response)
    CloudFormationResponse.describe_change_set = lambda response: change_sets.describe(response)
    # moto's own property would create the resources that moto has not created itself.
    Stack.stack_resources = property(
        lambda stack: [
            Described(name, item) for name, item in list(deployed_as(stack).resources.items())
        ]
    )


def _with_a_short_body(operation: Any) -> Any:
    def limited(response: Any) -> Any:
        body = response._get_param("TemplateBody") or ""  # noqa: SLF001 - moto's own way
        if len(body.encode()) > LONGEST_BODY:
            raise ValidationError(
                message=f"1 validation error detected: Value '{body[:40]}...' at 'templateBody' "
                "failed to satisfy "
                f"constraint: Member must have length less than or equal to {LONGEST_BODY}"
            )
        return operation(response)

    return limited


def _endpoints() -> None:
    # moto's list of instance types ends in 2021.
    FakeEndpointConfig.validate_instance_type = lambda _config, _instance_type: None
    check_variants = SageMakerModelBackend.validate_production_variants

    def check(backend: Any, variants: list[dict[str, Any]]) -> None:
        # A variant without a model hosts inference components.
        check_variants(backend, [variant for variant in variants if variant.get("ModelName")])

    SageMakerModelBackend.validate_production_variants = check
    create_endpoint = SageMakerModelBackend.create_endpoint

    def create(backend: Any, *args: Any, **named: Any) -> Any:
        endpoint = create_endpoint(backend, *args, **named)
        # The data plane reports when the endpoint is in service.
        endpoint.endpoint_status = "Creating"
        return endpoint

    SageMakerModelBackend.create_endpoint = create
