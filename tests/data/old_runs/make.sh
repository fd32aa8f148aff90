#!/usr/bin/env bash
# Makes the runs of this folder anew in FOLDER, which must not exist yet:
#
#     CHECKOUT=/usr/src/pirig-0.1.0 PYTHON=.venv/bin/python make.sh FOLDER
#
# Give CHECKOUT a path without the name of a user, for example that of a symbolic link: the traceback in the run
# `errors` contains it. The script needs LIBERO, PyTorch and OSMesa, and no network. It takes five minutes on two cores.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
CHECKOUT=${CHECKOUT:-$(cd "$here/../../.." && pwd)}
PYTHON=$(realpath -s "${PYTHON:-$CHECKOUT/.venv/bin/python}")
PORT=${PORT:-8765} # of the server for the run `errors`

mkdir "$1"
cd "$1"
export PYTHONPATH=$CHECKOUT/src:$CHECKOUT/tests
# What pirig reads from the environment is recorded in each manifest.
export MUJOCO_GL=osmesa PIRIG_OFFLINE=1 OPENPI_DATA_HOME=home OMP_NUM_THREADS=1
# States depend on OpenBLAS's kernels. Those for Haswell run on every x86-64 processor with AVX2, and the tests use them.
export OPENBLAS_CORETYPE=Haswell
unset PIRIG_CACHE PIRIG_REVISION PIRIG_IMAGE PIRIG_LIBERO_ASSETS CUDA_VISIBLE_DEVICES

pirig() { "$PYTHON" -m pirig.cli.main "$@"; }

object() { # FLAGS...: episodes of the scripted policy
    pirig eval --policy scripted --suite libero_object --video none --workers 1 "$@"
}

expect() { # CODE COMMAND...
    local code=0
    "${@:2}" || code=$?
    [ "$code" = "$1" ] || {
        echo "expected exit code $1, found $code: ${*:2}" >&2
        exit 1
    }
}

# The checkpoint's weights are those of the golden values. The tokenizer is a stand-in.
"$PYTHON" -c 'import pathlib; from support import tiny; tiny.workspace(pathlib.Path(), "pi05_libero_tiny")'

# The model runs twice: quantized, and as it is.
model=(--policy pi05_libero_tiny --policy-dir ckpt --backend torch --device cpu --suite libero_spatial --task-ids 0
    --trials 0 --replan-steps 10 --video none --workers 1)
pirig eval "${model[@]}" --run quantized --quantize w4a8 --pack-dir packs
pirig eval "${model[@]}"

pirig eval --policy scripted --suite libero_goal --task-ids 8 --trials 0 --seeding openpi --run openpi-seeding \
    --video none --workers 1

# Two parts of one run are merged.
object --task-ids 0 2 --trials 0 1 --run part-1
object --task-ids 0 2 --trials 2 --run part-2
pirig merge merged part-1 part-2

# This run is decided after four of six pairs.
pirig eval --policy zero --suite libero_object --task-ids 0 2 --num-trials-per-task 3 --replan-steps 5 --video none \
    --workers 1 --run stopped --against merged --stop-when decided --level 50

# The server answers with NaN whenever it is asked about task 2.
"$PYTHON" "$here/nonsense_server.py" "$PORT" &
server=$!
expect 3 pirig eval --policy "ws://127.0.0.1:$PORT" --suite libero_object --task-ids 0 2 --trials 0 --run errors \
    --video none --workers 1
kill "$server"
wait "$server" || true

# SIGTERM interrupts this run after the first of two episodes.
"$PYTHON" -m pirig.cli.main eval --policy scripted --suite libero_object --video none --workers 1 \
    --task-ids 0 2 --trials 0 --run interrupted &
running=$!
until [ -s results/libero/runs/interrupted/episodes.jsonl ]; do
    kill -0 "$running"
    sleep 0.1
done
kill "$running"
expect 143 wait "$running"
[ "$(wc -l <results/libero/runs/interrupted/episodes.jsonl)" = 1 ]

# This run is named after its configuration.
object --task-ids 2 --trials 0

# The second command has nothing left to run. It is recorded as another session of the run.
object --task-ids 0 2 --num-trials-per-task 2 --run scripted
object --task-ids 0 2 --num-trials-per-task 2 --run scripted

# Pages are large, and `pirig report` can make them anew. The name of the kernel may tell who built it.
find results -name '*.html' -delete
sed -i -E 's/("system": "Linux-[0-9.]+)[^"]*(-x86_64-)/\1\2/' results/libero/runs/*/manifest.json
rm -r ckpt home packs
