"""Plot the cost of a million tokens over utilisation: `python -m bench.cost`.

It measures nothing. The plot is docs/explanation/cost.svg.
"""

import sys
from dataclasses import replace
from pathlib import Path

from bench.adapter.plot import lines
from cli.commands.cost import Use, cost, instance_price
from infra.settings.deployment import PROD

PLOT = Path("docs/explanation/cost.svg")
_STEPS = [part / 50 for part in range(2, 51)]


def main() -> int:
    """Write the plot for an ml.g5.xlarge that generates 2,000 tokens a second."""
    use = Use(throughput=2000.0)
    series: dict[str, list[tuple[float, float]]] = {}
    for utilisation in _STEPS:
        request_cost = cost(
            architecture=PROD.architecture,
            memory_mb=PROD.memory_mb,
            parallel=PROD.parallel,
            instance_hour=instance_price("ml.g5.xlarge"),
            use=replace(use, utilisation=utilisation),
        )
        for name, usd in (
            request_cost.parts(managed=False) | request_cost.parts(managed=True)
        ).items():
            series.setdefault(name, []).append((utilisation, usd / use.completion_tokens * 1e6))
    label = "USD for a million tokens (logarithmic); ml.g5.xlarge, 2,000 tokens/s at full load"
    PLOT.write_text(lines(series, x_label="utilisation", y_label=label, log_y=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
