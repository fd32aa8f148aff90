"""Laws of the fast simulator: one scene serves all episodes of a task, and what is not drawn could not be seen."""

import fractions
import itertools

import numpy as np
import pytest

from pirig.errors import StartError
from pirig.sim.drawing import gl, meshes, triangles
from pirig.types import EpisodeSpec
from support import simulators

A, B = EpisodeSpec("libero_goal", 3, 0, 7), EpisodeSpec("libero_goal", 3, 4, 7)
OTHER = EpisodeSpec("libero_goal", 7, 1, 7)  # another task: the scene is built anew


@pytest.mark.parametrize("protocol", ["per-episode", "openpi"])
def test_what_ran_before_changes_neither_states_nor_images(processes, protocol):
    one, two, again, _, back = processes.submit(simulators.outcomes_in_order, [A, B, A, OTHER, A], protocol).result()
    assert one == again == back != two


def test_memory_does_not_grow_with_episodes(processes):
    used = processes.submit(simulators.our_memory, EpisodeSpec("libero_object", 0, 0, 7), 40).result()
    assert used[-1] - used[9] < 4 * 2**20, [value >> 20 for value in used]


RENDERED = [("libero_spatial", 5, "osmesa"), ("libero_90", 50, "egl")]
RENDERED_ALL = [(suite, task) for suite in ("libero_spatial", "libero_object", "libero_goal") for task in range(10)] + [
    *(("libero_10", task) for task in range(10)),
    *(("libero_90", task) for task in range(0, 90, 3)),
]


@pytest.mark.parametrize(("suite", "task_id", "backend"), RENDERED)
def test_images_are_mujocos_own(processes, suite, task_id, backend):
    assert different_images(processes, [(suite, task_id)], backend, looks=4) == []


@pytest.mark.full
@pytest.mark.parametrize("backend", ["osmesa", "egl"])
def test_images_are_mujocos_own_in_every_kind_of_scene(processes, backend):
    assert different_images(processes, RENDERED_ALL, backend, looks=10) == []


def test_where_the_drawing_is_not_mujocos_mujoco_draws(processes):
    logged, equal = processes.submit(simulators.wrong_drawing, A).result()
    assert equal
    assert len(logged) == 1
    assert "pixels are not MuJoCo's under llvmpipe" in logged[0]


def different_images(processes, tasks, backend, looks):
    try:
        gl.choose(backend)
    except StartError as absent:
        pytest.skip(str(absent))
    specs = [EpisodeSpec(suite, task_id, 2, 7) for suite, task_id in tasks]
    futures = {spec.key: processes.submit(simulators.rendered_twice, spec, backend, looks) for spec in specs}
    wrong = []
    for key, future in futures.items():
        pairs = future.result()
        assert len(pairs) == 2 * looks, "pictures, not blanks"
        assert all(ours.std() > 10 for ours, _ in pairs), "pictures, not blanks"
        wrong += [(key, i) for i, (ours, mujocos) in enumerate(pairs) if not np.array_equal(ours, mujocos)]
    return wrong


SIZE = 16  # pixels
SAMPLES = np.array([[0.375, 0.125], [0.875, 0.375], [0.125, 0.625], [0.625, 0.875]])  # llvmpipe's


def flat_mesh(corners):
    """`corners`: float32[F, 3, 3], x and y in pixels, at the depth of z."""
    count = len(corners)
    index = np.arange(3 * count).reshape(count, 3)
    return meshes.Meshes(
        np.zeros((3 * count, 8), np.float32),
        index.astype(np.uint32),
        np.ascontiguousarray(corners.reshape(-1, 3).T),
        index.astype(np.int32),
        np.array([[0, 3 * count]]),
        np.array([[0, count]]),
        np.zeros(1, bool),
    )


def kept(corners, *, turn=1.0):
    """Indices of the triangles that `visible` keeps, seen by a camera for which a point (x, y, z) is at (x, y) / z."""
    mesh = flat_mesh(corners)
    count = len(corners)
    out, runs = np.zeros(3 * count + 9, np.uint32), np.zeros((count // triangles.SEGMENT + 2, 3), np.int64)
    to_pixels = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], np.float32)
    number = triangles.visible(
        np.array([0]),
        to_pixels[None],
        np.array([[0, 0, 0, 1]], np.float32),
        turn,
        0.01,
        SIZE,
        np.array([0.0, 0.0, SIZE, SIZE]),
        SAMPLES,
        mesh.vertices,
        mesh.faces,
        mesh.triangles,
        mesh.vertex_range,
        mesh.face_range,
        np.zeros((3 * count, 2), np.float32),
        np.zeros(3 * count, np.int32),
        out,
        runs,
    )
    return {int(corner) // 3 for _, start, length in runs[:number] for corner in out[start : start + length]}


def samples_in(corners):
    """The samples that a triangle holds when its corners are snapped to 1/256 pixel, in exact arithmetic."""
    snapped = [[fractions.Fraction(round(float(value) * 256), 256) for value in point[:2]] for point in corners]
    (ax, ay), (bx, by), (cx, cy) = snapped
    held = []
    columns, rows = (range(int(min(axis)), int(max(axis)) + 1) for axis in ((ax, bx, cx), (ay, by, cy)))
    for i, j, (sx, sy) in itertools.product(columns, rows, SAMPLES.tolist()):
        x, y = fractions.Fraction(i + sx), fractions.Fraction(j + sy)
        edges = (
            (bx - ax) * (y - ay) - (by - ay) * (x - ax),
            (cx - bx) * (y - by) - (cy - by) * (x - bx),
            (ax - cx) * (y - cy) - (ay - cy) * (x - cx),
        )
        if all(edge >= 0 for edge in edges) and any(edge > 0 for edge in edges):
            held.append((x, y))
    return held


def small_triangles(count, extent):
    rng = np.random.default_rng(5)
    corners = rng.uniform(2, SIZE - 2, (count, 1, 3)) + rng.uniform(-extent, extent, (count, 3, 3))
    corners[..., 2] = 1
    return corners.astype(np.float32)


@pytest.mark.parametrize("extent", [0.1, 0.4, 1.5])
def test_a_triangle_that_holds_a_sample_is_kept(extent):
    corners = small_triangles(600, extent)
    needed = {i for i, triangle in enumerate(corners) if samples_in(triangle)}
    found = kept(corners)
    assert needed <= found
    assert needed
    assert len(found - needed) < 0.2 * len(corners)
    assert len(found) < 0.9 * len(corners)


def test_in_a_mirror_the_other_side_faces_the_camera():
    corners = small_triangles(600, 0.4)
    needed = {i for i, triangle in enumerate(corners) if samples_in(triangle[::-1])}
    assert needed <= kept(corners, turn=-1.0)
    assert not needed <= kept(corners)
