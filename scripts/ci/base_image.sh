#!/usr/bin/env bash
# Makes a stand-in for the CUDA base image where no registry can be reached: a minimal Debian, as TAG.
#   scripts/ci/base_image.sh TAG
set -euo pipefail
tag=${1:?the image to make}
if docker image inspect "$tag" >/dev/null 2>&1; then exit 0; fi
if ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends debootstrap >/dev/null
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016 # apt's own variable
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
debootstrap --variant=minbase --include=ca-certificates bookworm "$work/system" "$mirror" >"$work/log" 2>&1 ||
    { tail -n 40 "$work/log" >&2; exit 1; }
rm -rf "$work"/system/var/cache/apt/archives/*.deb "$work"/system/var/lib/apt/lists/* "$work"/system/var/log/*
tar -C "$work/system" --numeric-owner -c . | docker import --change 'CMD ["bash"]' - "$tag" >/dev/null
echo "base image: $tag" >&2
