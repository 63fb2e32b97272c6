"""The CDK app that `cdk` runs."""

import os
from pathlib import Path

from infra.settings.context import check_early

check_early(
    os.environ, Path(__file__).parent
)  # CDK takes many seconds to load, a wrong setting is told before

from infra.compose import main  # noqa: E402

main()
