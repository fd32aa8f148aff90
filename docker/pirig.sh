#!/bin/sh
# pirig, with the compiled code that the image brings; the root file system is read-only, so it is used from a copy.
set -eu
mkdir -p "$PIRIG_CACHE"
cp -r --preserve=timestamps /opt/cache/. "$PIRIG_CACHE/"
exec pirig "$@"
