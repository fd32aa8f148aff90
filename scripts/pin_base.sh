#!/usr/bin/env bash
# Pins the base image by its digest: BASE_IMAGE=NAME:TAG@sha256:… in .env, which compose reads. Needs the registry.
set -euo pipefail
cd "$(dirname "$0")/.."
default=$(sed -n 's/^ARG BASE_IMAGE=//p' docker/Dockerfile | head -n 1)
image=${BASE_IMAGE:-$default}
image=${image%@*}
found=$(docker buildx imagetools inspect "$image") || {
    echo "error: no registry has $image, or none can be reached; nothing was changed" >&2
    exit 4
}
digest=$(sed -n 's/^Digest: *\(sha256:[0-9a-f]*\)$/\1/p' <<<"$found" | head -n 1)
[ -n "$digest" ] || { echo "error: the registry says no digest of $image: $found" >&2; exit 4; }
sed -i '/^BASE_IMAGE=/d' .env
echo "BASE_IMAGE=$image@$digest" >>.env
echo "$image is $digest; written to .env"
