#!/bin/sh
# A Ray cluster of containers: one head, which evaluates and computes nothing else, and any number of nodes.
#   ray.sh head FLAGS...      FLAGS are those of pirig eval
#   ray.sh node HEAD:PORT
# RAY_CPUS, RAY_GPUS: what a node offers; default: all that it sees.
set -eu
mkdir -p "$PIRIG_CACHE"
cp -r --preserve=timestamps /opt/cache/. "$PIRIG_CACHE/" # its compiled code; the root file system is read-only
role=$1
shift
case $role in
    head)
        ray start --head --port=6379 --num-cpus=0 --num-gpus=0 --object-store-memory=200000000 --disable-usage-stats
        exec pirig eval --executor ray --ray-address auto "$@"
        ;;
    node)
        exec ray start --address="$1" --object-store-memory=200000000 --disable-usage-stats --block \
            ${RAY_CPUS:+--num-cpus="$RAY_CPUS"} ${RAY_GPUS:+--num-gpus="$RAY_GPUS"}
        ;;
    *) echo "ray.sh: expected head or node; found '$role'" >&2; exit 2 ;;
esac
