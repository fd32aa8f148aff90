"""Which triangles of a mesh can colour a sample of an image, and which cannot.

LIBERO's scenes have 300 000 triangles and its images 262 144 samples, so most triangles fall between samples, face
away or lie outside. A software renderer transforms, clips and sets up each of them, which is nearly all its time.

Law 1: a triangle that is dropped would not have coloured a sample. What is in doubt is kept: positions are trusted to
some hundredths of a pixel, a few times the error of a renderer that computes in float32 and snaps to 1/256 of a pixel.

Law 2: what is left is drawn as it would have been. Mesa takes a mesh in segments. Where a vertex of a segment is to be
clipped, all its triangles pass a stage that decides in floating point which way they face; otherwise that is decided
after snapping, and of slivers the two think differently. So segments stay apart, and one that was clipped still is.
"""

import dataclasses
from typing import Any

import numba
import numpy as np

SEGMENT = 341  # triangles that Mesa's software renderers take at once (draw_pt_vsplit.c: 1024 corners)
_PLANE_ERROR = 1e-5  # m
_SMALL = 4.0  # pixels: larger triangles are kept without counting samples

# What is known of a vertex
_LEFT, _RIGHT, _BELOW, _ABOVE, _BEHIND = 1, 2, 4, 8, 16  # outside the window, there
_OUT = 31  # any of them; a triangle whose vertices share one is out of sight
_NEAR = 32  # too near to project
_HALF = 64  # on the visible side of the plane
_CLIPPED = 128  # certain to be clipped by the renderer
_DOUBT = 256  # may be


@dataclasses.dataclass(frozen=True)
class Meshes:
    """All meshes of a model, as MuJoCo hands them to OpenGL (render_context.c, mjr_uploadMesh)."""

    corners: np.ndarray  # float32[C, 8], distinct: texture coordinate (2), normal (3), position (3)
    triangles: np.ndarray  # uint32[F, 3] of corners
    vertices: np.ndarray  # float32[V, 3]
    faces: np.ndarray  # int32[F, 3] of vertices
    vertex_range: np.ndarray  # int64[M, 2] by mesh: first, count
    face_range: np.ndarray  # int64[M, 2]
    textured: np.ndarray  # bool[M]: has texture coordinates


def meshes_of(model: Any) -> Meshes:
    vertices = np.array(model.mesh_vert, np.float32)
    corners, triangles = [], np.empty((len(model.mesh_face), 3), np.uint32)
    faces = np.empty((len(model.mesh_face), 3), np.int32)
    count = 0
    for mesh in range(model.nmesh):
        first, number = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        rows = slice(first, first + number)
        faces[rows] = model.mesh_face[rows] + model.mesh_vertadr[mesh]
        table, index = _corners(model, mesh, vertices[faces[rows]], rows)
        triangles[rows] = index.reshape(-1, 3) + count
        corners.append(table)
        count += len(table)
    return Meshes(
        np.concatenate(corners) if corners else np.empty((0, 8), np.float32),
        triangles,
        vertices,
        faces,
        np.stack((model.mesh_vertadr, model.mesh_vertnum), axis=1).astype(np.int64),
        np.stack((model.mesh_faceadr, model.mesh_facenum), axis=1).astype(np.int64),
        model.mesh_texcoordadr >= 0,
    )


def _corners(model: Any, mesh: int, positions: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Distinct corners float32[C, 8] and, for each corner of each face, its index."""
    normals = model.mesh_normal[model.mesh_facenormal[rows] + model.mesh_normaladr[mesh]]
    table = np.zeros((*positions.shape[:2], 8), np.float32)
    table[..., 5:] = positions
    if model.mesh_texcoordadr[mesh] >= 0:
        table[..., :2] = model.mesh_texcoord[model.mesh_facetexcoord[rows] + model.mesh_texcoordadr[mesh]]
        table[..., 2:5] = normals
    else:  # without texture, edges sharper than 37 degrees are drawn flat
        flat = _face_normals(positions)[:, None]
        along = normals[..., 0] * flat[..., 0] + normals[..., 1] * flat[..., 1] + normals[..., 2] * flat[..., 2]
        table[..., 2:5] = np.where((along < 0.8)[..., None], flat, normals)
    rows_as_bytes = table.reshape(-1, 8).view(np.dtype((np.void, 32))).ravel()
    _, where, index = np.unique(rows_as_bytes, return_index=True, return_inverse=True)
    return table.reshape(-1, 8)[where], index.ravel()


def _face_normals(positions: np.ndarray) -> np.ndarray:
    """float32[F, 3], in the order of operations of render_util.c, mjr_makeNormal."""
    a, b = (positions[:, i] - positions[:, 0] for i in (1, 2))
    normal = np.stack([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)
    length = np.sqrt(normal[:, 0] * normal[:, 0] + normal[:, 1] * normal[:, 1] + normal[:, 2] * normal[:, 2])
    scale = np.float32(1) / np.where(length < np.float32(1e-10), np.float32(1), length)
    return np.where((length < np.float32(1e-10))[:, None], np.array([0, 0, 1], np.float32), normal * scale[:, None])


@numba.jit(nopython=True, cache=True)
def visible(
    which: np.ndarray,
    to_clip: np.ndarray,
    planes: np.ndarray,
    turn: float,
    near: float,
    size: float,
    window: np.ndarray,
    samples: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    triangles: np.ndarray,
    vertex_range: np.ndarray,
    face_range: np.ndarray,
    projected: np.ndarray,
    codes: np.ndarray,
    out: np.ndarray,
    runs: np.ndarray,
) -> int:
    """Writes corners of the triangles that may be seen to `out`, geom after geom; returns the number of runs.

    which: int64[N], mesh of each geom; to_clip: float64[N, 4, 4], from its frame to clip space
    planes: float64[N, 4], in its frame and in metres: the renderer clips what has plane · (x, y, z, 1) < 0
    turn: 1 where counterclockwise triangles face the camera, -1 in a mirror; near: least distance [m] that is projected
    size: of the image [pixels]; window: float64[4], the part that is drawn to: left, bottom, right, top [pixels]
    samples: float64[S, 2], where in a pixel the samples are
    runs: int64[R, 3], to be drawn by one call each: index in `which`, first corner in `out`, number of corners
    """
    filled = run = 0
    for n in range(len(which)):
        mesh = which[n]
        first, number = vertex_range[mesh]
        slack, together, either = _project(
            vertices[first : first + number], to_clip[n], planes[n], near, size, window, projected, codes
        )
        if together & _OUT or not either & _HALF:
            continue
        first_face, last_face = face_range[mesh, 0], face_range[mesh, 0] + face_range[mesh, 1]
        whole = not either & (_CLIPPED | _DOUBT)
        begin = filled
        for segment in range(first_face, last_face, last_face - first_face if whole else SEGMENT):
            end = last_face if whole else min(segment + SEGMENT, last_face)
            clipped = doubt = False
            if not whole:
                state = 0
                for f in range(segment, end):
                    state |= codes[faces[f, 0] - first] | codes[faces[f, 1] - first] | codes[faces[f, 2] - first]
                clipped = state & _CLIPPED != 0
                doubt = not clipped and state & _DOUBT != 0
            if (clipped or doubt) and filled > begin:
                runs[run] = n, begin, filled - begin
                run, begin = run + 1, filled
            still_clipped, spare = not clipped, -1
            for f in range(segment, end):
                a, b, c = faces[f, 0] - first, faces[f, 1] - first, faces[f, 2] - first
                some = codes[a] | codes[b] | codes[c]
                if not doubt and not (
                    not codes[a] & codes[b] & codes[c] & _OUT
                    and some & _HALF
                    and (
                        some & _NEAR
                        or _covers(
                            projected[a, 0],
                            projected[a, 1],
                            projected[b, 0],
                            projected[b, 1],
                            projected[c, 0],
                            projected[c, 1],
                            turn,
                            slack,
                            samples,
                        )
                    )
                ):
                    if some & _CLIPPED:
                        spare = f
                    continue
                still_clipped |= some & _CLIPPED != 0
                out[filled : filled + 3] = triangles[f]
                filled += 3
            if clipped or doubt:
                if filled > begin and not still_clipped:
                    out[filled : filled + 3] = triangles[spare]
                    filled += 3
                if filled > begin:
                    runs[run] = n, begin, filled - begin
                    run, begin = run + 1, filled
        if filled > begin:
            runs[run] = n, begin, filled - begin
            run += 1
    return run


@numba.jit(nopython=True, cache=True)
def _project(
    vertices: np.ndarray,
    m: np.ndarray,
    plane: np.ndarray,
    near: float,
    size: float,
    window: np.ndarray,
    projected: np.ndarray,
    codes: np.ndarray,
) -> tuple[float, int, int]:
    """Fills in positions [pixels] and codes. Returns the error of positions [pixels], and all codes' AND and OR."""
    together, either, closest = -1, 0, np.inf
    middle = 0.5 * size
    for i in range(len(vertices)):
        x, y, z = np.float64(vertices[i, 0]), np.float64(vertices[i, 1]), np.float64(vertices[i, 2])
        w = m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3]
        code = 0
        if w < 1.01 * near:
            code = _NEAR | (_BEHIND | _CLIPPED if w < 0.99 * near else _DOUBT)
        else:
            closest = min(closest, w)
            edge = 1e-3 + 1e-3 / w
            u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) * middle / w + middle
            v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) * middle / w + middle
            code |= _LEFT if u < window[0] - edge else 0
            code |= _RIGHT if u > window[2] + edge else 0
            code |= _BELOW if v < window[1] - edge else 0
            code |= _ABOVE if v > window[3] + edge else 0
            inside = min(min(u, v), size - max(u, v))
            code |= _CLIPPED if inside < -edge else (_DOUBT if inside < edge else 0)
            projected[i, 0], projected[i, 1] = u, v
        side = plane[0] * x + plane[1] * y + plane[2] * z + plane[3]
        code |= _HALF if side >= -_PLANE_ERROR else 0
        code |= _CLIPPED if side < -_PLANE_ERROR else (_DOUBT if side < _PLANE_ERROR else 0)
        codes[i] = code
        together &= code
        either |= code
    return 1 / 128 + 1e-3 / closest, together, either


@numba.jit(nopython=True, cache=True)
def _covers(
    ax: float, ay: float, bx: float, by: float, cx: float, cy: float, turn: float, error: float, samples: np.ndarray
) -> bool:
    """Whether the triangle (corners in pixels, with that error) may face the camera and contain a sample."""
    abx, aby, bcx, bcy, cax, cay = bx - ax, by - ay, cx - bx, cy - by, ax - cx, ay - cy
    slack = error * (abs(abx) + abs(aby) + abs(bcx) + abs(bcy) + abs(cax) + abs(cay))
    if turn * (aby * cax - abx * cay) < -slack:
        return False
    left, right = min(ax, bx, cx) - error, max(ax, bx, cx) + error
    below, above = min(ay, by, cy) - error, max(ay, by, cy) + error
    if right - left > _SMALL or above - below > _SMALL:
        return True
    for j in range(int(np.floor(below)), int(np.floor(above)) + 1):
        for i in range(int(np.floor(left)), int(np.floor(right)) + 1):
            for s in range(len(samples)):
                x, y = i + samples[s, 0], j + samples[s, 1]
                if x < left or x > right or y < below or y > above:
                    continue
                if turn * (abx * (y - ay) - aby * (x - ax)) < -slack:
                    continue
                if turn * (bcx * (y - by) - bcy * (x - bx)) < -slack:
                    continue
                if turn * (cax * (y - cy) - cay * (x - cx)) < -slack:
                    continue
                return True
    return False
