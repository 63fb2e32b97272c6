"""Patch moto to answer GetMetricData for percentiles, which dashboards ask for."""

import re
from typing import Any

from moto.cloudwatch.models import Statistics

from local.moto.alarms.evaluate import percentile

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")
_plain = Statistics.get_statistics_for_type


def install() -> None:
    """Replace moto's function."""
    Statistics.get_statistics_for_type = _statistic


def _statistic(self: Any, stat: str) -> Any:
    """Return a statistic of the values. Those that were put as a set have no percentiles."""
    named = _PERCENTILE.fullmatch(stat)
    if named is None:
        return _plain(self, stat)
    values = [float(it) for it in self.metric_single_values_list]
    return percentile(values, float(named[1])) if values else None
