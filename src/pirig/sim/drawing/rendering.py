"""Render images of a scene that are equal to MuJoCo's.

On a GPU MuJoCo draws them itself. The time of a software renderer depends on the number of triangles, so there
`sim.drawing` draws only the triangles that can be visible. The scene is kept in mjvScene, and the pixels come from
mjr_readPixels, as in robosuite.

Equality depends on how Mesa's llvmpipe rounds and groups triangles. So each camera's first image is drawn by both; if
they differ, under a version of Mesa that has not been tested, MuJoCo draws from then on. One in 200 later images is
drawn by both too; if it ever differs, the episode ends in an error and is run again.
"""

import logging
from typing import Any

import mujoco as _mujoco
import numpy as np

from pirig.errors import PirigError
from pirig.sim.drawing.opengl import GL
from pirig.sim.drawing.passes import SoftwareDrawing

mujoco: Any = _mujoco  # a compiled module, whose functions type checkers cannot see
_log = logging.getLogger(__name__)

_SOFTWARE = "llvmpipe"
_AUDIT_EVERY = 200  # images; costs 2 to 3 % of the drawing time


class Renderer:
    """A `Renderer` draws one built simulation (robosuite's MjSim), whose render context it shares."""

    def __init__(self, sim: Any, size: int):
        self._model, self._data, self._context = sim.model._model, sim.data._data, sim._render_context_offscreen
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        self._name = (GL.glGetString(GL.GL_RENDERER) or b"").decode()
        software = self._name.startswith(_SOFTWARE)
        self._drawing = SoftwareDrawing(self._model, self._context, size) if software else None
        self._compared: set[str] = set()
        self._drawn = 0

    def image(self, camera: str) -> np.ndarray:
        """Return an image, uint8[H, W, 3], lowest row first.

        The next call overwrites it.
        """
        context = self._context
        context.cam.type = mujoco.mjtCamera.mjCAMERA_FIXED
        context.cam.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            self._data,
            context.vopt,
            context.pert,
            context.cam,
            mujoco.mjtCatBit.mjCAT_ALL,
            context.scn,
        )
        if self._drawing is None or not self._drawing.draw():
            mujoco.mjr_render(self._viewport, context.scn, context.con)
        self._read()
        self._drawn += 1
        if self._drawing is not None and (camera not in self._compared or self._drawn % _AUDIT_EVERY == 0):
            self._compare(camera)
        return self._pixels

    def close(self) -> None:
        if self._drawing is not None:
            self._drawing.close()
        self._drawing = None

    def _read(self) -> None:
        mujoco.mjr_readPixels(self._pixels, None, self._viewport, self._context.con)

    def _compare(self, camera: str) -> None:
        ours = self._pixels.copy()
        mujoco.mjr_render(self._viewport, self._context.scn, self._context.con)
        self._read()
        is_first = camera not in self._compared
        self._compared.add(camera)
        if different := int((ours != self._pixels).any(axis=2).sum()):
            _log.warning("%s: %d pixels are not MuJoCo's under %s; MuJoCo draws", camera, different, self._name)
            self.close()
            if not is_first:
                raise PirigError(
                    f"{different} pixels of {camera} are not MuJoCo's under {self._name}, in image {self._drawn}; "
                    "earlier images of this process may differ too: use --simulator reference, and report this"
                )
