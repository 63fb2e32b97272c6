"""Regions that lack something."""

import botocore.session

from infra import regions


def test_the_regions_exist() -> None:
    """Every region of the lists is one that botocore knows, so none is misspelled."""
    session = botocore.session.get_session()
    known = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(
            "lambda", partition_name=partition, allow_non_regional=True
        )
    }
    assert known >= regions.NO_FUNCTION_URLS
    assert known >= regions.NO_ZERO_INSTANCES


def test_partitions_are_told_apart() -> None:
    """A region is commercial exactly if botocore has it in the partition `aws`."""
    session = botocore.session.get_session()
    for partition in session.get_available_partitions():
        for region in session.get_available_regions("lambda", partition_name=partition):
            assert regions.is_commercial(region) == (partition == "aws"), region
