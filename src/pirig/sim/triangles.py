"""Which triangles of a mesh can colour a sample of an image, and which cannot.

LIBERO's scenes have 300 000 triangles and its images 262 144 samples, so most triangles fall between samples, face
away or lie outside. A software renderer transforms, clips and sets up each of them, which is nearly all its time.

Law 1: a triangle that is dropped would not have coloured a sample: it holds none, faces away, is out of sight, or other
triangles are in front of it at each of its samples. What is in doubt is kept: positions are trusted to some hundredths
of a pixel, a few times the error of a renderer that computes in float32 and snaps to 1/256 of a pixel.

Law 2: what is left is drawn as it would have been. Mesa takes a mesh in segments. Where a vertex of a segment is to be
clipped, all its triangles pass a stage that decides in floating point which way they face; otherwise that is decided
after snapping, and of slivers the two think differently. So segments stay apart, and one that was clipped still is.
"""

from typing import Any

import numba
import numpy as np

SEGMENT = 341  # triangles that Mesa's software renderers take at once (draw_pt_vsplit.c: 1024 corners)
_PLANE_ERROR = 1e-5  # m
_DEPTH_ERROR = 1e-4  # relative; 24 bits of depth resolve 1e-5 at LIBERO's distances
_SMALL = 8.0  # pixels: larger triangles are kept without a look at their samples
_COVER = 32.0  # pixels: larger triangles hide nothing

# What is known of a vertex
_LEFT, _RIGHT, _BELOW, _ABOVE, _BEHIND = 1, 2, 4, 8, 16  # outside the window, there
_OUT = 31  # any of them; a triangle whose vertices share one is out of sight
_NEAR = 32  # too near to project
_HALF = 64  # on the visible side of the plane
_CLIPPED = 128  # certain to be clipped by the renderer
_DOUBT = 256  # may be


@numba.jit(nopython=True, cache=True, error_model="numpy")
def visible(
    which: np.ndarray,
    to_clip: np.ndarray,
    planes: np.ndarray,
    turn: float,
    solid: bool,
    near: float,
    window: np.ndarray,
    samples: np.ndarray,
    vertices: np.ndarray,
    faces: np.ndarray,
    triangles: np.ndarray,
    vertex_range: np.ndarray,
    face_range: np.ndarray,
    projected: np.ndarray,
    codes: np.ndarray,
    candidates: np.ndarray,
    front: np.ndarray,
    out: np.ndarray,
    runs: np.ndarray,
) -> int:
    """Writes corners of the triangles that may be seen to `out`, geom after geom; returns the number of runs.

    which: int64[N], mesh of each geom; to_clip: float32[N, 4, 4], from its frame to homogeneous pixels
    planes: float32[N, 4], in its frame and in metres: the renderer clips what has plane · (x, y, z, 1) < 0
    turn: 1 where counterclockwise triangles face the camera, -1 in a mirror; solid: what is behind is not seen
    near: least distance [m] that is projected
    window: float64[4], the part of the image that is drawn to: left, bottom, right, top [pixels]
    samples: float64[S, 2], where in a pixel the samples are
    runs: int64[R, 3], to be drawn by one call each: index in `which`, first corner in `out`, number of corners
    projected: float32[all vertices, 3], codes: int32[all vertices], candidates: int32[all faces], front: float32[size,
    size, S], 1 / distance of what is in front; for the function's own use
    """
    size = len(front)
    if solid:
        front[:] = 0
    errors = np.zeros(len(which))
    clean = np.zeros(len(which), np.bool_)
    ends = np.zeros(len(which) + 1, np.int64)
    start = 0
    for n in range(len(which)):
        first, number = vertex_range[which[n]]
        stop = start + number
        ends[n + 1] = ends[n]
        bounds = _project(vertices[:, first : first + number], to_clip[n], planes[n], projected[start:stop])
        left, bottom, right, top, nearest, lowest, highest = bounds
        errors[n] = 1 / 128 + 1e-3 / max(nearest, near)
        edge = 2 * errors[n]
        clean[n] = nearest > 1.01 * near and lowest > _PLANE_ERROR
        if clean[n]:
            if (
                left > window[2] + edge
                or right < window[0] - edge
                or bottom > window[3] + edge
                or top < window[1] - edge
            ):
                start = stop
                continue
            clean[n] = left > edge and bottom > edge and right < size - edge and top < size - edge
        if not clean[n] or size > window[2] - window[0] or size > window[3] - window[1]:
            _classify(
                vertices[:, first : first + number],
                to_clip[n],
                planes[n],
                near,
                size,
                window,
                projected[start:stop],
                codes[start:stop],
            )
        else:
            codes[start:stop] = _HALF
        if highest >= -_PLANE_ERROR:
            ends[n + 1] += _candidates(
                faces,
                face_range[which[n]],
                first - start,
                projected,
                codes,
                turn,
                errors[n],
                samples,
                solid,
                front,
                candidates[ends[n] :],
            )
        start = stop
    filled = run = start = 0
    for n in range(len(which)):
        first, number = vertex_range[which[n]]
        shift = first - start
        start += number
        begin, next_, last = filled, ends[n], ends[n + 1]
        if next_ == last:
            continue
        first_face, last_face = face_range[which[n], 0], face_range[which[n], 0] + face_range[which[n], 1]
        for segment in range(first_face, last_face, last_face - first_face if clean[n] else SEGMENT):
            end = last_face if clean[n] else min(segment + SEGMENT, last_face)
            clipped = doubt = False
            spare = -1
            if not clean[n]:
                if next_ == last or candidates[next_] >= end:
                    continue
                state = 0
                for f in range(segment, end):
                    some = codes[faces[f, 0] - shift] | codes[faces[f, 1] - shift] | codes[faces[f, 2] - shift]
                    state |= some
                    if some & _CLIPPED:
                        spare = f
                clipped = state & _CLIPPED != 0
                doubt = not clipped and state & _DOUBT != 0
            if (clipped or doubt) and filled > begin:
                runs[run] = n, begin, filled - begin
                run, begin = run + 1, filled
            still_clipped = not clipped
            while next_ < last and candidates[next_] < end:
                f = candidates[next_]
                next_ += 1
                a, b, c = faces[f, 0] - shift, faces[f, 1] - shift, faces[f, 2] - shift
                some = codes[a] | codes[b] | codes[c]
                if not doubt and (
                    some & _NEAR
                    or not solid
                    or _sampled(projected, a, b, c, turn, errors[n], samples, False, True, front)
                ):
                    still_clipped |= some & _CLIPPED != 0
                    out[filled : filled + 3] = triangles[f]
                    filled += 3
            if doubt:
                for f in range(segment, end):
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


@numba.jit(nopython=True, cache=True, error_model="numpy", fastmath=True)
def _project(vertices: np.ndarray, m: np.ndarray, plane: np.ndarray, projected: np.ndarray) -> tuple[Any, ...]:
    """Position in the image [pixels] and 1 / distance. Returns the bounds of positions, distance and height."""
    left = bottom = nearest = lowest = np.float32(np.inf)
    right = top = highest = np.float32(-np.inf)
    for i in range(vertices.shape[1]):
        x, y, z = vertices[0, i], vertices[1, i], vertices[2, i]
        w = m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3]
        k = np.float32(1) / w
        u = (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) * k
        v = (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) * k
        height = plane[0] * x + plane[1] * y + plane[2] * z + plane[3]
        projected[i, 0], projected[i, 1], projected[i, 2] = u, v, k
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
    for i in range(len(codes)):
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


@numba.jit(nopython=True, cache=True, error_model="numpy")
def _candidates(
    faces: np.ndarray,
    face_range: np.ndarray,
    shift: int,
    projected: np.ndarray,
    codes: np.ndarray,
    turn: float,
    error: float,
    samples: np.ndarray,
    solid: bool,
    front: np.ndarray,
    found: np.ndarray,
) -> int:
    """Finds the faces that may hold a sample and face the camera, and notes what they hide. Returns their number."""
    count = 0
    for f in range(face_range[0], face_range[0] + face_range[1]):
        a, b, c = faces[f, 0] - shift, faces[f, 1] - shift, faces[f, 2] - shift
        some = codes[a] | codes[b] | codes[c]
        if codes[a] & codes[b] & codes[c] & _OUT or not some & _HALF:
            continue
        hides = solid and not some & (_CLIPPED | _DOUBT)
        if some & _NEAR or _sampled(projected, a, b, c, turn, error, samples, hides, False, front):
            found[count] = f
            count += 1
    return count


@numba.jit(nopython=True, cache=True, error_model="numpy", inline="always")
def _sampled(
    projected: np.ndarray,
    a: int,
    b: int,
    c: int,
    turn: float,
    error: float,
    samples: np.ndarray,
    hides: bool,
    hidden: bool,
    front: np.ndarray,
) -> bool:
    """Whether the triangle may face the camera and hold a sample.

    hides: notes, for each sample that it is certain to hold, how near it is at least
    hidden: a sample with something in front of the triangle does not count
    """
    ax, ay, ak = projected[a, 0], projected[a, 1], projected[a, 2]
    bx, by, bk = projected[b, 0], projected[b, 1], projected[b, 2]
    cx, cy, ck = projected[c, 0], projected[c, 1], projected[c, 2]
    area = turn * ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
    slack = error * (abs(bx - ax) + abs(by - ay) + abs(cx - bx) + abs(cy - by) + abs(ax - cx) + abs(ay - cy))
    if area < -slack:
        return False
    left, right = min(ax, bx, cx) - error, max(ax, bx, cx) + error
    below, above = min(ay, by, cy) - error, max(ay, by, cy) + error
    extent = max(right - left, above - below)
    hides = hides and area > 4 * slack and extent < _COVER
    if extent > _SMALL and not hides:
        return True
    reached = False
    for s in range(
        len(samples)
    ):  # without a branch: most triangles lie between samples, no branch predictor knows which
        sx, sy = samples[s, 0], samples[s, 1]
        reached |= (np.ceil(left - sx) + sx <= right) & (np.ceil(below - sy) + sy <= above)
    if not reached:
        return False
    doubt = np.inf
    if area > 4 * slack:
        doubt = (max(ak, bk, ck) - min(ak, bk, ck)) * 2 * slack / area + _DEPTH_ERROR * max(ak, bk, ck)
    size = len(front)
    left, below, right, above = max(left, 0.0), max(below, 0.0), min(right, size - 1e-3), min(above, size - 1e-3)
    found = extent > _SMALL
    for s in range(len(samples)):
        x = np.ceil(left - samples[s, 0]) + samples[s, 0]
        lowest = np.ceil(below - samples[s, 1]) + samples[s, 1]
        if x > right or lowest > above:
            continue
        while x <= right:
            y = lowest
            while y <= above:
                ab = turn * ((bx - ax) * (y - ay) - (by - ay) * (x - ax))
                bc = turn * ((cx - bx) * (y - by) - (cy - by) * (x - bx))
                ca = area - ab - bc
                if ab >= -slack and bc >= -slack and ca >= -slack:
                    k = (bc * ak + ca * bk + ab * ck) / area
                    j, i = int(y), int(x)
                    if not hidden or k + doubt >= front[j, i, s]:
                        found = True
                        if not hides:
                            return True
                        if ab > slack and bc > slack and ca > slack and k - doubt > front[j, i, s]:
                            front[j, i, s] = k - doubt
                y += 1
            x += 1
    return found
