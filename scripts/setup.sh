#!/usr/bin/env bash
# Makes the local environment: a virtual environment from the lock files, and an OpenGL library to render with.
#   scripts/setup.sh PYTHON VENV [models|ray]
# `models` adds JAX and PyTorch to an environment that is there, `ray` adds Ray.
set -euo pipefail
python=$1 venv=$2 more=${3:-}
cd "$(dirname "$0")/.."

fail() { echo "error: $*" >&2; exit 2; }

command -v "$python" >/dev/null || fail "there is no $python; name a Python 3.11 or 3.12: make setup PYTHON=python3.12"
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' ||
    fail "$("$python" --version 2>&1) is not 3.11 or 3.12, which mujoco 3.2.3 is built for: make setup PYTHON=python3.12"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv module; on Debian and Ubuntu: sudo apt-get install -y python3-venv"

pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps)

if [ "$more" = ray ]; then
    echo "installing Ray into $venv (80 MB to download, 260 MB on disk)"
    exec "${pip[@]}" --require-hashes -r locks/ray.txt
fi
if [ "$more" ]; then
    echo "installing JAX and PyTorch into $venv (350 MB to download with a CPU build of PyTorch, 3 GB with a CUDA build)"
    "${pip[@]}" --require-hashes -r locks/checkpoints.txt -r locks/jax.txt -r locks/torch.txt
    # Not from a lock file: which build this is depends on the machine and on where its pip looks; with its packages.
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet torch==2.13.0
    exit
fi

scripts/install-gl.sh "$python"
"$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv" # mends a half-made one too
echo "installing the locked packages into $venv (670 MB to download the first time, 2 GB on disk)"
"${pip[@]}" --require-hashes -r locks/build.txt
"${pip[@]}" --require-hashes --no-build-isolation -r locks/libero.txt -r locks/stack.txt -r locks/trackers.txt \
    -r locks/dev.txt
"${pip[@]}" --no-build-isolation --editable .
rm -f "$venv"/.installed-* "$venv"/.models-* "$venv"/.ray-*
