#!/usr/bin/env bash
# Builds the wheel, compares its files with the tracked ones, and installs it with each extra alone in a clean environment.
#   scripts/ci/wheel.sh [EXTRA...]    base, libero, checkpoints, stack, trackers, jax, torch, ray, trackio, wandb, dev
# Default: base and libero; CI does base. `jax` and `torch` take minutes and up to 3 GB.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} root=$PWD
[ $# -gt 0 ] || set -- base libero
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1
fail() { echo "error: $*" >&2; exit 1; }

# From a copy of the tracked files: build/ and *.egg-info of earlier builds would get into the wheel.
mkdir "$folder/source" "$folder/work"
git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$folder/source"
"$python" -m venv "$folder/build"
"$folder/build/bin/pip" install --require-hashes --no-deps -r locks/build.txt
"$folder/build/bin/pip" wheel --no-deps --no-build-isolation --wheel-dir "$folder" "$folder/source"
wheel=$(echo "$folder"/pirig-*.whl)

(cd "$folder/source/src" && find pirig -type f | LC_ALL=C sort) >"$folder/tracked"
"$python" -m zipfile --list "$wheel" | awk '$1 ~ /^pirig\// {print $1}' | LC_ALL=C sort >"$folder/packed"
diff "$folder/tracked" "$folder/packed" || fail "the wheel (>) has not the tracked files (<) of src/pirig"
"$python" -m zipfile --list "$wheel" | grep -q 'dist-info/licenses/THIRD_PARTY_NOTICES.md' || fail "the wheel has no notices"
echo "$(basename "$wheel"): $(wc -l <"$folder/packed") files, as tracked"

cd "$folder/work" # so that no import finds the checkout
for extra; do
    start=$SECONDS
    environment=$folder/$extra
    "$python" -m venv "$environment"
    pip=("$environment/bin/pip" install) pirig=$environment/bin/pirig
    case $extra in
        base) "${pip[@]}" "$wheel" ;;
        libero) # a resolver refuses what LIBERO's packages declare: exact versions, which the wheel has a list of
            "${pip[@]}" --require-hashes --no-deps -r "$root/locks/build.txt"
            "${pip[@]}" --require-hashes --no-deps --no-build-isolation -r "$root/locks/libero.txt"
            "${pip[@]}" --no-deps "$wheel" ;;
        torch) "${pip[@]}" torch==2.13.0; "${pip[@]}" "${wheel}[torch]" ;; # first: pip.conf decides which build
        *) "${pip[@]}" "${wheel}[$extra]" ;;
    esac
    "$pirig" --version >/dev/null
    "$pirig" --help >/dev/null
    case $extra in
        base)
            "$pirig" power --baseline 97 >/dev/null
            "$pirig" completion bash >/dev/null
            "$pirig" eval --policy scripted 2>refused && fail "pirig eval runs without LIBERO"
            grep -q "is not installed; get it with" refused || fail "$(cat refused)" ;;
        libero)
            "$pirig" eval --policy zero --suite libero_object --task-ids 0 --num-trials-per-task 1 --video none --workers 0 \
                2>log || fail "$(cat log)"
            "$pirig" report >/dev/null ;;
        checkpoints)
            "$pirig" checkpoint random pi05_libero_tiny ckpt >/dev/null 2>&1
            "$pirig" checkpoint inspect ckpt ;;
        jax) "$environment/bin/python" -c 'import pirig.policies.backend_jax, pirig.models.pi0_jax' ;;
        torch) "$environment/bin/python" -c 'import pirig.policies.backend_torch, pirig.models.pi0_torch' ;;
        stack) "$environment/bin/python" -c 'import pirig.stack.containers' ;;
        ray) "$environment/bin/python" -c 'import pirig.launch.ray_cluster, pirig.evaluation.ray_executor, ray' ;;
        trackers) "$environment/bin/python" -c 'from pirig.cli import tracking; tracking.check("tensorboard")' ;;
        trackio | wandb) "$environment/bin/python" -c "from pirig.cli import tracking; tracking.check('$extra')" ;;
        dev) "$environment/bin/pytest" --version >/dev/null; "$environment/bin/ruff" --version >/dev/null ;;
        *) fail "there is no extra $extra" ;;
    esac
    rm -rf "$environment"
    echo "$extra: installed alone, and works ($((SECONDS - start)) s)"
done
