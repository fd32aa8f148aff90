"""Find the simulator of this machine: what it renders with, and LIBERO's files."""

import logging

from pirig import envvars
from pirig.sim import assets, boot
from pirig.sim.drawing import gl

_log = logging.getLogger(__name__)


def settings(backend: str = "") -> boot.Settings:
    """Return what a worker needs to start a simulator.

    `backend`: the GL back end; default: that of MUJOCO_GL, or the best available one. Every asset file is hashed.
    Raises ConfigError and StartError as `gl.choose`, `assets.locate` and `assets.verify` do.
    """
    choice = gl.choose(backend or envvars.get("MUJOCO_GL"), envvars.get("MUJOCO_EGL_DEVICE_ID"))
    _log.info("rendering with %s (%s)", choice.backend, choice.reason)
    folder = assets.locate(envvars.get("PIRIG_LIBERO_ASSETS"))
    _log.info("LIBERO's assets in %s are as they must be (list %s)", folder, assets.verify(folder)[:12])
    return boot.Settings(choice.backend, folder, envvars.cache_dir())
