"""Change sets. A change set belongs to one stack and is found there by its name."""

import contextlib
from typing import Any

from moto.cloudformation.exceptions import CloudFormationError, ValidationError
from moto.cloudformation.models import CloudFormationBackend
from moto.core.responses import ActionResult, EmptyResult

from local.cloudformation.stacks import Stacks, find, read


class NotFound(CloudFormationError):  # type: ignore[misc]  # moto is untyped here
    """The change set does not exist. The CDK CLI sends a request to find that out."""

    code = "ChangeSetNotFoundException"


class ChangeSets:
    """The API's four calls about change sets. `response` is moto's view of a request."""

    def __init__(self, stacks: Stacks) -> None:
        """`stacks` deploys the stacks."""
        self._stacks = stacks
        self._create: Any = CloudFormationBackend.create_change_set

    def create(self, backend: Any, stack_name: str, change_set_name: str, **options: Any) -> Any:
        """Create a change set; return its id and the id of its stack.

        A stack that exists only because of an earlier change set is used again.

        Raises moto's ValidationError.
        """
        read(options["template"], options.get("parameters"))
        existing = find(backend, stack_name)
        if existing is None:
            return self._create(backend, stack_name, change_set_name, **options)
        kind = options["change_set_type"]
        if kind == "CREATE" and existing.status != "REVIEW_IN_PROGRESS":
            raise ValidationError(
                existing.stack_id,
                message=f"Stack [{stack_name}] already exists and cannot be created again",
            )
        forget(backend, existing, change_set_name)
        if existing.status == "REVIEW_IN_PROGRESS":
            existing.template = "{}"  # moto has a mapping there, and cannot parse it
        created = self._create(
            backend, stack_name, change_set_name, **{**options, "change_set_type": "UPDATE"}
        )
        backend.change_sets[created[0]].change_set_type = kind
        return created

    def describe(self, response: Any) -> Any:
        """Return the description of a change set."""
        return ActionResult(_named(response))

    def execute(self, response: Any) -> Any:
        """Deploy a change set.

        Raises moto's ValidationError if it cannot be executed.
        """
        change_set = _named(response)
        if change_set.execution_status != "AVAILABLE":
            raise ValidationError(
                change_set.stack_id,
                message=f"ChangeSet [{change_set.change_set_id}] cannot be executed",
            )
        change_set.execution_status = "EXECUTE_IN_PROGRESS"
        verb = "CREATE" if change_set.stack.status == "REVIEW_IN_PROGRESS" else "UPDATE"
        self._stacks.start(
            response.cloudformation_backend,
            change_set.stack,
            verb,
            change_set.template,
            change_set.parameters,
        )
        change_set.execution_status = "EXECUTE_COMPLETE"
        return EmptyResult()

    def delete(self, response: Any) -> Any:
        """Delete a change set. A missing one is no error."""
        with contextlib.suppress(NotFound):
            del response.cloudformation_backend.change_sets[_named(response).change_set_id]
        return EmptyResult()


def forget(backend: Any, stack: Any, name: str | None = None) -> None:
    """Delete all change sets of a stack, or the one called `name`."""
    for key, change_set in list(backend.change_sets.items()):
        if change_set.stack_id == stack.stack_id and name in {None, change_set.change_set_name}:
            del backend.change_sets[key]


def _named(response: Any) -> Any:
    """Return the change set that a request names, by its ARN or by its name within its stack."""
    name, stack = response._get_param("ChangeSetName"), response._get_param("StackName")  # noqa: SLF001 - moto's own way
    for change_set in response.cloudformation_backend.change_sets.values():
        if change_set.change_set_id == name or (
            change_set.change_set_name == name
            and stack in {change_set.stack_name, change_set.stack_id}
        ):
            return change_set
    raise NotFound(f"ChangeSet [{name}] does not exist")
