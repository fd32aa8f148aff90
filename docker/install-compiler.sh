#!/bin/sh
# Installs what Triton compiles the launchers of its kernels with, where there are any: on a GPU.
#   install-compiler.sh cuda|cpu
set -eu
[ "$1" = cuda ] || exit 0
apt-get update -q
apt-get install -q -y --no-install-recommends gcc libc6-dev python3-dev
rm -rf /var/log/apt /var/log/dpkg.log
