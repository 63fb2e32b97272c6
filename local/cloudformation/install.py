"""Puts our deployment of stacks in the place of moto's, behind moto's own reading of requests and writing of answers.

Also: the instance types moto refuses, an endpoint's true status, and no half-read bucket policies.
"""

import contextlib
import logging
import threading
from datetime import timedelta
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend, Event, Export, Stack
from moto.cloudformation.responses import CloudFormationResponse
from moto.cloudformation.utils import generate_stack_id
from moto.core.responses import ActionResult, EmptyResult
from moto.iam.access_control import PermissionResult
from moto.s3.models import FakeBucket
from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend

from local.cloudformation.clients import call
from local.cloudformation.engine import Deployed, Failed, Operation, Services
from local.cloudformation.families import Families
from local.cloudformation.references import resolve
from local.cloudformation.resource import Unhandled
from local.control.exchange import EXCHANGE

log = logging.getLogger("local.cloudformation")

# An operation is waited for so long within the request that starts it: clients poll every 2 to 30 s, and most are
# done at once.
_WAIT_S = 5.0


class _Outputs(dict[str, Any]):
    """Outputs by key, as moto's stack expects them."""

    exports: list[Any] = []  # noqa: RUF012 - moto reads an attribute


class _Output:
    def __init__(self, key: str, node: dict[str, Any]) -> None:
        self.key, self.value, self.description = key, node["Value"], node.get("Description")


class Stacks:
    """The operations on stacks, one thread each."""

    def __init__(self) -> None:
        """Collect what can be deployed."""
        self.families = Families()

    def start(self, backend: Any, stack: Any, verb: str, template: str = "", parameters: Any = None) -> None:
        """Begin to create, update or delete a stack (`verb` CREATE, UPDATE, DELETE), and wait a little for the end.

        Raises moto's ValidationError if the stack is busy.
        """
        if stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
            raise ValidationError(
                stack.stack_id, message=f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
            )
        body = stack.parse_template(template) if template else {}
        if template and not body.get("Resources"):
            raise ValidationError(
                stack.stack_id, message="Template format error: At least one Resources member must be defined."
            )
        stack.status = f"{verb}_IN_PROGRESS"
        stack._add_stack_event(stack.status, resource_status_reason="User Initiated")  # noqa: SLF001 - moto's own way
        thread = threading.Thread(
            target=self._run, args=(backend, stack, verb, template, body, dict(parameters or {})), daemon=True
        )
        thread.start()
        thread.join(_WAIT_S)

    def _run(
        self, backend: Any, stack: Any, verb: str, template: str, body: dict[str, Any], parameters: dict[str, str]
    ) -> None:
        deployed = _deployed(stack)
        log.info("%s stack %s", verb, stack.name)

        def events(logical_id: str, physical_id: str, kind: str, status: str, reason: str | None) -> None:
            if status == "ROLLBACK":
                stack.status = "ROLLBACK_IN_PROGRESS" if verb == "CREATE" else "UPDATE_ROLLBACK_IN_PROGRESS"
                stack._add_stack_event(stack.status, resource_status_reason=reason)  # noqa: SLF001 - moto's own way
                return
            if reason:
                log.warning("%s %s (%s): %s", status, logical_id, kind, reason)
            event = Event(stack.stack_id, stack.name, logical_id, physical_id, kind, status, reason, None)
            # Clients sort by milliseconds, and much happens within one here.
            event.timestamp = max(event.timestamp, stack.events[-1].timestamp + timedelta(milliseconds=1))
            stack.events.append(event)

        operation = Operation(deployed, self._services(backend, stack), events)
        reason = None
        try:
            if verb == "DELETE":
                operation.delete()
            else:
                operation.deploy(body, parameters)
                stack.template, stack.parameters = template, parameters
            status = f"{verb}_COMPLETE"
        except Failed as failure:
            reason = str(failure)
            status = {"CREATE": "ROLLBACK_COMPLETE", "UPDATE": "UPDATE_ROLLBACK_COMPLETE"}.get(verb, "DELETE_FAILED")
        except Exception as error:  # a defect here must not leave the stack in progress for ever
            log.exception("%s stack %s", verb, stack.name)
            reason, status = f"the local cloud failed: {error}", f"{verb}_FAILED"
        _publish(backend, stack, deployed)
        if verb == "DELETE" and status == "DELETE_COMPLETE":
            backend.stacks.pop(stack.stack_id, None)
            backend.deleted_stacks[stack.stack_id] = stack
        EXCHANGE.changed()
        if not EXCHANGE.settle():
            log.warning("the data planes have not taken over stack %s yet", stack.name)
        stack._add_stack_event(status, resource_status_reason=reason)  # noqa: SLF001 - moto's own way
        stack.status = status
        log.info("%s %s", stack.name, status)

    def _services(self, backend: Any, stack: Any) -> Services:
        region = backend.region_name

        def secret(secret_id: str, stage: str, version: str) -> str:
            wanted = {"VersionStage": stage or None, "VersionId": version or None}
            return str(call("secretsmanager", region, "get_secret_value", SecretId=secret_id, **wanted)["SecretString"])

        def parameter(name: str, version: str = "") -> str:
            full = f"{name}:{version}" if version else name
            return str(call("ssm", region, "get_parameter", Name=full, WithDecryption=True)["Parameter"]["Value"])

        return Services(
            make=self.families.make,
            text=lambda text: resolve(text, secret, parameter),
            parameter=parameter,
            exports=lambda: {name: export.value for name, export in backend.exports.items()},
        )


def _deployed(stack: Any) -> Deployed:
    if not hasattr(stack, "deployed"):
        stack.deployed = Deployed(stack.account_id, stack.region_name, stack.name, stack.stack_id)
    found: Deployed = stack.deployed
    return found


def _publish(backend: Any, stack: Any, deployed: Deployed) -> None:
    """Write what is deployed to where moto's answers are read from."""
    for name in [name for name, export in backend.exports.items() if export.exporting_stack_id == stack.stack_id]:
        del backend.exports[name]
    for key in [key for key in EXCHANGE.unhandled if key[0] == stack.name]:
        del EXCHANGE.unhandled[key]
    stack.template_dict = deployed.template
    stack.description = deployed.template.get("Description")
    stack.resource_map._resource_json_map = deployed.template.get("Resources", {})  # noqa: SLF001 - moto's diff reads it
    stack.resource_map.resolved_parameters = dict(deployed.parameters)
    stack.resource_map.no_echo_parameter_keys = []
    outputs = _Outputs({key: _Output(key, node) for key, node in deployed.outputs.items()})
    outputs.exports = [
        Export(stack.stack_id, node["Export"]["Name"], node["Value"])
        for node in deployed.outputs.values()
        if node.get("Export")
    ]
    stack.output_map = outputs
    backend.exports.update({export.name: export for export in outputs.exports})
    for logical_id, resource in deployed.resources.items():
        if isinstance(resource, Unhandled):
            log.warning(
                "stack %s: nothing here handles %s (%s); what depends on it will not work",
                stack.name,
                resource.context.type,
                logical_id,
            )
            EXCHANGE.unhandled[stack.name, logical_id] = resource.context.type


class _Described:
    """A resource as moto's answers describe it."""

    def __init__(self, logical_id: str, resource: Any) -> None:
        self.logical_resource_id = logical_id
        self.physical_resource_id = resource.physical_id
        self.cf_resource_type = resource.context.type


def install() -> None:
    """Take over. Once, in the control plane's process."""
    stacks = Stacks()

    def create_stack(backend: Any, name: str, template: str, parameters: Any, **options: Any) -> Any:
        existing = _find(backend, name)
        if existing is not None:
            raise ValidationError(existing.stack_id, message=f"Stack [{name}] already exists")
        stack = _new(backend, name, parameters, options.get("tags"), options.get("role_arn"))
        stacks.start(backend, stack, "CREATE", template, parameters)
        return stack

    def update_stack(backend: Any, name: str, template: str, role_arn: Any, parameters: Any, tags: Any) -> Any:
        stack = backend.get_stack(name)
        given = backend._resolve_update_parameters(instance=stack, incoming_params=parameters)  # noqa: SLF001 - moto's
        stacks.start(backend, stack, "UPDATE", template or stack.template, given)
        return stack

    def delete_stack(backend: Any, name_or_stack_id: str) -> None:
        stack = _find(backend, name_or_stack_id)
        if stack is not None:
            _forget_change_sets(backend, stack)
            stacks.start(backend, stack, "DELETE")

    def execute(response: Any) -> Any:
        backend = response.cloudformation_backend
        found = _change_set(backend, response)
        if found.execution_status != "AVAILABLE":
            raise ValidationError(found.stack_id, message=f"ChangeSet [{found.change_set_id}] cannot be executed")
        found.execution_status = "EXECUTE_IN_PROGRESS"
        verb = "CREATE" if found.stack.status == "REVIEW_IN_PROGRESS" else "UPDATE"
        stacks.start(backend, found.stack, verb, found.template, found.parameters)
        found.execution_status = "EXECUTE_COMPLETE"
        return EmptyResult()

    def delete_change_set(response: Any) -> Any:
        backend = response.cloudformation_backend
        with contextlib.suppress(ValidationError):
            del backend.change_sets[_change_set(backend, response).change_set_id]
        return EmptyResult()

    create_change_set = CloudFormationBackend.create_change_set

    def reuse_stack(backend: Any, stack_name: str, change_set_name: str, **options: Any) -> Any:
        existing = _find(backend, stack_name)
        if existing is None:
            return create_change_set(backend, stack_name, change_set_name, **options)
        _forget_change_sets(backend, existing, change_set_name)
        made = create_change_set(backend, stack_name, change_set_name, **{**options, "change_set_type": "UPDATE"})
        backend.change_sets[made[0]].change_set_type = options["change_set_type"]
        return made

    CloudFormationBackend.create_stack = create_stack
    CloudFormationBackend.update_stack = update_stack
    CloudFormationBackend.delete_stack = delete_stack
    CloudFormationBackend.create_change_set = reuse_stack
    CloudFormationResponse.execute_change_set = execute
    CloudFormationResponse.delete_change_set = delete_change_set
    CloudFormationResponse.describe_change_set = lambda response: ActionResult(
        _change_set(response.cloudformation_backend, response)
    )
    Stack.stack_resources = property(
        lambda stack: [_Described(name, item) for name, item in list(_deployed(stack).resources.items())]
    )
    # moto reads a policy's statements without their conditions: a Deny of insecure transport would deny everything.
    FakeBucket.get_permission = lambda _bucket, _action, _resource: PermissionResult.NEUTRAL
    FakeEndpointConfig.validate_instance_type = lambda _config, _instance_type: None
    create_endpoint = SageMakerModelBackend.create_endpoint

    def create_endpoint_creating(backend: Any, *args: Any, **named: Any) -> Any:
        endpoint = create_endpoint(backend, *args, **named)
        endpoint.endpoint_status = "Creating"
        return endpoint

    SageMakerModelBackend.create_endpoint = create_endpoint_creating


def _find(backend: Any, name: str) -> Any:
    return next((stack for stack in backend.stacks.values() if name in {stack.name, stack.stack_id}), None)


def _new(backend: Any, name: str, parameters: Any, tags: Any, role_arn: Any) -> Any:
    stack_id = generate_stack_id(name, backend.region_name, backend.account_id)
    stack = Stack(
        stack_id=stack_id,
        name=name,
        template={},
        parameters=parameters,
        account_id=backend.account_id,
        region_name=backend.region_name,
        tags=tags,
        role_arn=role_arn,
    )
    backend.stacks[stack_id] = stack
    return stack


def _change_set(backend: Any, response: Any) -> Any:
    """The change set that a request names: by ARN, or by its name within its stack."""
    name, stack = response._get_param("ChangeSetName"), response._get_param("StackName")  # noqa: SLF001 - moto's own way
    for found in backend.change_sets.values():
        if found.change_set_id == name or (
            found.change_set_name == name and stack in {found.stack_name, found.stack_id}
        ):
            return found
    raise ValidationError(name, message=f"ChangeSet [{name}] does not exist")


def _forget_change_sets(backend: Any, stack: Any, name: str | None = None) -> None:
    for key, found in list(backend.change_sets.items()):
        if found.stack_id == stack.stack_id and name in {None, found.change_set_name}:
            del backend.change_sets[key]
