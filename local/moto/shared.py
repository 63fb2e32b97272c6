"""Patch moto to keep in memory once what it would keep many times.

Functions of one package each have a copy of its code: some 70 MB for the stacks of this project.
The managed policies of IAM are made for each partition of AWS, of which only one is emulated. The
models of botocore are ordered dictionaries, which take twice the memory of dictionaries and tell no
more.
"""

from functools import lru_cache
from typing import Any

from botocore import loaders
from moto.awslambda import models as functions
from moto.iam import models as iam

_MAX_PACKAGES = 16


def install() -> None:
    """Replace a function of moto, the partitions that it searches, and the type of models.

    Call it before a service is used.
    """
    loaders.OrderedDict = dict
    read = functions._s3_content  # noqa: SLF001 (moto has no other place for it)

    def read_shared(key: Any) -> tuple[bytes, Any, Any, Any]:
        code, size, sha256, digest = read(key)
        return _first(code), size, sha256, digest

    functions._s3_content = read_shared  # noqa: SLF001
    iam.PARTITION_NAMES = ["aws"]


@lru_cache(maxsize=_MAX_PACKAGES)
def _first(code: bytes) -> bytes:
    """Return the first bytes that were equal to these."""
    return code
