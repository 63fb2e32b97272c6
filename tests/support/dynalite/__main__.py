"""Run tests of the meter over dynalite in place of moto: `python -m tests.support.dynalite`.

dynalite is an implementation of DynamoDB that shares no code with moto (npm, Apache-2.0). What both
answer alike is more likely to be what AWS answers. `server.mjs` says what it lacks. Arguments are
passed on to pytest, in place of the tests below.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.network import SERVER_VARIABLE

TESTS = (
    "tests/lambda_fn/metering",
    "tests/lambda_fn/reporting",
    "tests/lambda_fn/stream_log",
    "tests/lambda_fn/sweep",
    "tests/lambda_fn/control/routers",
    "tests/lambda_fn/stream/test_admit.py",
    "tests/lambda_fn/stream/test_key_cache.py",
    "tests/lambda_fn/stream/test_reservation.py",
)
SERVER = Path(__file__).with_name("server.mjs")


def main() -> int:
    """Start the server, run pytest against it, and return pytest's exit status."""
    with subprocess.Popen(
        ["node", str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        if not url:
            print("dynalite did not start; its error is above.", file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "pytest", "-q", *(sys.argv[1:] or TESTS)]
        done = subprocess.run(command, check=False, env={**os.environ, SERVER_VARIABLE: url})
        server.communicate()  # closes its input, which ends it
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
