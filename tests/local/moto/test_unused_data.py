"""What moto would load without need, in a process that has not imported it."""

import subprocess
import sys

from botocore.session import Session

from local.moto.unused_data import available_regions

_SERVICES = (
    "apigatewayv2",
    "cloudwatch",
    "dynamodb",
    "ec2",
    "elbv2",
    "iam",
    "logs",
    "route53",
    "s3",
    "sagemaker-runtime",
    "ses",
    "stepfunctions",
)
"""Services of all kinds: regional, global, and with another name in their addresses."""
_PROGRAM = """
from local.moto import unused_data
unused_data.install()
from moto.ec2.models import amis, instance_types
print(len(instance_types.INSTANCE_TYPES), len(instance_types.INSTANCE_TYPE_OFFERINGS["region"]))
print(any(instance_types.INSTANCE_TYPE_OFFERINGS["region"].values()), len(amis.AMIS) > 0)
from botocore.session import Session
one, other = (Session().get_service_data("s3") for _ in range(2))
print(one["shapes"] is other["shapes"])
"""


def test_data_is_loaded_once_or_not_at_all() -> None:
    """EC2's instance types and their offerings are empty, and other data of moto is there.

    Two sessions share the description of an API.
    """
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    types, regions, offered, has_amis, is_shared = run.stdout.split()
    assert (types, offered, has_amis, is_shared) == ("0", "False", "True", "True")
    assert int(regions) > 0


def test_regions_are_those_of_botocore() -> None:
    """Each service has the regions that botocore finds, in each partition."""
    session = Session()
    original = Session.get_available_regions
    for partition in session.get_available_partitions():
        for service in (*_SERVICES, "no-such-service"):
            for others in (False, True):
                wanted = original(session, service, partition, others)
                assert available_regions(session, service, partition, others) == wanted, service
