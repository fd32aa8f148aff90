#!/usr/bin/env bash
# Builds the images on a CPU and runs the stack for real, as an unprivileged user, from a copy of this checkout. As root
# it makes the engine and the base image that it needs.
#   scripts/ci/stack.sh            everything but
#   scripts/ci/stack.sh build      only builds the images, and leaves the engine running
#   scripts/ci/stack.sh ray        the cluster of examples/ray
#   KEEP=1 scripts/ci/stack.sh     leaves the copy in place, and says where
set -euo pipefail
cd "$(dirname "$0")/../.."
exec </dev/null
readonly uid=1000
python=$PWD/.venv/bin/python

step() { # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    echo "-- $name"
    "$@" || { echo "-- $name: FAILED after $((SECONDS - start)) s"; return 1; }
    echo "-- $name: $((SECONDS - start)) s"
}

SECONDS=0
answered=$(docker info >/dev/null 2>&1 && echo yes || true)
step "engine" scripts/ci/engine.sh
export BASE_IMAGE=${BASE_IMAGE:-pirig-ci/base:bookworm}
step "base image" scripts/ci/base_image.sh "$BASE_IMAGE"

work=$(mktemp -d)
export COMPOSE_PROJECT_NAME=pirig-ci PIRIG_TAG=ci SITE_CONTEXT=$work/site COMPOSE_ANSI=never BUILDKIT_PROGRESS=plain
export COMPOSE_FILE=compose.yml:scripts/ci/compose.yml
copy=$work/copy

screen=
clean_up() {
    [ -z "$screen" ] || kill "$screen" 2>/dev/null || true
    (cd "$copy" && docker compose --profile '*' down --volumes --remove-orphans >/dev/null 2>&1) || true
    if [ "${KEEP:-}" ]; then echo "-- the copy is in $copy"; else rm -rf "$work"; fi
    [ "$answered" ] || [ "${1:-}" = build ] || scripts/ci/engine.sh stop
}
trap 'clean_up "${1:-}"' EXIT

scripts/ci/site.sh "$SITE_CONTEXT"
chmod 755 "$work"
mkdir "$copy"
git ls-files -z | tar --null -T - -c | tar -C "$copy" -x
"$python" -m pirig.cli.main checkpoint random pi05_libero_tiny "$copy/ckpt" >/dev/null
mkdir -p "$copy/home/big_vision"
cp tests/data/tokenizer/standin_sentencepiece.model "$copy/home/big_vision/paligemma_tokenizer.model"
chown -R "$uid:$uid" "$copy"
group=$(stat -c %g /var/run/docker.sock)

user() { (cd "$copy" && HOME=$copy setpriv --reuid "$uid" --regid "$uid" --groups "$group" "$@"); }

if [ "${1:-}" = ray ]; then
    ray=(docker compose -f compose.yml -f examples/ray/compose.yml -f examples/ray/compose.cpu.yml
        -f scripts/ci/compose.yml -f scripts/ci/compose.ray.yml --profile ray)
    # shellcheck disable=SC2329 # `step` calls it
    cluster() {
        SUITE=libero_object POLICY=scripted TRIALS=1 CLIENT_ARGS="--video none" user "${ray[@]}" up --scale ray-node=2 \
            --exit-code-from ray-head ray-head ray-node >"$work/ray.log" 2>&1 || { tail -n 60 "$work/ray.log"; return 1; }
        grep -h "episodes succeeded" "$work/ray.log" | tail -n 1
    }
    mkdir -p "$copy/results" "$copy/data" && chown "$uid:$uid" "$copy/results" "$copy/data"
    step "build" user "${ray[@]}" build ray-head ray-node >"$work/build.log" 2>&1 || { tail -n 60 "$work/build.log"; exit 1; }
    step "scripted, on a cluster of two nodes" cluster
    "$python" -m pirig.cli.main eval --suite libero_object --policy scripted --num-trials-per-task 1 --video none \
        --results "$work/here" >"$work/here.log" 2>&1 || { tail -n 40 "$work/here.log"; exit 1; }
    cmp "$copy/results/libero/libero_object_results.csv" "$work/here/libero_object_results.csv"
    (cd "$copy" && "${ray[@]}" down --remove-orphans >/dev/null 2>&1)
    echo "-- the cluster: the same CSV as without it, $SECONDS s"
    exit
fi

step "build" user make build >"$work/build.log" 2>&1 || { tail -n 60 "$work/build.log"; exit 1; }
tail -n 1 "$work/build.log"
[ "${1:-}" != build ] || exit 0
step "what the images are" "$python" scripts/ci/check_images.py
step "what compose makes of the files" user "$python" scripts/ci/check_compose.py

evaluate() { # NAME MODE WORDS...: keeps the CSV as NAME.csv
    local name=$1 mode=$2
    shift 2
    user make --no-print-directory eval MODE="$mode" "$@" >"$work/$name.log" 2>&1 || { tail -n 40 "$work/$name.log"; return 1; }
    grep -h "episodes succeeded" "$work/$name.log" | tail -n 1
    cp "$copy"/results/libero/*_results.csv "$work/$name.csv"
}

same() { cmp "$work/$1.csv" "$work/$2.csv" && echo "$1 and $2: the same CSV, $(wc -l <"$work/$1.csv") lines"; }

scripted=(SUITE=libero_object POLICY=scripted TRIALS=1)
step "scripted, two containers" evaluate split split "${scripted[@]}"
step "scripted, one container" evaluate headless headless "${scripted[@]}" ARGS="--video none"
same split headless
if [ -e "${LOCAL_CSV:-}" ]; then # of MODE=local, where the caller has it
    cp "$LOCAL_CSV" "$work/local.csv"
    same split local
fi

export OPENPI_DATA_HOME=$copy/home PIRIG_OFFLINE=1
tiny=(SUITE=libero_spatial POLICY=pi05_libero_tiny TRIALS=1 CKPT=./ckpt "ARGS=--task-ids 0 1 --video none")
rm -rf "$copy/results/libero"
step "tiny π0.5, two containers" evaluate tiny-split split "${tiny[@]}"
step "tiny π0.5, one container" evaluate tiny-headless headless "${tiny[@]}"
same tiny-split tiny-headless
"$python" scripts/ci/check_runs.py "$copy/results/libero/runs"

rm -rf "$copy/results/libero"
export OPENPI_DUQUANT_CALIB_STEPS=4
tiny+=(QUANTIZE=w4a8)
step "W4A8, two containers" evaluate quantized-split split "${tiny[@]}"
step "W4A8, one container" evaluate quantized-headless headless "${tiny[@]}"
same quantized-split quantized-headless
"$python" scripts/ci/check_runs.py "$copy/results/libero/runs" w4a8
made=$(grep -lE "there is no pack .* yet: it is made now" "$work"/quantized-*.log)
[ "$made" = "$work/quantized-split.log" ] || { echo "a pack was made in: ${made:-no container}"; exit 1; }
unset OPENPI_DUQUANT_CALIB_STEPS

rm -rf "$copy/results/libero"
on_a_screen() { # MUJOCO_GL=glx, with a real X server
    command -v Xvfb >/dev/null || apt-get install -y -qq --no-install-recommends xvfb >/dev/null
    Xvfb -displayfd 3 -screen 0 640x480x24 -nolisten tcp 3>"$work/display" >"$work/xvfb.log" 2>&1 &
    screen=$!
    for _ in $(seq 100); do [ -s "$work/display" ] || sleep 0.1; done
    DISPLAY=:$(cat "$work/display") COMPOSE_FILE=$COMPOSE_FILE:compose.x11.yml \
        evaluate glx split SUITE=libero_object POLICY=random TRIALS=1 "ARGS=--task-ids 0 --video none --run glx" || return 1
    grep '"gl_renderer"' "$copy/results/libero/runs/glx/manifest.json"
    kill "$screen"
}
step "on an X server" on_a_screen

rm -rf "$copy/results/libero"
as_user=(setpriv --reuid "$uid" --regid "$uid" --groups "$group")
fan_out() { (cd "$copy" && HOME=$copy "$python" scripts/ci/check_fanout.py "${python%/*}/pirig" "$work/split.csv" "${as_user[@]}"); }
step "the fan-out" fan_out

rm -rf "$copy/results/libero"
step "faults" user "$python" scripts/ci/check_faults.py
strangers=$(find "$copy" -not -user "$uid" | head -n 3)
[ -z "$strangers" ] || { echo "not the caller's: $strangers"; exit 1; }
echo "-- the stack: all passed, $SECONDS s"
