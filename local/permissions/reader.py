"""Reads a model's data with the rights of its execution role, as SageMaker does."""

import logging

from local.inference.weights import Objects, WeightsError
from local.permissions.policy import Need
from local.permissions.roles import Caller, Roles

log = logging.getLogger("local.permissions")


class RoleReader:
    """S3 through the control plane, for `local.inference.weights`: a query's `role` has to be allowed what is asked."""

    def __init__(self, objects: Objects, roles: Roles, region: str) -> None:
        """`objects` reads anything; `roles` is what is deployed."""
        self._objects = objects
        self._roles = roles
        self._region = region

    async def get(self, what: str, **query: str) -> bytes:
        """Give an object's bytes. Raises WeightsError if the role may not read it."""
        path = f"{query['bucket']}/{query['key']}"
        self._check(query.pop("role"), f"s3://{path}", Need("s3:GetObject", f"arn:aws:s3:::{path}"))
        return await self._objects.get(what, **query)

    async def get_json(self, what: str, **query: str) -> list[dict[str, str]]:
        """List what is at an address. Raises WeightsError if the role may not list its bucket."""
        bucket = query["uri"].removeprefix("s3://").partition("/")[0]
        self._check(query.pop("role"), query["uri"], Need("s3:ListBucket", f"arn:aws:s3:::{bucket}"))
        return await self._objects.get_json(what, **query)

    def _check(self, role: str, uri: str, need: Need) -> None:
        if refused := self._roles.refusal(Caller(role, "SageMaker"), need, self._region):
            log.warning("AccessDenied: %s", refused)
            raise WeightsError(
                f'Could not access model data at {uri}. Please ensure that the role "{role}" exists and that it has '
                f'"{need.action}" permissions. {refused}'
            )
