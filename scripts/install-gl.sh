#!/usr/bin/env bash
# Makes sure that MuJoCo finds an OpenGL library: EGL for GPUs, OSMesa for software. Does nothing where both load.
set -euo pipefail
packages="libosmesa6 libegl1 libegl-mesa0 libgl1-mesa-dri"

loads() { # SONAME
    python3 -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null
}
loads libOSMesa.so.8 && loads libEGL.so.1 && exit 0

as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
    echo "installing OpenGL libraries: $packages"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null
    exit 0
fi

line="sudo apt-get install -y $packages"
if loads libOSMesa.so.8 || loads libEGL.so.1; then
    echo "note: only one of EGL and OSMesa is installed; to have both: $line" >&2
    exit 0
fi
echo "error: no OpenGL library to render with, and no right to install one; please run: $line" >&2
exit 4
