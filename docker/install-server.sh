#!/bin/sh
# Installs what a policy server needs, from the lock files.
#   install-server.sh cuda|cpu
set -eu
install="pip install --no-deps --require-hashes -r /locks/server.txt -r /locks/checkpoints.txt"
case "$1" in
    cuda) $install -r /locks/cuda.txt ;;
    cpu)
        $install -r /locks/jax.txt -r /locks/torch.txt
        pip install --no-deps torch==2.13.0 # the CPU build, where pip's settings lead to one
        ;;
    *) echo "ACCELERATOR=$1: expected cuda or cpu" >&2; exit 2 ;;
esac
python /docker/slim.py server
