"""Hold as tables what MuJoCo passes to OpenGL for meshes, without duplicates.

MuJoCo does so in render_context.c, mjr_uploadMesh.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Meshes:
    """`Meshes` holds the meshes of a whole model."""

    corners: np.ndarray  # float32[C, 8], distinct: texture coordinate (2), normal (3), position (3)
    triangles: np.ndarray  # uint32[F, 3], indices of corners
    vertices: np.ndarray  # float32[3, V]
    faces: np.ndarray  # int32[F, 3], indices of vertices
    vertex_range: np.ndarray  # int64[M, 2] by mesh: first, count
    face_range: np.ndarray  # int64[M, 2]
    textured: np.ndarray  # bool[M]: has texture coordinates


def meshes_of(model: Any) -> Meshes:
    triangles = np.empty((len(model.mesh_face), 3), np.uint32)
    faces = np.empty((len(model.mesh_face), 3), np.int32)
    corners, vertices = [np.empty((0, 8), np.float32)], [np.empty((0, 3), np.float32)]
    corner_count = vertex_count = 0
    vertex_range = np.empty((model.nmesh, 2), np.int64)
    for mesh in range(model.nmesh):
        rows = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + model.mesh_facenum[mesh])
        positions = model.mesh_vert[model.mesh_face[rows] + model.mesh_vertadr[mesh]]
        table, index = _distinct(_corners(model, mesh, positions, rows))
        triangles[rows] = index.reshape(-1, 3) + corner_count
        corners.append(table)
        corner_count += len(table)
        table, index = _distinct(positions)
        faces[rows] = index.reshape(-1, 3) + vertex_count
        vertices.append(table)
        vertex_range[mesh] = vertex_count, len(table)
        vertex_count += len(table)
    return Meshes(
        np.concatenate(corners),
        triangles,
        np.ascontiguousarray(np.concatenate(vertices).T),
        faces,
        vertex_range,
        np.stack((model.mesh_faceadr, model.mesh_facenum), axis=1).astype(np.int64),
        model.mesh_texcoordadr >= 0,
    )


def _corners(model: Any, mesh: int, positions: np.ndarray, rows: slice) -> np.ndarray:
    """Return the corners of a mesh's triangles, float32[F, 3, 8].

    `positions`: float32[F, 3, 3]; `rows`: the mesh's part of the model's faces.
    """
    normals = model.mesh_normal[model.mesh_facenormal[rows] + model.mesh_normaladr[mesh]]
    table = np.zeros((*positions.shape[:2], 8), np.float32)
    table[..., 5:] = positions
    if model.mesh_texcoordadr[mesh] >= 0:
        table[..., :2] = model.mesh_texcoord[model.mesh_facetexcoord[rows] + model.mesh_texcoordadr[mesh]]
        table[..., 2:5] = normals
    else:  # without a texture, edges sharper than 37 degrees are drawn flat
        flat = _face_normals(positions)[:, None]
        along = normals[..., 0] * flat[..., 0] + normals[..., 1] * flat[..., 1] + normals[..., 2] * flat[..., 2]
        table[..., 2:5] = np.where((along < 0.8)[..., None], flat, normals)
    return table


def _distinct(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows (last axis), and for each row its index among them, flat.

    OBJ files repeat a vertex for each of its faces. The rows are in order of first use, so that neighbours in a mesh
    are neighbours in memory.
    """
    rows = np.ascontiguousarray(table.reshape(-1, table.shape[-1]))
    as_bytes = rows.view(np.dtype((np.void, rows.strides[0]))).ravel()
    _, where, index = np.unique(as_bytes, return_index=True, return_inverse=True)
    order = np.argsort(where)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[where[order]], rank[index.ravel()]


def _face_normals(positions: np.ndarray) -> np.ndarray:
    """Return the normals of faces, float32[F, 3], with the order of operations of render_util.c, mjr_makeNormal."""
    a, b = (positions[:, i] - positions[:, 0] for i in (1, 2))
    normal = np.stack([a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=1)
    length = np.sqrt(normal[:, 0] * normal[:, 0] + normal[:, 1] * normal[:, 1] + normal[:, 2] * normal[:, 2])
    scale = np.float32(1) / np.where(length < np.float32(1e-10), np.float32(1), length)
    return np.where((length < np.float32(1e-10))[:, None], np.array([0, 0, 1], np.float32), normal * scale[:, None])
