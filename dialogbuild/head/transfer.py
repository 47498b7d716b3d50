"""The 468 face-mesh landmarks on a head that only has the iBUG 68: carried over from the built-in head's face.

The built-in face has landmark i at vertex i. It is aligned by the 68 points that both heads name, bent smoothly until
they meet, drawn to the surface, and every landmark becomes the closest point of a triangle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from dialogbuild.head.model import Embedding

Array = NDArray[np.float64]
INNER = np.arange(17, 68)
"""Of the 68: without the outline, which every markup draws elsewhere."""
_CHIN = 8
_CANDIDATES = 40
_ROUNDS = 3
_DRAWN = 1e-3  # smoothing of the pull towards the surface: follows shapes of a centimetre, not single points


def similarity(source: Array, target: Array) -> tuple[float, Array, Array]:
    """``scale, R (3, 3), t (3,)`` for which ``scale * source @ R.T + t`` is closest to ``target`` (N, 3).

    Source: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991).
    """
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((s * sign).sum() / (a**2).sum())
    return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def bend(points: Array, anchors: Array, targets: Array) -> Array:
    """Carry points (N, 3) with the thin-plate spline that takes anchors (K, 3) to targets (K, 3)."""
    return np.asarray(points + RBFInterpolator(anchors, targets - anchors, kernel="thin_plate_spline")(points))


def closest_points(points: Array, corners: Array, ids: NDArray[Any]) -> tuple[NDArray[np.int64], Array]:
    """Rows of ``ids`` and barycentric weights (N, 3) of the closest point of triangles (F, 3, 3) to points (N, 3).

    Args:
        ids: (K,) the triangles that may be chosen. The nearest few by centre are measured exactly.
    """
    tree = cKDTree(corners[ids].mean(1))
    near = tree.query(points, k=min(_CANDIDATES, len(ids)))[1].reshape(len(points), -1)
    bary = _barycentric(points[:, None], corners[ids[near]])
    at = np.einsum("nkc,nkcx->nkx", bary, corners[ids[near]])
    best = np.linalg.norm(at - points[:, None], axis=-1).argmin(1)
    rows = np.arange(len(points))
    return ids[near[rows, best]], bary[rows, best]


def _barycentric(points: Array, corners: Array) -> Array:
    """Weights (..., 3) of the closest point of a triangle: in its plane, or on the nearest of its three edges."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    e1, e2, d = b - a, c - a, points - a
    g11, g12, g22 = (e1 * e1).sum(-1), (e1 * e2).sum(-1), (e2 * e2).sum(-1)
    det = np.maximum(g11 * g22 - g12**2, 1e-30)
    p1, p2 = (d * e1).sum(-1), (d * e2).sum(-1)
    s, t = (g22 * p1 - g12 * p2) / det, (g11 * p2 - g12 * p1) / det
    inside = np.stack([1 - s - t, s, t], -1)
    options = [inside]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, edge = corners[..., i, :], corners[..., j, :] - corners[..., i, :]
        along = ((points - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-30)
        weight = np.zeros_like(inside)
        weight[..., j] = np.clip(along, 0, 1)
        weight[..., i] = 1 - weight[..., j]
        options.append(weight)
    distance = np.stack([np.linalg.norm((w[..., None] * corners).sum(-2) - points, axis=-1) for w in options], -1)
    distance[..., 0] = np.where(inside.min(-1) >= 0, distance[..., 0], np.inf)
    best = distance.argmin(-1)
    return np.asarray(np.take_along_axis(np.stack(options, -2), best[..., None, None], -2)[..., 0, :])


def carry_landmarks(
    face: Array,
    ibug: NDArray[Any],
    target68: Array,
    vertices: Array,
    faces: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    keep_out: dict[int, NDArray[np.bool_]],
) -> Embedding:
    """Embedding of the face-mesh landmarks.

    Args:
        face: (N, 3) the face whose landmarks are known, any unit and pose.
        ibug: (68,) which of its points the iBUG landmarks are.
        target68: (68, 3) the same landmarks on the other head.
        vertices, faces: the other head, (V, 3) and (F, 3).
        allowed: (F,) the triangles of its face.
        keep_out: for some landmarks the (F,) triangles they must not be on, such as the other lip.

    Returns:
        N rows in order of the landmarks.
    """
    scale, rotation, shift = similarity(face[ibug[INNER]], target68[INNER])
    points = scale * face @ rotation.T + shift
    anchors = np.append(INNER, _CHIN)
    points = bend(points, points[ibug[anchors]], target68[anchors])
    corners = vertices[faces].astype(np.float64)
    everywhere = np.flatnonzero(allowed)
    for _ in range(_ROUNDS):
        triangle, bary = closest_points(points, corners, everywhere)
        pull = np.einsum("nc,ncx->nx", bary, corners[triangle]) - points
        points = points + RBFInterpolator(points, pull, kernel="thin_plate_spline", smoothing=_DRAWN)(points)
    triangle, bary = closest_points(points, corners, everywhere)
    for k, out in keep_out.items():
        ids = np.flatnonzero(allowed & ~out)
        triangle[k : k + 1], bary[k : k + 1] = closest_points(points[k : k + 1], corners, ids)
    return Embedding(triangle.astype(np.int32), bary.astype(np.float32), np.arange(len(face), dtype=np.int32))
