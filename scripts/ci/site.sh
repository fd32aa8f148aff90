#!/usr/bin/env bash
# Fills DIR with what pip needs at this site, for image builds: its CA bundle, and the wheels it finds here. Nothing of it
# stays in an image.
#   scripts/ci/site.sh DIR
set -euo pipefail
dir=${1:?the directory to fill}
mkdir -p "$dir"
{
    echo '[global]'
    echo 'disable-pip-version-check = true'
    if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$dir/ca.crt"
        echo 'cert = /run/site/ca.crt'
    fi
    for place in $(python3 -m pip config get global.find-links 2>/dev/null); do
        [ -d "$place" ] || continue
        cp -u "$place"/torch-*+cpu-*.whl "$dir/" 2>/dev/null && echo 'find-links = /run/site'
    done
} >"$dir/pip.conf"
