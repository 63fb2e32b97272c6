"""What moto keeps once, in a process of its own."""

import subprocess
import sys

_PROGRAM = """
from local.moto import shared
shared.install()
from moto.awslambda import models as functions
from moto.iam.models import iam_backends

class Key:
    def __init__(self, value):
        self.value, self.size = value, len(value)

one, other, third = (functions._s3_content(Key(bytes(bytearray(code)))) for code in (b"zip", b"zip", b"piz"))
print(one == other, one[0] is other[0], third[0] == b"piz", len(one))
iam_backends["123456789012"]["aws"]
from moto.iam.models import get_account_id_from
get_account_id_from("AKIAXXXXXXXXXXXXXXXX")
print(sorted(dict.keys(iam_backends["123456789012"])))
from botocore.loaders import Loader
print(type(Loader().load_service_model("sts", "service-2")["shapes"]).__name__)
"""


def test_what_is_the_same_is_kept_once() -> None:
    """Equal code is one object with the figures of moto, one partition has policies, and models are
    plain dictionaries.
    """
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["True True True 4", "['aws']", "dict"]
