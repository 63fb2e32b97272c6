"""Keep moto from loading data of services that the local cloud does not emulate.

CloudFormation's part of moto imports all services. EC2's instance types and the places that offer
them would take a third of the memory of the control plane, and a second of its start.
"""

from typing import Any

from moto.utilities import utils

_UNUSED = ("ec2/resources/instance_types", "ec2/resources/instance_type_offerings/")


def install() -> None:
    """Replace moto's function. Call it before a part of moto is imported."""
    load = utils.load_resource

    def load_used(resource: str) -> Any:
        return {} if resource.startswith(_UNUSED) else load(resource)

    utils.load_resource = load_used
