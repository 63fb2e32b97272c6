"""The parts that some regions lack, with sources. `sluice preflight` reports them.

Sources: "Creating and managing Lambda function URLs", AWS Lambda Developer Guide (read November
2026); streamed responses need a function URL. "Amazon CloudFront endpoints and quotas", AWS General
Reference, for the partitions. A report of one user that SageMaker refuses no instances in
eu-west-3 (stdapi.ai issue 43, August 2026).
"""

NO_FUNCTION_URLS = frozenset(
    {
        "ap-east-2",
        "ap-south-2",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-west-1",
        "eu-central-2",
        "eu-south-2",
        "il-central-1",
        "me-central-1",
    }
)
NO_ZERO_INSTANCES = frozenset({"eu-west-3"})
"""Regions where an endpoint was reported to need at least one instance."""


def is_commercial(region: str) -> bool:
    """Return whether a region is of the partition `aws`.

    In the others CloudFront is missing or different: China has its own one, which takes no
    certificates of ACM, and GovCloud has none.
    """
    return not region.startswith(("cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-"))
