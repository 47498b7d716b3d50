"""Which surface points can be compared with a picture: seen by the camera, not grazing, not at an occlusion edge.

A z-buffer of the posed head decides. Points within about two pixels of a place where the picture jumps from one part
of the surface to another (lids, lips, nostrils, outline) are left out: there a pixel shows two surfaces, and comparing
it would pull the fit (they were the largest error of the photometric term in every study of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np

from dialogbuild.fit.cover import Cover
from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.rig import TRANSL, Posed, Rig, build_rig, pose_points, project_points
from dialogbuild.fit.surface import Surface
from dialogbuild.head.model import Embedding, HeadModel
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.shading import vertex_normals

Array = np.ndarray[Any, np.dtype[Any]]
_ENGINE = NumbaRasterizer()
_DEPTH_SLACK_M = 0.002
_EDGE_SLACK_M = 0.0015
_EDGE_REACH_PX = 2
_MIN_COSINE = 0.25
_CHUNK_FRAMES = 16


@dataclass(frozen=True, eq=False)
class Mesh:
    """The occluding part of a person's head: a rig of its V' vertices, and what marks its edges."""

    rig: Rig
    joints_only: Rig
    faces: Array
    part: Array
    lip: Array
    rest_m: Array


def build_mesh(model: HeadModel, surface: Surface, shape: Array) -> Mesh:
    """The mesh of one person, shape (S,)."""
    ids = surface.vertices
    first_face = np.zeros(model.n_vertices, np.int64)
    corner = np.zeros(model.n_vertices, np.int64)
    flat = np.asarray(model.faces)
    for k in range(3):
        first_face[flat[:, k]], corner[flat[:, k]] = np.arange(len(flat)), k
    embedding = Embedding(
        first_face[ids].astype(np.int32), np.eye(3, dtype=np.float32)[corner[ids]], np.arange(len(ids), dtype=np.int32)
    )
    rig = build_rig(model, embedding).with_shape(shape)
    return Mesh(rig, rig.subset(np.arange(1)), surface.faces, surface.part, surface.lip, surface.rest_m)


def posed_mesh_cam(mesh: Mesh, theta: Array) -> Array:
    """Vertices (n, V', 3) float32 in camera axes, metres."""
    rig, n = mesh.rig, len(theta)
    base: Posed = pose_points(mesh.joints_only, theta)
    psi = theta[:, N_RIGID:].astype(np.float32)
    count = rig.n_points
    v = psi @ rig.expr[0].reshape(count * 3, -1).T
    if rig.pose is not None:
        feature: Array = (base.R[:, 1:] - np.eye(3, dtype=base.R.dtype)).reshape(n, 36)
        v += feature @ rig.pose[0].reshape(count * 3, 36).T
    offset = base.p - np.einsum("njab,njb->nja", base.R_global, base.joints)
    out = np.empty((n, count, 3), np.float32)
    transl = theta[:, 3:6].astype(np.float32)
    _skin(v.reshape(n, count, 3), rig.v[0], rig.w[0], base.R_global, offset.astype(np.float32), transl, out)
    return out


@nb.njit(cache=True, fastmath=True)
def _skin(moved, rest, weights, R, offset, transl, out):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    for f in range(moved.shape[0]):
        for i in range(rest.shape[0]):
            x, y, z = rest[i, 0] + moved[f, i, 0], rest[i, 1] + moved[f, i, 1], rest[i, 2] + moved[f, i, 2]
            a = b = c = np.float32(0)
            for j in range(weights.shape[1]):
                w = weights[i, j]
                if w == 0:
                    continue
                a += w * (R[f, j, 0, 0] * x + R[f, j, 0, 1] * y + R[f, j, 0, 2] * z + offset[f, j, 0])
                b += w * (R[f, j, 1, 0] * x + R[f, j, 1, 1] * y + R[f, j, 1, 2] * z + offset[f, j, 1])
                c += w * (R[f, j, 2, 0] * x + R[f, j, 2, 1] * y + R[f, j, 2, 2] * z + offset[f, j, 2])
            out[f, i, 0] = a + transl[f, 0]
            out[f, i, 1] = -one * b + transl[f, 1]
            out[f, i, 2] = -one * c + transl[f, 2]


@dataclass(frozen=True, eq=False)
class View:
    """What n frames see of the N points.

    Attributes:
        weight: (n, N) float32 in [0, 1]; 0 = not to be compared.
        normals: (n, N, 3) float32, unit, camera axes.
    """

    weight: Array
    normals: Array


def uncovered(view: View, cover: Cover, rig: Rig, theta: Array, camera: tuple[float, float, float]) -> View:
    """The view without points that something is in front of.

    Args:
        cover: of the n frames, placed in the picture;  rig: of the points, shape applied;  theta: (n, P).
        camera: of the picture.
    """
    at = np.flatnonzero(cover.any())
    if not len(at):
        return view
    pixels, _ = project_points(pose_points(rig, theta[at]).points, theta[at, TRANSL], camera)
    weight = view.weight.copy()
    weight[at] *= ~cover[at].hides(pixels)
    return View(weight, view.normals)


def view_points(mesh: Mesh, surface: Surface, theta: Array, cameras: Array, bounds: Array, side_px: int) -> View:
    """Visibility and normals of a person's points at theta (n, P).

    Args:
        cameras: (n, 3) focal_px, cx_px, cy_px of each window;  bounds: (n, 4) the window's part that shows the picture.
    """
    n = len(theta)
    weight, normals = np.zeros((n, surface.n_points), np.float32), np.zeros((n, surface.n_points, 3), np.float32)
    for start in range(0, n, _CHUNK_FRAMES):
        vertices = posed_mesh_cam(mesh, theta[start : start + _CHUNK_FRAMES])
        for k, v in enumerate(vertices, start):
            focal, cx, cy = (float(x) for x in cameras[k])
            projected = np.empty_like(v)
            _project(v, focal, cx, cy, projected)
            fragments = _ENGINE.rasterize(projected, mesh.faces, (side_px, side_px))
            edge_m = 4.0 * float(np.median(v[:, 2])) / focal + _EDGE_SLACK_M
            _point_view(
                v, vertex_normals(v, mesh.faces), surface.local, surface.bary, focal, cx, cy,
                fragments.face_id, fragments.depth, mesh.part, mesh.lip, mesh.rest_m, edge_m,
                bounds[k], weight[k], normals[k],
            )  # fmt: skip
    return View(weight, normals)


@nb.njit(cache=True, fastmath=True)
def _project(v, focal, cx, cy, out):  # type: ignore[no-untyped-def]
    for i in range(v.shape[0]):
        z = max(v[i, 2], 1e-3)
        out[i, 0], out[i, 1], out[i, 2] = focal * v[i, 0] / z + cx, focal * v[i, 1] / z + cy, v[i, 2]


@nb.njit(cache=True)
def _at_edge(face_id, part, lip, rest, edge_m, row, column):  # type: ignore[no-untyped-def]
    """Whether another surface is shown within the reach of this pixel."""
    height, width = face_id.shape
    here = face_id[row, column]
    for dy in range(-_EDGE_REACH_PX, _EDGE_REACH_PX + 1):
        for dx in range(-_EDGE_REACH_PX, _EDGE_REACH_PX + 1):
            if abs(dx) + abs(dy) > _EDGE_REACH_PX:
                continue
            there = face_id[min(max(row + dy, 0), height - 1), min(max(column + dx, 0), width - 1)]
            if there == here:
                continue
            if there < 0 or part[there] != part[here] or lip[there] * lip[here] == 2:
                return True
            for c in range(3):
                if abs(rest[there, c] - rest[here, c]) > edge_m:
                    return True
    return False


@nb.njit(cache=True)
def _point_view(  # type: ignore[no-untyped-def]
    v, vertex_normal, local, bary, focal, cx, cy, face_id, depth, part, lip, rest, edge_m, bounds, weight, normals
):
    for k in range(local.shape[0]):
        x = y = z = n0 = n1 = n2 = 0.0
        for c in range(3):
            i, b = local[k, c], bary[k, c]
            x += b * v[i, 0]
            y += b * v[i, 1]
            z += b * v[i, 2]
            n0 += b * vertex_normal[i, 0]
            n1 += b * vertex_normal[i, 1]
            n2 += b * vertex_normal[i, 2]
        length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-12
        n0, n1, n2 = n0 / length, n1 / length, n2 / length
        normals[k, 0], normals[k, 1], normals[k, 2] = n0, n1, n2
        if z <= 1e-3:
            continue
        column, row = int(np.floor(focal * x / z + cx)), int(np.floor(focal * y / z + cy))
        if column < bounds[0] + 2 or row < bounds[1] + 2 or column >= bounds[2] - 2 or row >= bounds[3] - 2:
            continue
        if face_id[row, column] < 0 or z > depth[row, column] + _DEPTH_SLACK_M:
            continue
        cosine = -(x * n0 + y * n1 + z * n2) / np.sqrt(x * x + y * y + z * z)
        if cosine <= _MIN_COSINE or _at_edge(face_id, part, lip, rest, edge_m, row, column):
            continue
        weight[k] = min(1.0, 2.5 * (cosine - _MIN_COSINE))
