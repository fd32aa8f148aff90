"""Determine which triangles of a mesh can colour a sample of an image, and which cannot.

LIBERO's scenes have 300 000 triangles and its images 262 144 samples, so most triangles fall between samples, face
away or lie outside. A software renderer transforms, clips and sets up each of them, which takes nearly all its time.

Law 1: A triangle that is dropped would not have coloured a sample. Doubtful triangles are kept: positions are trusted
to some hundredths of a pixel, a few times the error of a renderer that computes in float32 and snaps to 1/256 of a
pixel.

Law 2: The remaining triangles are drawn as they would have been in the whole mesh. Mesa processes a mesh in segments.
If a vertex of a segment has to be clipped, all triangles of the segment pass a stage that decides in floating point
which way they face; otherwise that is decided after snapping, and the two decisions disagree for slivers. So segments
are kept separate, and a segment that would have been clipped still is.

(Triangles hidden by others are a fifth of the rest. Finding them costs as much as drawing them.)
"""

from typing import Any

import numba
import numpy as np

SEGMENT = 341  # triangles that Mesa's software renderers process at once (draw_pt_vsplit.c: 1024 corners)
_PLANE_ERROR = 1e-5  # [m]
_SMALL = 8.0  # pixels: larger triangles are kept without checking their samples

# Flags of a vertex
_LEFT, _RIGHT, _BELOW, _ABOVE, _BEHIND = 1, 2, 4, 8, 16  # outside the window, on that side
_OUT = 31  # any of these; a triangle whose vertices share one is not visible
_NEAR = 32  # too near to project
_HALF = 64  # on the visible side of the plane
_CLIPPED = 128  # will certainly be clipped by the renderer
_DOUBT = 256  # may be clipped by the renderer


@numba.jit(nopython=True, cache=True, error_model="numpy")
def visible(
    which: np.ndarray,
    to_pixels: np.ndarray,
    planes: np.ndarray,
    turn: float,
    near: float,
    size: int,
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
    """Write the corners of the triangles that may be visible to `out`, geom by geom, and return the number of runs.

    which: int64[N], mesh of each geom; to_pixels: float32[N, 4, 4], from its frame to homogeneous pixels
    planes: float32[N, 4], in its frame and in metres: the renderer clips points with plane · (x, y, z, 1) < 0
    turn: 1 where counterclockwise triangles face the camera, -1 in a mirror image
    near: smallest distance [m] that is projected; size: width and height of the image [pixels]
    window: float64[4], the part of the image that is drawn to: left, bottom, right, top [pixels]
    samples: float64[S, 2], positions of the samples in a pixel
    runs: int64[R, 3], each drawn by one call: index in `which`, first corner in `out`, number of corners
    projected: float32[V, 2] and codes: int32[V], by vertex of a mesh, used by the function as scratch memory
    """
    filled = run = 0
    for n in range(len(which)):
        first, number = vertex_range[which[n]]
        points = vertices[:, first : first + number]
        left, bottom, right, top, nearest, lowest, highest = _project(points, to_pixels[n], planes[n], projected)
        error = 1 / 128 + 1e-3 / max(nearest, near)
        edge = 2 * error
        clean = nearest > 1.01 * near and lowest > _PLANE_ERROR
        if highest < -_PLANE_ERROR or (
            clean
            and (
                left > window[2] + edge
                or right < window[0] - edge
                or bottom > window[3] + edge
                or top < window[1] - edge
            )
        ):
            continue
        clean = clean and left > edge and bottom > edge and right < size - edge and top < size - edge
        if clean and size <= window[2] - window[0] and size <= window[3] - window[1]:
            codes[:number] = _HALF
        else:
            _classify(points, to_pixels[n], planes[n], near, size, window, projected, codes)
        begin, last_face = filled, face_range[which[n], 0] + face_range[which[n], 1]
        step = face_range[which[n], 1] if clean else SEGMENT
        for segment in range(face_range[which[n], 0], last_face, max(step, 1)):
            end = min(segment + step, last_face)
            clipped = doubt = False
            if not clean:
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
                seen = not codes[a] & codes[b] & codes[c] & _OUT and some & _HALF != 0
                if doubt or (seen and (some & _NEAR or _holds_sample(projected, a, b, c, turn, error, samples))):
                    still_clipped |= some & _CLIPPED != 0
                    out[filled : filled + 3] = triangles[f]
                    filled += 3
                elif some & _CLIPPED:
                    spare = f
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


@numba.jit(nopython=True, cache=True, error_model="numpy", fastmath=True)
def _project(vertices: np.ndarray, m: np.ndarray, plane: np.ndarray, projected: np.ndarray) -> tuple[Any, ...]:
    """Write the vertices' positions in the image [pixels] to `projected`.

    Returns the bounds of positions, of distance and of height above the plane.
    """
    left = bottom = nearest = lowest = np.float32(np.inf)
    right = top = highest = np.float32(-np.inf)
    for i in range(vertices.shape[1]):
        x, y, z = vertices[0, i], vertices[1, i], vertices[2, i]
        w = m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3]
        k = np.float32(1) / w
        u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) * k
        v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) * k
        height = plane[0] * x + plane[1] * y + plane[2] * z + plane[3]
        projected[i, 0], projected[i, 1] = u, v
        left, right, bottom, top = min(left, u), max(right, u), min(bottom, v), max(top, v)
        nearest, lowest, highest = min(nearest, w), min(lowest, height), max(highest, height)
    return left, bottom, right, top, nearest, lowest, highest


@numba.jit(nopython=True, cache=True, error_model="numpy")
def _classify(
    vertices: np.ndarray,
    m: np.ndarray,
    plane: np.ndarray,
    near: float,
    size: int,
    window: np.ndarray,
    projected: np.ndarray,
    codes: np.ndarray,
) -> None:
    for i in range(vertices.shape[1]):
        x, y, z = vertices[0, i], vertices[1, i], vertices[2, i]
        w = m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3]
        code = 0
        if w < 1.01 * near:
            code = _NEAR | (_BEHIND | _CLIPPED if w < 0.99 * near else _DOUBT)
        else:
            edge = 2e-3 + 2e-3 / w
            u, v = projected[i, 0], projected[i, 1]
            code |= _LEFT if u < window[0] - edge else 0
            code |= _RIGHT if u > window[2] + edge else 0
            code |= _BELOW if v < window[1] - edge else 0
            code |= _ABOVE if v > window[3] + edge else 0
            inside = min(min(u, v), size - max(u, v))
            code |= _CLIPPED if inside < -edge else (_DOUBT if inside < edge else 0)
        height = plane[0] * x + plane[1] * y + plane[2] * z + plane[3]
        code |= _HALF if height >= -_PLANE_ERROR else 0
        code |= _CLIPPED if height < -_PLANE_ERROR else (_DOUBT if height < _PLANE_ERROR else 0)
        codes[i] = code


@numba.jit(nopython=True, cache=True, error_model="numpy", inline="always")
def _holds_sample(
    projected: np.ndarray, a: int, b: int, c: int, turn: float, error: float, samples: np.ndarray
) -> bool:
    """Return whether the triangle may face the camera and contain a sample."""
    ax, ay, bx, by = projected[a, 0], projected[a, 1], projected[b, 0], projected[b, 1]
    cx, cy = projected[c, 0], projected[c, 1]
    area = turn * ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    slack = error * (abs(bx - ax) + abs(by - ay) + abs(cx - bx) + abs(cy - by) + abs(ax - cx) + abs(ay - cy))
    if area < -slack:
        return False
    left, right = min(ax, min(bx, cx)) - error, max(ax, max(bx, cx)) + error
    below, above = min(ay, min(by, cy)) - error, max(ay, max(by, cy)) + error
    if right - left > _SMALL or above - below > _SMALL:
        return True
    for s in range(len(samples)):
        x = np.ceil(left - samples[s, 0]) + samples[s, 0]
        lowest = np.ceil(below - samples[s, 1]) + samples[s, 1]
        while x <= right:
            y = lowest
            while y <= above:
                ab = turn * ((bx - ax) * (y - ay) - (by - ay) * (x - ax))
                bc = turn * ((cx - bx) * (y - by) - (cy - by) * (x - bx))
                if ab >= -slack and bc >= -slack and area - ab - bc >= -slack:
                    return True
                y += 1
            x += 1
    return False
