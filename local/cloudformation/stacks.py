"""The operations on stacks, each in its own thread, and their results in moto's stacks."""

import json
import logging
import random
import threading
import uuid
from datetime import timedelta
from typing import Any

import yaml
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import Event, Export, Stack
from moto.cloudformation.utils import generate_stack_id

from local.cloudformation.calls import call
from local.cloudformation.engine import Deployed, Failed, Operation, Services
from local.cloudformation.families import Families, effect
from local.cloudformation.intrinsics import TemplateError
from local.cloudformation.references import resolve
from local.cloudformation.resource import Unhandled
from local.cloudformation.template import LONGEST_TEMPLATE, check, duplicates
from local.moto.exchange import EXCHANGE

log = logging.getLogger("local.cloudformation")

# Seconds for which the request that starts an operation waits for its end. Clients poll every 2 to
# 30 s, and most operations are done at once.
_WAIT_S = 5.0


class _Outputs(dict[str, Any]):
    """Outputs by key, as moto's stack expects them."""

    exports: list[Any] = []  # noqa: RUF012 - moto reads an attribute


class _Output:
    def __init__(self, key: str, node: dict[str, Any]) -> None:
        self.key, self.value, self.description = key, node["Value"], node.get("Description")


class Stacks:
    """The operations on stacks, one thread for each."""

    def __init__(self) -> None:
        """Collect the types of resources."""
        self.families = Families()

    def start(
        self, backend: Any, stack: Any, verb: str, template: str = "", parameters: Any = None
    ) -> None:
        """Start to create, update or delete a stack, and wait up to `_WAIT_S` for the end.

        `verb` is CREATE, UPDATE or DELETE.

        Raises moto's ValidationError if another operation on the stack is in progress.
        """
        if stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
            raise ValidationError(
                stack.stack_id,
                message=f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated.",
            )
        body = read(template, parameters or {}) if template else {}
        defaults = {
            key: str(slot["Default"])
            for key, slot in body.get("Parameters", {}).items()
            if "Default" in slot
        }
        # A description lists all parameters, and an update may keep their values.
        values = {
            **defaults,
            **dict(parameters or {}),
        }
        stack.status = f"{verb}_IN_PROGRESS"
        stack._add_stack_event(stack.status, resource_status_reason="User Initiated")  # noqa: SLF001 - moto's own way
        thread = threading.Thread(
            target=self._run, args=(backend, stack, verb, template, body, values), daemon=True
        )
        thread.start()
        thread.join(_WAIT_S)

    def _run(
        self,
        backend: Any,
        stack: Any,
        verb: str,
        template: str,
        body: dict[str, Any],
        parameters: dict[str, str],
    ) -> None:
        deployed = deployed_as(stack)
        log.info("%s stack %s", verb, stack.name)

        def events(
            logical_id: str, physical_id: str, kind: str, status: str, reason: str | None
        ) -> None:
            if status == "ROLLBACK":
                stack.status = (
                    "ROLLBACK_IN_PROGRESS" if verb == "CREATE" else "UPDATE_ROLLBACK_IN_PROGRESS"
                )
                stack._add_stack_event(stack.status, resource_status_reason=reason)  # noqa: SLF001 - moto's own way
                return
            if reason:
                log.warning("%s %s (%s): %s", status, logical_id, kind, reason)
            event = Event(
                stack.stack_id, stack.name, logical_id, physical_id, kind, status, reason, None
            )
            # Clients sort events by time in milliseconds, and several may fall into one.
            event.timestamp = max(
                event.timestamp, stack.events[-1].timestamp + timedelta(milliseconds=1)
            )
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
            status = {"CREATE": "ROLLBACK_COMPLETE", "UPDATE": "UPDATE_ROLLBACK_COMPLETE"}.get(
                verb, "DELETE_FAILED"
            )
        except Exception as error:  # a defect here must not leave the stack in progress
            log.exception("%s stack %s", verb, stack.name)
            reason, status = f"the local cloud failed: {error}", f"{verb}_FAILED"
        _publish(backend, stack, deployed)
        if verb == "DELETE" and status == "DELETE_COMPLETE":
            backend.stacks.pop(stack.stack_id, None)
            backend.deleted_stacks[stack.stack_id] = stack
        EXCHANGE.changed()
        if not EXCHANGE.settle():
            log.warning("the data planes have not applied stack %s yet", stack.name)
        stack._add_stack_event(status, resource_status_reason=reason)  # noqa: SLF001 - moto's own way
        stack.status = status
        log.info("%s %s", stack.name, status)

    def _services(self, backend: Any, stack: Any) -> Services:
        region = backend.region_name

        def secret(secret_id: str, stage: str, version: str) -> str:
            options = {"VersionStage": stage or None, "VersionId": version or None}
            return str(
                call("secretsmanager", region, "get_secret_value", SecretId=secret_id, **options)[
                    "SecretString"
                ]
            )

        def parameter(name: str, version: str = "") -> str:
            full = f"{name}:{version}" if version else name
            return str(
                call("ssm", region, "get_parameter", Name=full, WithDecryption=True)["Parameter"][
                    "Value"
                ]
            )

        return Services(
            make=self.families.make,
            text=lambda text: resolve(text, secret, parameter),
            parameter=parameter,
            exports=lambda: {name: export.value for name, export in backend.exports.items()},
        )


def read(text: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the template if CloudFormation would accept it.

    Raises moto's ValidationError otherwise.
    """
    kind = "JSON" if text.lstrip().startswith("{") else "YAML"
    try:
        if len(text.encode()) > LONGEST_TEMPLATE:
            raise TemplateError(f"Template may not exceed {LONGEST_TEMPLATE} bytes in size.")
        duplicates(text)
        # moto parses JSON with its YAML parser, which takes seconds for a large template.
        body = json.loads(text) if kind == "JSON" else Stack.parse_template(text)
        if not isinstance(body, dict):
            raise TemplateError("Template format error: unsupported structure.")
        check(body, parameters)
    except TemplateError as error:
        raise ValidationError(message=str(error)) from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValidationError(message=f"Template format error: {kind} not well-formed.") from error
    template: dict[str, Any] = body
    return template


def deployed_as(stack: Any) -> Deployed:
    """Return the deployed state of one of moto's stacks."""
    if not hasattr(stack, "deployed"):
        stack.deployed = Deployed(stack.account_id, stack.region_name, stack.name, stack.stack_id)
    deployed: Deployed = stack.deployed
    return deployed


def _publish(backend: Any, stack: Any, deployed: Deployed) -> None:
    """Write the deployed state to the places where moto's responses read it."""
    for name in [
        name
        for name, export in backend.exports.items()
        if export.exporting_stack_id == stack.stack_id
    ]:
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
            kind = resource.context.type
            log.warning(
                "stack %s: nothing here handles %s (%s): %s",
                stack.name,
                kind,
                logical_id,
                effect(kind),
            )
            EXCHANGE.unhandled[stack.name, logical_id] = (kind, effect(kind))


class Described:
    """A resource as moto's responses describe it."""

    def __init__(self, logical_id: str, resource: Any) -> None:
        """Copy what the responses show."""
        self.logical_resource_id = logical_id
        self.physical_resource_id = resource.physical_id
        self.cf_resource_type = resource.context.type


def find(backend: Any, name: str) -> Any:
    """Return the stack with a name or id, or None. Deleted stacks are not found."""
    return next(
        (stack for stack in backend.stacks.values() if name in {stack.name, stack.stack_id}), None
    )


def new(backend: Any, name: str, parameters: Any, tags: Any, role_arn: Any) -> Any:
    """Return a stack in which nothing is deployed yet."""
    made = generate_stack_id(name, backend.region_name, backend.account_id)
    # As AWS's, it ends in a UUID of version 1, which has the time in it.
    stack_id = f"{made.rpartition('/')[0]}/{uuid.uuid1(node=random.getrandbits(48))}"
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
