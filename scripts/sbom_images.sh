#!/usr/bin/env bash
# Writes dist/sbom-IMAGE.json for each image of the stack that is built (make build): what is really in it.
set -euo pipefail
cd "$(dirname "$0")/.."
docker info >/dev/null 2>&1 || { echo "error: no Docker engine answers; make sbom needs none" >&2; exit 2; }
mkdir -p dist
written=0
for name in server runtime headless ray; do
    image=pirig/$name:${PIRIG_TAG:-dev}
    docker image inspect "$image" >/dev/null 2>&1 || { echo "$image is not built: make build" >&2; continue; }
    docker run --rm --interactive --network none --read-only --entrypoint python "$image" - \
        <scripts/sbom.py >"dist/sbom-$name.json"
    echo "dist/sbom-$name.json"
    written=$((written + 1))
done
[ "$written" -gt 0 ]
