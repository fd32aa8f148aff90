"""Draw single geoms with OpenGL as MuJoCo does (render_gl3.c, renderGeom), without invisible triangles of meshes."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from pirig.sim.drawing.meshes import meshes_of
from pirig.sim.drawing.opengl import GL, Functions
from pirig.sim.drawing.triangles import SEGMENT, visible

_FIELDS = {  # fields of mjvGeom, mjvisualize.h of MuJoCo 3.2.3: format and offset
    "type": ("i4", 0),
    "dataid": ("i4", 4),
    "matid": ("i4", 20),
    "texcoord": ("i4", 24),
    "size": ("3f4", 32),
    "pos": ("3f4", 44),
    "mat": ("9f4", 56),
    "rgba": ("4f4", 92),
    "emission": ("f4", 108),
    "specular": ("f4", 112),
    "shininess": ("f4", 116),
    "reflectance": ("f4", 120),
    "rbound": ("f4", 228),
}
POSITION = _FIELDS["pos"][1]
GEOM = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": [kind for kind, _ in _FIELDS.values()],
        "offsets": [offset for _, offset in _FIELDS.values()],
        "itemsize": 236,
    }
)
PLANE, SPHERE, CYLINDER, BOX, MESH = 0, 2, 5, 6, 7  # mjtGeom
_BUILTIN = {SPHERE: 0, CYLINDER: 3, BOX: 6}  # display lists, render_context.h
DRAWN = (PLANE, *_BUILTIN, MESH)
_ROLES, _COLOUR = 10, 1  # mjNTEXROLE, mjTEXROLE_RGB
_FLAT = 0  # mjTEXTURE_2D
_FACES = GL.GL_FRONT_AND_BACK
_TINY = 1e-15  # mjMINVAL


@dataclasses.dataclass(frozen=True)
class Frame:
    """A `Frame` holds a scene's geoms as arrays, and the camera."""

    geoms: np.ndarray  # GEOM[N]
    matrices: np.ndarray  # float32[N, 16], rotations in OpenGL's layout
    frames: np.ndarray  # float64[N, 4, 4], from each geom's frame to the world's
    shine: np.ndarray  # float32[N]
    specular: np.ndarray  # float32[N, 4]
    to_clip: np.ndarray  # float64[4, 4], from the world to clip space
    near: float  # distance of the near plane [m]


@dataclasses.dataclass(frozen=True)
class Sight:
    """A `Sight` describes which part of a frame is visible in one pass."""

    to_clip: np.ndarray  # float64[4, 4], from the world to clip space
    turn: float  # 1, or -1 in a mirror image
    window: np.ndarray  # float64[4], the part of the image that is drawn to: left, bottom, right, top [pixels]
    half_space: np.ndarray  # float64[4]: visible only where half_space · (x, y, z, 1) >= 0 in the world


class Painter:
    """A `Painter` draws geoms of one model into one render context, which must be current."""

    def __init__(self, model: Any, con: Any, gl: Functions, size: int):
        """Prepare to draw the geoms of `model`.

        `con`: mjrContext; `size`: width and height of images [pixels].
        """
        self._gl, self._con, self._size = gl, con, size
        self._texture_of = np.array(con.mat_texid)[_COLOUR::_ROLES].tolist()
        self._uniform, self._repeat = np.array(con.mat_texuniform).tolist(), np.array(con.mat_texrepeat).tolist()
        self._names, self._kinds = np.array(con.texture).tolist(), np.array(con.textureType).tolist()
        self._lists = {kind: con.baseBuiltin + number for kind, number in _BUILTIN.items()}
        self._meshes = meshes = meshes_of(model)
        self._radius = np.array(
            [
                np.sqrt((meshes.vertices[:, first : first + count].astype(np.float64) ** 2).sum(axis=0).max(initial=0))
                for first, count in meshes.vertex_range
            ]
        )
        most = int(meshes.vertex_range[:, 1].max(initial=0))
        self._projected, self._codes = np.empty((most, 2), np.float32), np.empty(most, np.int32)
        self._indices = np.empty(0, np.uint32)
        self._samples = self._sample_positions()
        self._to_pixels = np.diag((size / 2, size / 2, 1.0, 1.0))
        self._to_pixels[:2, 3] = size / 2
        self._buffer = np.zeros(1, np.uint32)
        gl.glGenBuffers(1, self._buffer.ctypes.data)
        gl.glBindBuffer(GL.GL_ARRAY_BUFFER, int(self._buffer[0]))
        gl.glBufferData(GL.GL_ARRAY_BUFFER, meshes.corners.nbytes, meshes.corners.ctypes.data, GL.GL_STATIC_DRAW)
        gl.glBindBuffer(GL.GL_ARRAY_BUFFER, 0)

    def close(self) -> None:
        self._gl.glDeleteBuffers(1, self._buffer.ctypes.data)

    def draw(self, frame: Frame, which: np.ndarray, colours: np.ndarray, sight: Sight) -> None:
        """Draw the geoms with the indices `which`, in this order.

        `colours`: float32[N, 4].
        """
        which = which[self._near(frame, which, sight)]
        runs = self._visible_triangles(frame, which, sight)
        gl, geoms = self._gl, frame.geoms
        emission = np.ones_like(colours)
        emission[:, :3] = geoms["emission"][:, None] * colours[:, :3]
        kinds, data, materials = geoms["type"].tolist(), geoms["dataid"].tolist(), geoms["matid"].tolist()
        positions, sizes, shine = geoms["pos"].tolist(), geoms["size"].tolist(), frame.shine.tolist()
        glow, colour, gloss = emission.ctypes.data, colours.ctypes.data, frame.specular.ctypes.data
        turn = frame.matrices.ctypes.data
        gl.glBindBuffer(GL.GL_ARRAY_BUFFER, int(self._buffer[0]))
        gl.glVertexPointer(3, GL.GL_FLOAT, 32, 20)
        gl.glNormalPointer(GL.GL_FLOAT, 32, 8)
        gl.glTexCoordPointer(2, GL.GL_FLOAT, 32, 0)
        for i in which.tolist():
            kind = kinds[i]
            if kind == MESH and i not in runs:
                continue
            if materials[i] >= 0:
                self._texture(geoms[i], True)
            gl.glMaterialfv(_FACES, GL.GL_EMISSION, glow + 16 * i)
            gl.glColor4fv(colour + 16 * i)
            gl.glMaterialf(_FACES, GL.GL_SHININESS, shine[i])
            gl.glMaterialfv(_FACES, GL.GL_SPECULAR, gloss + 16 * i)
            gl.glPushMatrix()
            gl.glTranslatef(*positions[i])
            gl.glMultMatrixf(turn + 64 * i)
            if kind == MESH:
                self._mesh(data[i] // 2, runs[i])
            elif kind == PLANE:
                self.plane(data[i], sizes[i])
            else:
                gl.glScalef(*sizes[i])
                gl.glCallList(self._lists[kind])
            gl.glPopMatrix()
            if materials[i] >= 0:
                self._texture(geoms[i], False)
        gl.glBindBuffer(GL.GL_ARRAY_BUFFER, 0)

    def plane(self, number: int, size: list[float]) -> None:
        """Draw a plane.

        `number`: number of the plane in the model, or -1.
        """
        if number >= 0:
            self._gl.glCallList(self._con.basePlane + number + 1)
        else:
            self._gl.glScalef(size[0], size[1], 1.0)
            self._gl.glCallList(self._con.basePlane)

    def _mesh(self, mesh: int, runs: list[tuple[int, int]]) -> None:
        gl = self._gl
        arrays = [GL.GL_VERTEX_ARRAY, GL.GL_NORMAL_ARRAY]
        if self._meshes.textured[mesh]:
            arrays.append(GL.GL_TEXTURE_COORD_ARRAY)
        for array in arrays:
            gl.glEnableClientState(array)
        for start, count in runs:
            gl.glDrawElements(GL.GL_TRIANGLES, count, GL.GL_UNSIGNED_INT, self._indices.ctypes.data + 4 * start)
        for array in arrays:
            gl.glDisableClientState(array)

    def _near(self, frame: Frame, which: np.ndarray, sight: Sight) -> np.ndarray:
        """Return for each geom whether its bounding sphere reaches into sight (bool); for planes this is always so."""
        geoms = frame.geoms[which]
        is_mesh = geoms["type"] == MESH
        radius = np.where(is_mesh, self._radius[np.where(is_mesh, geoms["dataid"] // 2, 0)], geoms["rbound"])
        left, bottom, right, top = 2 * sight.window / self._size - 1
        x, y, _, w = sight.to_clip
        depth = w - np.array([0, 0, 0, frame.near])
        sides = np.stack((x - left * w, right * w - x, y - bottom * w, top * w - y, depth, sight.half_space))
        sides = sides / np.maximum(np.linalg.norm(sides[:, :3], axis=1, keepdims=True), _TINY)
        sides[:, 3] = np.where(np.isfinite(sides[:, 3]), sides[:, 3], 0)
        reach = geoms["pos"].astype(np.float64) @ sides[:, :3].T + sides[:, 3]
        out = (reach < -1.001 * radius[:, None] - 1e-3).any(axis=1)
        return ~out | (geoms["type"] == PLANE) | (radius <= 0)

    def _visible_triangles(self, frame: Frame, which: np.ndarray, sight: Sight) -> dict[int, list[tuple[int, int]]]:
        """Return, by geom, the start of the corners in the indices and their number, for each draw call."""
        meshes, geoms = self._meshes, frame.geoms
        of = which[geoms["type"][which] == MESH]
        mesh = (geoms["dataid"][of] // 2).astype(np.int64)
        faces = meshes.face_range[mesh, 1]
        most = int((faces // SEGMENT + 2).sum())
        if 3 * (faces.sum() + most) > len(self._indices):
            self._indices = np.empty(3 * int(faces.sum() + most), np.uint32)
        found = np.empty((most, 3), np.int64)
        number = visible(
            mesh,
            (self._to_pixels @ sight.to_clip @ frame.frames[of]).astype(np.float32),
            (sight.half_space @ frame.frames[of]).astype(np.float32),
            sight.turn,
            frame.near,
            self._size,
            sight.window,
            self._samples,
            meshes.vertices,
            meshes.faces,
            meshes.triangles,
            meshes.vertex_range,
            meshes.face_range,
            self._projected,
            self._codes,
            self._indices,
            found,
        )
        runs: dict[int, list[tuple[int, int]]] = {}
        keys = of.tolist()
        for n, start, count in found[:number].tolist():
            runs.setdefault(keys[n], []).append((start, count))
        return runs

    def _texture(self, geom: np.ndarray, on: bool) -> None:
        material, explicit = int(geom["matid"]), bool(geom["texcoord"])
        texture = self._texture_of[material]
        if texture < 0:
            return
        gl = self._gl
        if explicit:
            self._switch(on, (GL.GL_TEXTURE_2D,))
        elif self._kinds[texture] == _FLAT:
            self._switch(on, (GL.GL_TEXTURE_2D, GL.GL_TEXTURE_GEN_S, GL.GL_TEXTURE_GEN_T))
        else:
            self._switch(on, (GL.GL_TEXTURE_CUBE_MAP, GL.GL_TEXTURE_GEN_S, GL.GL_TEXTURE_GEN_T, GL.GL_TEXTURE_GEN_R))
        if not on:
            return
        flat = explicit or self._kinds[texture] == _FLAT
        gl.glBindTexture(GL.GL_TEXTURE_2D if flat else GL.GL_TEXTURE_CUBE_MAP, self._names[texture])
        if explicit:
            return
        size = geom["size"].tolist()
        if flat:
            scale = [np.float32(self._repeat[2 * material + k]) for k in range(2)]
            for k in range(2):
                if geom["dataid"] >= 0 and size[k] > 0:
                    scale[k] = np.float32(float(scale[k]) / max(_TINY, size[k]))
                if self._uniform[material] and size[k] > 0:
                    scale[k] = scale[k] * np.float32(size[k])
            self._generate(GL.GL_S, (0.5 * float(scale[0]), 0, 0, -0.5))
            self._generate(GL.GL_T, (0, -0.5 * float(scale[1]), 0, -0.5))
        else:
            for axis, k in ((GL.GL_S, 0), (GL.GL_T, 1), (GL.GL_R, 2)):
                plane = [0.0] * 4
                plane[k] = size[k] if self._uniform[material] else 1.0
                self._generate(axis, plane)

    def sky(self, texture: int) -> None:
        """Bind the skybox's texture, and draw it on a unit cylinder.

        `texture`: number of the texture in the context.
        """
        switches = (GL.GL_TEXTURE_CUBE_MAP, GL.GL_TEXTURE_GEN_S, GL.GL_TEXTURE_GEN_T, GL.GL_TEXTURE_GEN_R)
        self._switch(True, switches)
        self._gl.glBindTexture(GL.GL_TEXTURE_CUBE_MAP, self._names[texture])
        for axis, plane in ((GL.GL_S, (1, 0, 0, 0)), (GL.GL_T, (0, 0, 1, 0)), (GL.GL_R, (0, -1, 0, 0))):
            self._generate(axis, plane)
        white = np.ones(4, np.float32)
        self._gl.glColor4fv(white.ctypes.data)
        self._gl.glCallList(self._lists[CYLINDER])
        self._switch(False, switches)

    def _switch(self, on: bool, what: Iterable[int]) -> None:
        gl = self._gl
        gl.glActiveTexture(GL.GL_TEXTURE0)
        for one in what:
            (gl.glEnable if on else gl.glDisable)(one)

    def _generate(self, axis: int, plane: Iterable[float]) -> None:
        values = np.array(plane, np.float32)
        self._gl.glTexGenfv(axis, GL.GL_OBJECT_PLANE, values.ctypes.data)

    def _sample_positions(self) -> np.ndarray:
        """Return the positions of samples in a pixel, float64[S, 2].

        The context's own framebuffer must be bound.
        """
        gl, number, one = self._gl, np.zeros(1, np.int32), np.zeros(2, np.float32)
        gl.glGetIntegerv(GL.GL_SAMPLES, number.ctypes.data)
        positions = []
        for i in range(int(number[0])):
            gl.glGetMultisamplefv(GL.GL_SAMPLE_POSITION, i, one.ctypes.data)
            positions.append(one.tolist())
        return np.array(positions or [[0.5, 0.5]], np.float64)
