"""Runs the local cloud in the foreground: `python -m local --dir .local`."""

import argparse
import asyncio
import gc
import json
import math
import sys
from pathlib import Path

from local.cloud import EDGE_PORTS
from local.limits import TABLE
from local.sagemaker.engine import EngineError
from local.server import DEFAULT_CONTAINER, Options, StartError, run
from local.trust import host_name


def main() -> int:
    """Run until SIGTERM or SIGINT; return the exit code.

    The code is 1 after a failure, which is printed as one line on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m local", description="A local stand-in for the AWS account."
    )
    parser.add_argument(
        "--dir",
        type=Path,
        required=True,
        help="folder for cloud.json, logs and unpacked function code",
    )
    parser.add_argument(
        "--port",
        type=int,
        action="append",
        help="port of the AWS APIs, 0 for any; repeated, the first free one; without it, any",
    )
    parser.add_argument(
        "--edge-port",
        type=int,
        action="append",
        help=f"port of the first distribution, in the same way; without it, {EDGE_PORTS[0]} or a "
        "later one",
    )
    parser.add_argument(
        "--container", type=json.loads, default=DEFAULT_CONTAINER, help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--engine",
        help=(
            "docker or podman: run the images of endpoints with it; without it, endpoints are "
            "processes"
        ),
    )
    parser.add_argument(
        "--tls",
        action="store_true",
        help="distributions speak HTTPS, with a certificate in DIR/tls",
    )
    parser.add_argument(
        "--time-scale",
        type=float,
        default=1.0,
        help="how many seconds of AWS's time limits pass in one second here",
    )
    parser.add_argument(
        "--lambda-concurrency",
        type=int,
        default=1,
        help="invocations at once in one environment, as on Managed Instances",
    )
    parser.add_argument(
        "--host",
        type=_host,
        action="append",
        default=[],
        help="a name that distributions answer to, in addition to localhost",
    )
    parser.add_argument(
        "--limit",
        type=limit,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another value of a limit, such as lambda_account_concurrency=10 of a new account; "
        "docs/reference/local-cloud.md lists all",
    )
    args = parser.parse_args()
    if not 0 < args.time_scale < math.inf or args.lambda_concurrency < 1:
        parser.error("--time-scale must be over 0, and --lambda-concurrency a number from 1")
    try:
        options = Options(
            directory=args.dir.absolute(),
            ports=tuple(args.port or (0,)),
            edge_ports=tuple(args.edge_port or EDGE_PORTS),
            container=tuple(args.container),
            engine=args.engine,
            tls=args.tls,
            time_scale=args.time_scale,
            lambda_concurrency=args.lambda_concurrency,
            hosts=tuple(args.host),
            limits=dict(args.limit),
        )
        # A request leaves few cycles, and modules stay: the collector looks seldom.
        gc.set_threshold(10_000, 20, 20)
        gc.freeze()
        asyncio.run(run(options))
    except (StartError, EngineError) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"local: {error.strerror or error}{place}", file=sys.stderr)
        return 1
    return 0


def limit(text: str) -> tuple[str, float]:
    """Parse `NAME=VALUE`: a row of the table of limits, and another value for it."""
    name, _, number = text.partition("=")
    if name not in TABLE or TABLE[name].value is None:
        raise argparse.ArgumentTypeError(f"there is no limit {name} with a value")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{name} must be a number from 0")
    return name, value


def _host(text: str) -> str:
    try:
        return host_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
