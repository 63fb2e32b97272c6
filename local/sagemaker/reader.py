"""Reads a model's data, and checks access to its image, with the rights of its execution role.

SageMaker does the same.
"""

import logging
import re

from local.iam.policy import Need
from local.iam.roles import Caller, Roles
from local.sagemaker.weights import Objects, WeightsError

log = logging.getLogger("local.iam")


_ECR = re.compile(
    r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([\w./-]+?)(?:[:@].+)?"
)
_PULL = ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer")


class RoleReader:
    """Reads S3 through the control plane, for `local.sagemaker.weights`.

    The role in a query's `role` must be allowed to read.
    """

    def __init__(self, objects: Objects, roles: Roles, region: str) -> None:
        """`objects` reads any object; `roles` are the deployed roles."""
        self._objects = objects
        self._roles = roles
        self._region = region

    async def get(self, path: str, **query: str) -> bytes:
        """Return an object's bytes.

        Raises WeightsError if the role may not read it.
        """
        address = f"{query['bucket']}/{query['key']}"
        self._check(
            query.pop("role"), f"s3://{address}", Need("s3:GetObject", f"arn:aws:s3:::{address}")
        )
        return await self._objects.get(path, **query)

    async def get_json(self, path: str, **query: str) -> list[dict[str, str]]:
        """Return the list of objects below an address.

        Raises WeightsError if the role may not list its bucket with that prefix.
        """
        bucket, _, prefix = query["uri"].removeprefix("s3://").partition("/")
        need = Need("s3:ListBucket", f"arn:aws:s3:::{bucket}", (("s3:prefix", (prefix,)),))
        self._check(query.pop("role"), query["uri"], need)
        return await self._objects.get_json(path, **query)

    def pull(self, image: str, role: str) -> None:
        """Check that a role may pull an image from ECR; any other image is public.

        Raises WeightsError.
        """
        match = _ECR.fullmatch(image)
        if match is None:
            return
        account, region, repository = match.groups()
        arn = f"arn:aws:ecr:{region}:{account}:repository/{repository}"
        needs = [
            Need("ecr:GetAuthorizationToken", "*"),
            *(Need(f"ecr:{action}", arn) for action in _PULL),
        ]
        for need in needs:
            if refused := self._roles.refusal(Caller(role, "SageMaker"), need, self._region):
                log.warning("AccessDenied: %s", refused)
                action = need.action.removeprefix("ecr:")
                raise WeightsError(
                    f'The role "{role}" does not have {action} permission for the image: '
                    f'"{image}". {refused}'
                )

    def _check(self, role: str, uri: str, need: Need) -> None:
        if refused := self._roles.refusal(Caller(role, "SageMaker"), need, self._region):
            log.warning("AccessDenied: %s", refused)
            raise WeightsError(
                f'Could not access model data at {uri}. Please ensure that the role "{role}" '
                "exists and that it has "
                f'"{need.action}" permissions. {refused}'
            )
