#!/usr/bin/env bash
# Builds the model's image and tests it with docker or podman: `make test-container`. Without either it fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=${BIN:-.venv/bin}

if [ -z "${CONTAINERS_CONF:-}" ] && [ ! -e /etc/containers/containers.conf ] && [ "$(id -u)" = 0 ]; then
    export CONTAINERS_CONF=$PWD/tests/container/containers.conf
fi
engine=$("$bin/python" -c '
import sys
from local.sagemaker.engine import EngineError, find
try:
    print(find())
except EngineError as error:
    sys.exit(f"test-container: {error}")
')
if [ -z "${SLUICE_BASE_IMAGE:-}" ]; then
    base=$(sed -n 's/^ARG BASE_IMAGE=//p' model/Dockerfile)
    if ! "$engine" image inspect "$base" > /dev/null 2>&1 && ! timeout 300 "$engine" pull --quiet "$base" > /dev/null 2>&1; then
        echo "test-container: $base cannot be pulled here; a base image is made of Debian's packages"
        SLUICE_BASE_IMAGE=$(tests/container/base-image.sh "$engine")
        export SLUICE_BASE_IMAGE
    fi
fi
SLUICE_CONTAINER_ENGINE=$engine exec "$bin/pytest" -m container "$@"
