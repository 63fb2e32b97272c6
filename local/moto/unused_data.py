"""Keep moto from loading data of services that the local cloud does not emulate.

CloudFormation's part of moto imports all services. EC2's instance types and the places that offer
them would take a third of the memory of the control plane, and a second of its start. To learn the
regions of a service, moto has botocore load its whole API, and keeps it. Moto and each session of
boto3 have each a copy of the descriptions that they use; here they share one.
"""

import gzip
import re
from functools import cache
from pathlib import Path
from typing import Any

import botocore
from botocore.loaders import JSONFileLoader
from botocore.session import Session
from moto.utilities import utils

_UNUSED = ("ec2/resources/instance_types", "ec2/resources/instance_type_offerings/")


_DATA = Path(botocore.__file__).parent / "data"
_PREFIX = re.compile(rb'"endpointPrefix" *: *"([^"]+)"')


def install() -> None:
    """Replace moto's and botocore's functions. Call it before a part of moto is imported."""
    load = utils.load_resource

    def load_used(resource: str) -> Any:
        return {} if resource.startswith(_UNUSED) else load(resource)

    utils.load_resource = load_used
    Session.get_available_regions = available_regions
    read = JSONFileLoader.load_file

    @cache
    def shared(path: str) -> Any:
        return read(JSONFileLoader(), path)

    def load_file(_: JSONFileLoader, file_path: str) -> Any:
        return shared(file_path)

    JSONFileLoader.load_file = load_file


def available_regions(
    session: Session,
    service_name: str,
    partition_name: str = "aws",
    allow_non_regional: bool = False,
) -> list[str]:
    """Return the regions of a service, as botocore does, from the beginning of its description."""
    partition = _partitions().get(partition_name)
    prefix = _endpoint_prefix(service_name)
    if partition is None or prefix is None:
        return []
    regions, services = partition
    return [it for it in services.get(prefix, ()) if allow_non_regional or it in regions]


@cache
def _endpoint_prefix(service_name: str) -> str | None:
    """Return the name of a service in its addresses, None without such a service."""
    versions = sorted((_DATA / service_name).glob("*/service-2.json.gz"))
    if not versions:
        return None
    with gzip.open(versions[-1]) as description:  # its metadata come first
        found = _PREFIX.search(description.read(4096))
    return found[1].decode() if found else service_name


@cache
def _partitions() -> dict[str, tuple[frozenset[str], dict[str, list[str]]]]:
    """Return the regions, and the endpoints of each service, of each partition."""
    partitions = JSONFileLoader().load_file(str(_DATA / "endpoints"))["partitions"]
    return {
        it["partition"]: (
            frozenset(it["regions"]),
            {name: list(service["endpoints"]) for name, service in it["services"].items()},
        )
        for it in partitions
    }
