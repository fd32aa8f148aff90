"""Choose the OpenGL back end with which MuJoCo renders.

The choice must be made before mujoco is first imported. This module imports no simulator.
"""

import ctypes
import ctypes.util
import dataclasses

from pirig.errors import ConfigError, MissingResource
from pirig.machine import gpus
from pirig.text import unknown

BACKENDS = ("egl", "osmesa", "glx")
_LIBRARY = {"egl": "EGL", "osmesa": "OSMesa", "glx": "GL"}
REMEDY = "Choose another back end (MUJOCO_GL=osmesa, egl); pirig doctor tries the one that is chosen by itself."
_INSTALL = "sudo apt-get install -y libosmesa6 libegl1 libegl-mesa0 libgl1-mesa-dri"


@dataclasses.dataclass(frozen=True)
class Choice:
    backend: str  # one of BACKENDS
    reason: str  # for the log and the manifest


def choose(requested: str = "", device: str = "") -> Choice:
    """Choose the OpenGL back end.

    `requested`: value of MUJOCO_GL. `device`: value of MUJOCO_EGL_DEVICE_ID, which is only checked. Without `requested`
    the choice is egl if there is an NVIDIA GPU, otherwise osmesa, otherwise egl in software.

    Raises ConfigError for an unknown name, StartError if the library is not installed.
    """
    if device and not (device.isascii() and device.isdecimal()):
        raise ConfigError(f"MUJOCO_EGL_DEVICE_ID={device}: expected the index of a device: 0, 1, …")
    if requested:
        backend = requested.strip().lower()
        if backend not in BACKENDS:
            raise ConfigError(f"MUJOCO_GL: {unknown('back end', requested, BACKENDS)}")
        if not _loads(backend):
            raise MissingResource(
                f"MUJOCO_GL={backend}, but lib{_LIBRARY[backend]} cannot be loaded; get it with: {_INSTALL}"
            )
        if backend == "glx" and not _has_display():
            raise MissingResource(
                "MUJOCO_GL=glx cannot render: no X server answers (DISPLAY); start one, such as Xvfb, or choose "
                "another back end: MUJOCO_GL=osmesa, egl"
            )
        return Choice(backend, "MUJOCO_GL")
    if gpus.has_device_files() and _loads("egl"):
        return Choice("egl", "NVIDIA GPU")
    for backend in ("osmesa", "egl"):
        if _loads(backend):
            return Choice(backend, "no NVIDIA GPU, rendering in software")
    raise MissingResource(f"no OpenGL library to render with (neither libEGL nor libOSMesa); get them with: {_INSTALL}")


def _loads(backend: str) -> bool:
    name = ctypes.util.find_library(_LIBRARY[backend])
    if name is None:
        return False
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _has_display() -> bool:
    name = ctypes.util.find_library("X11")
    if name is None:
        return False
    x11 = ctypes.CDLL(name)
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return bool(display)
