#!/usr/bin/env bash
# Makes the local environment: a virtual environment from the lock files, and an OpenGL library to render with.
#   scripts/setup.sh PYTHON VENV
set -euo pipefail
python=$1 venv=$2
cd "$(dirname "$0")/.."

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "error: $("$python" --version 2>&1) is too old; Python 3.11 or newer is needed: make setup PYTHON=python3.11" >&2; exit 2; }
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    { echo "error: $python has no venv module; on Debian and Ubuntu: sudo apt-get install -y python3-venv" >&2; exit 2; }

scripts/install-gl.sh
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps)
echo "installing the locked packages into $venv (several hundred MB to download the first time)"
"${pip[@]}" --require-hashes -r locks/build.txt
"${pip[@]}" --require-hashes --no-build-isolation -r locks/libero.txt -r locks/dev.txt
"${pip[@]}" --no-build-isolation --editable .
rm -f "$venv"/.installed-*
