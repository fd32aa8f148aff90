#!/usr/bin/env bash
# Makes sure that MuJoCo finds an OpenGL library: EGL (GPU or software) or OSMesa (software). Does nothing where both load.
#   scripts/install-gl.sh [PYTHON]
set -euo pipefail
python=${1:-python3}
line="sudo apt-get update && sudo apt-get install -y libosmesa6 libegl1 libegl-mesa0 libgl1-mesa-dri"

missing() { # those of OSMesa and EGL that do not load, looked for as pirig.sim.drawing.gl does
    "$python" -c '
import ctypes, ctypes.util
for name in ("OSMesa", "EGL"):
    try:
        ctypes.CDLL(ctypes.util.find_library(name) or f"lib{name}: not found")
    except OSError:
        print(name)'
}

as_root=()
may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" != 0 ] || return 0
    as_root=(sudo -n)
    sudo -n true 2>/dev/null
}

install() { # PACKAGE...
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

lacking=$(missing)
[ -n "$lacking" ] || exit 0
if may_install; then
    echo "installing OpenGL libraries, for want of:" "${lacking//$'\n'/ }"
    "${as_root[@]}" apt-get update -qq || true # old lists may do
    # apart, because a distribution may have dropped OSMesa
    install libegl1 libegl-mesa0 libgl1-mesa-dri || true
    install libosmesa6 || true
    lacking=$(missing)
fi
case "$(wc -w <<<"$lacking")" in
    0) ;;
    1) echo "warning: no lib$lacking; the other back end will do. To have both: $line" >&2 ;;
    *) echo "error: no OpenGL library to render with; please run: $line" >&2; exit 4 ;;
esac
