#!/usr/bin/env bash
# Makes the base image of the tests out of Debian's packages, for machines that cannot pull the Dockerfile's own:
#     tests/container/base-image.sh ENGINE
# prints its name. It needs mmdebstrap, and takes two minutes the first time; the engine keeps the image.
# The machine's certificates go in, since what stands between it and the package index stands before the build, too.
set -euo pipefail
engine=$1
name=localhost/sluice-base
suite=bookworm
certificates=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}

if ! "$engine" image inspect "$name" > /dev/null 2>&1; then
    command -v mmdebstrap > /dev/null || { echo "base-image: mmdebstrap is not installed" >&2; exit 1; }
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-pip,python-is-python3,ca-certificates,libgomp1 "$suite" "$folder/base.tar" >&2
    cp "$certificates" "$folder/certificates"
    # Debian keeps pip away from its own Python; nothing else uses the one in here.
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\nbreak-system-packages = true\n' > "$folder/pip.conf"
    printf '%s\n' 'FROM scratch' 'ADD base.tar /' 'COPY certificates /etc/ssl/certs/ca-certificates.crt' \
        'COPY pip.conf /etc/pip.conf' > "$folder/Dockerfile"
    "$engine" build --tag "$name" "$folder" >&2
fi
echo "$name"
