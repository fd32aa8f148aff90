"""Draw MuJoCo's scene in software, pixel for pixel as mjr_render does, and skip what is not visible.

mjr_render (render_gl3.c of MuJoCo 3.2.3) is called with an empty scene, which clears the buffers and sets lights,
camera and all other state. The geoms are then drawn here, in its order and with its calls, with three differences:

    meshes        only the triangles that may colour a sample are drawn (`sim.drawing.triangles`), in their order
    the mirror    only what may be visible in the one reflecting face is drawn
    invisible     geoms with zero opacity, which blend to nothing, are left out

Law: Pixels are equal. What LIBERO has no example of (shadows, skins, several translucent geoms) is left to mjr_render.
"""

import ctypes
from typing import Any

import mujoco as _mujoco
import numpy as np

from pirig.sim.drawing.geoms import BOX, DRAWN, GEOM, MESH, PLANE, POSITION, Frame, Painter, Sight
from pirig.sim.drawing.opengl import GL, Functions

mujoco: Any = _mujoco  # a compiled module, whose functions type checkers cannot see

_REFLECTION, _SKYBOX = int(mujoco.mjtRndFlag.mjRND_REFLECTION), int(mujoco.mjtRndFlag.mjRND_SKYBOX)
_SKYBOX_KIND = int(mujoco.mjtTexture.mjTEXTURE_SKYBOX)
_EVERYWHERE = np.array([0.0, 0.0, 0.0, 1.0])


class SoftwareDrawing:
    """A `SoftwareDrawing` draws scenes of one model into one render context, which must be current."""

    def __init__(self, model: Any, context: Any, size: int):
        """Prepare to draw scenes of `model`.

        `context`: robosuite's MjRenderContext; `size`: width and height of images [pixels].
        """
        self._gl, self._context, self._size = Functions(), context, size
        self._viewport = mujoco.MjrRect(0, 0, size, size)
        self._painter = Painter(model, context.con, self._gl, size)
        self._geoms = _buffer(context.scn)
        kinds = np.array(context.con.textureType)[: context.con.ntexture]
        self._sky = next((int(i) for i in np.flatnonzero(kinds == _SKYBOX_KIND)), None)

    def draw(self) -> bool:
        """Draw the context's updated scene, and return True.

        If the scene contains something that is not drawn here, do nothing and return False.
        """
        scene, gl = self._context.scn, self._gl
        geoms = self._geoms[: scene.ngeom].copy()
        head = np.zeros(3)
        mujoco.mjv_cameraInModel(head, np.zeros(3), np.zeros(3), scene)
        head = head.astype(np.float32)
        translucent = geoms["rgba"][:, 3].astype(np.float64) < 0.995
        translucent |= (geoms["type"] == PLANE) & _behind(geoms, head)
        seen = np.flatnonzero(translucent & (geoms["rgba"][:, 3] > 0))
        if not _draws(scene, geoms) or len(seen) > 1 or (geoms["type"][seen] == PLANE).any():
            return False
        reflects = np.isin(geoms["type"], (PLANE, BOX)) & ~translucent & (geoms["reflectance"] > 0)
        mirror = int(np.argmax(reflects)) if reflects.any() else None  # the first one; MuJoCo allows no more
        self._prepare(scene)
        frame = self._frame(geoms, scene)
        opaque = np.flatnonzero(~translucent)
        if mirror is not None and scene.flags[_REFLECTION]:
            self._draw_mirror_image(frame, mirror, head, opaque[opaque != mirror], seen)
        self._place_lights(True)
        whole = Sight(frame.to_clip, 1.0, np.array([0.0, 0.0, self._size, self._size]), _EVERYWHERE)
        if mirror is not None:
            gl.glEnable(GL.GL_BLEND)
            gl.glBlendFunc(GL.GL_ONE, GL.GL_ONE)
            self._painter.draw(frame, np.array([mirror]), geoms["rgba"].copy(), whole)
            gl.glDisable(GL.GL_BLEND)
        self._painter.draw(frame, opaque[opaque != mirror], geoms["rgba"].copy(), whole)
        self._switch_lights(False)
        if self._sky is not None and scene.flags[_SKYBOX]:
            self._draw_sky(head, scene.camera[0].frustum_far)
        self._switch_lights(True)
        self._draw_translucent(frame, seen, geoms["rgba"].copy(), whole)
        self._switch_lights(False)
        return True

    def close(self) -> None:
        self._painter.close()

    def _prepare(self, scene: Any) -> None:
        """Do everything that mjr_render does before and around the geoms."""
        number, sky = scene.ngeom, scene.flags[_SKYBOX]
        scene.ngeom, scene.flags[_SKYBOX] = 0, 0
        mujoco.mjr_render(self._viewport, scene, self._context.con)
        scene.ngeom, scene.flags[_SKYBOX] = number, sky

    def _frame(self, geoms: np.ndarray, scene: Any) -> Frame:
        count = len(geoms)
        rotation = geoms["mat"].reshape(-1, 3, 3)
        frames = np.zeros((count, 4, 4))
        frames[:, :3, :3], frames[:, :3, 3], frames[:, 3, 3] = rotation, geoms["pos"], 1
        matrices = np.zeros((count, 4, 4), np.float32)
        matrices[:, :3, :3], matrices[:, 3, 3] = rotation.transpose(0, 2, 1), 1
        specular = np.ones((count, 4), np.float32)
        specular[:, :3] = geoms["specular"][:, None]
        view, projection = np.zeros((2, 4, 4), np.float32)
        self._gl.glGetFloatv(GL.GL_MODELVIEW_MATRIX, view.ctypes.data)
        self._gl.glGetFloatv(GL.GL_PROJECTION_MATRIX, projection.ctypes.data)
        to_clip = projection.T.astype(np.float64) @ view.T.astype(np.float64)
        shine = geoms["shininess"] * np.float32(128)
        return Frame(geoms, matrices, frames, shine, specular, to_clip, float(scene.camera[0].frustum_near))

    def _draw_mirror_image(
        self, frame: Frame, mirror: int, head: np.ndarray, opaque: np.ndarray, translucent: np.ndarray
    ) -> None:
        """Draw the mirror's face into the stencil buffer, and then, within that face, the scene that it reflects."""
        gl, face = self._gl, frame.geoms[[mirror]].copy()
        normal, size = face["mat"][0, 2::3], face["size"][0]
        if face["type"][0] == BOX:
            face["pos"][0] += size[2] * normal
        if _behind(face, head)[0]:
            return
        position = face["pos"][0]
        distance = position[0] * normal[0] + position[1] * normal[1] + position[2] * normal[2]
        gl.glDisable(GL.GL_DEPTH_TEST)
        gl.glColorMask(0, 0, 0, 0)
        gl.glEnable(GL.GL_STENCIL_TEST)
        gl.glClear(GL.GL_STENCIL_BUFFER_BIT)
        gl.glStencilFunc(GL.GL_ALWAYS, 1, 0xFF)
        gl.glStencilOp(GL.GL_REPLACE, GL.GL_REPLACE, GL.GL_REPLACE)
        gl.glPushMatrix()
        gl.glTranslatef(*position.tolist())
        gl.glMultMatrixf(frame.matrices.ctypes.data + 64 * mirror)
        self._painter.plane(int(face["dataid"][0]), size.tolist())
        gl.glPopMatrix()
        gl.glEnable(GL.GL_DEPTH_TEST)
        gl.glColorMask(1, 1, 1, 1)
        gl.glStencilFunc(GL.GL_EQUAL, 1, 0xFF)
        gl.glStencilOp(GL.GL_KEEP, GL.GL_KEEP, GL.GL_KEEP)
        gl.glEnable(GL.GL_CLIP_PLANE0)
        clip = np.array([*-normal, distance], np.float64)
        gl.glClipPlane(GL.GL_CLIP_PLANE0, clip.ctypes.data)
        gl.glFrontFace(GL.GL_CW)
        gl.glPushMatrix()
        reflection = _reflection(position, normal)
        gl.glMultMatrixf(reflection.ctypes.data)
        self._place_lights(True)
        colours = frame.geoms["rgba"].copy()
        colours[:, :3] *= face["reflectance"][0]
        sight = Sight(
            frame.to_clip @ reflection.T.astype(np.float64),
            -1.0,
            self._window(frame, mirror, face),
            np.array([*normal, -distance], np.float64),
        )
        self._painter.draw(frame, opaque, colours, sight)
        self._draw_translucent(frame, translucent, colours, sight)
        self._switch_lights(False)
        gl.glDisable(GL.GL_STENCIL_TEST)
        gl.glDisable(GL.GL_CLIP_PLANE0)
        gl.glPopMatrix()
        gl.glFrontFace(GL.GL_CCW)

    def _window(self, frame: Frame, mirror: int, face: np.ndarray) -> np.ndarray:
        """Return a rectangle of the image that contains the mirror's face, float64[4] [pixels]."""
        x, y, _ = face["size"][0]
        if face["type"][0] == PLANE:
            return np.array([0.0, 0.0, self._size, self._size])
        rotation = frame.frames[mirror, :3, :3]
        corners = face["pos"][0] + np.array([[x, y, 0], [x, -y, 0], [-x, y, 0], [-x, -y, 0]]) @ rotation.T
        clip = np.column_stack((corners, np.ones(4))) @ frame.to_clip.T
        if (clip[:, 3] < 1.01 * frame.near).any():
            return np.array([0.0, 0.0, self._size, self._size])
        pixels = (clip[:, :2] / clip[:, 3:] + 1) * self._size / 2
        return np.concatenate((np.maximum(pixels.min(axis=0) - 1, 0), np.minimum(pixels.max(axis=0) + 1, self._size)))

    def _draw_sky(self, head: np.ndarray, far: float) -> None:
        gl = self._gl
        gl.glDisable(GL.GL_LIGHTING)
        gl.glDisable(GL.GL_COLOR_MATERIAL)
        gl.glCullFace(GL.GL_FRONT)
        gl.glPushMatrix()
        gl.glTranslatef(*head.tolist())
        distance = float(np.float32(far) * np.float32(0.70))
        gl.glScalef(distance, distance, distance)
        assert self._sky is not None
        self._painter.sky(self._sky)
        gl.glPopMatrix()
        gl.glEnable(GL.GL_LIGHTING)
        gl.glEnable(GL.GL_COLOR_MATERIAL)
        gl.glCullFace(GL.GL_BACK)

    def _draw_translucent(self, frame: Frame, which: np.ndarray, colours: np.ndarray, sight: Sight) -> None:
        """Draw translucent geoms twice, as MuJoCo does: front to back and back to front.

        There is at most one such geom, so the order does not matter.
        """
        gl = self._gl
        gl.glDepthMask(0)
        gl.glEnable(GL.GL_BLEND)
        gl.glBlendFunc(GL.GL_SRC_ALPHA, GL.GL_ONE_MINUS_SRC_ALPHA)
        for _ in range(2):
            self._painter.draw(frame, which, colours, sight)
        gl.glDepthMask(1)
        gl.glDisable(GL.GL_BLEND)

    def _place_lights(self, on: bool) -> None:
        """Set the lights' positions under the current transformation, and switch the lights on or off."""
        scene = self._context.scn
        for i, light in enumerate(scene.lights[: scene.nlight]):
            if light.directional:
                position = np.array([*-light.dir, 0], np.float32)
            else:
                direction = np.array([*light.dir, 0], np.float32)
                self._gl.glLightfv(GL.GL_LIGHT0 + i, GL.GL_SPOT_DIRECTION, direction.ctypes.data)
                position = np.array([*light.pos, 1], np.float32)
            self._gl.glLightfv(GL.GL_LIGHT0 + i, GL.GL_POSITION, position.ctypes.data)
        self._switch_lights(on)

    def _switch_lights(self, on: bool) -> None:
        switch = self._gl.glEnable if on else self._gl.glDisable
        for i in range(self._context.scn.nlight):
            switch(GL.GL_LIGHT0 + i)


def _buffer(scene: Any) -> np.ndarray:
    """Return MuJoCo's own array of geoms, not a copy.

    Raises RuntimeError if its layout differs from that of GEOM.
    """
    first, second = (geom.pos.__array_interface__["data"][0] for geom in scene.geoms[:2])
    if second - first != GEOM.itemsize:
        raise RuntimeError(f"mjvGeom takes {second - first} bytes, not {GEOM.itemsize}: MuJoCo's version has changed")
    memory = (ctypes.c_ubyte * (scene.maxgeom * GEOM.itemsize)).from_address(first - POSITION)
    return np.frombuffer(memory, GEOM)


def _behind(geoms: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Return for each geom whether the head is below its upper side, bool[N]."""
    away, up = head - geoms["pos"], geoms["mat"][:, 2::3]
    return away[:, 0] * up[:, 0] + away[:, 1] * up[:, 1] + away[:, 2] * up[:, 2] < 0


def _draws(scene: Any, geoms: np.ndarray) -> bool:
    plain = not (scene.nskin or scene.nflex or any(light.castshadow for light in scene.lights[: scene.nlight]))
    hulls = (geoms["type"] == MESH) & (geoms["dataid"] % 2 == 1)
    endless = (geoms["type"] == PLANE) & (geoms["size"][:, :2] == 0).all(axis=1)  # mjr_render draws haze there
    return plain and not hulls.any() and not endless.any() and bool(np.isin(geoms["type"], DRAWN).all())


def _reflection(position: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the matrix of a reflection, float32[4, 4] in column-major order.

    The order of operations is that of render_util.c, mjr_reflect.
    """
    square = normal[:, None] * normal
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] -= 2 * square
    dots = square[:, 0] * position[0] + square[:, 1] * position[1] + square[:, 2] * position[2]
    matrix[3, :3] = 2 * dots
    return matrix
