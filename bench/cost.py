"""Plot the costs of docs/explanation/cost.md: `python -m bench.cost`.

It measures nothing. One plot is the cost of a million tokens over utilisation. The other is where
Managed Instances become cheaper than the function on demand.
"""

import sys
from dataclasses import replace
from pathlib import Path

from bench.adapter.plot import lines
from cli.commands.cost import bill
from infra.settings.deployment import PROD

PLOT = Path("docs/explanation/cost.svg")
FUNCTION_PLOT = Path("docs/explanation/cost-function.svg")
_STEPS = [part / 50 for part in range(2, 51)]
_MILLIONS = [part / 4 for part in range(1, 61)]
_THROUGHPUT = 2000.0


def main() -> int:
    """Write both plots, for one ml.g5.xlarge that generates 2,000 tokens a second."""
    settings = PROD.replace(instance_type="ml.g5.xlarge", instance_count=1)
    plan = bill.Plan.of(settings, None)
    use = bill.Use(throughput=_THROUGHPUT)
    full = _THROUGHPUT * bill.SECONDS / use.completion_tokens
    series: dict[str, list[tuple[float, float]]] = {}
    for utilisation in _STEPS:
        at = replace(use, requests=full * utilisation)
        tokens = full * utilisation * use.completion_tokens / 1e6
        parts = bill.month(plan, at) | bill.month(plan, at, managed=True)
        for name, usd in parts.items():
            if not name.startswith(("CloudWatch", "Secrets", "SageMaker, data")):
                series.setdefault(name, []).append((utilisation, usd / tokens))
    label = "USD for a million tokens (logarithmic); ml.g5.xlarge, 2,000 tokens/s at full load"
    PLOT.write_text(lines(series, x_label="utilisation", y_label=label, log_y=True))

    function: dict[str, list[tuple[float, float]]] = {}
    for millions in _MILLIONS:
        at = replace(use, requests=millions * 1e6)
        for managed in (False, True):
            for name, usd in bill.month(plan, at, managed=managed).items():
                if name.startswith("Lambda"):
                    function.setdefault(name, []).append((millions, usd))
    label = "USD a month for the function; answers of 300 tokens at 40 tokens/s, peak factor 4"
    x_label = "million requests a month"
    FUNCTION_PLOT.write_text(lines(function, x_label=x_label, y_label=label))
    return 0


if __name__ == "__main__":
    sys.exit(main())
