"""A closed-form head pose for every frame: nothing is carried over from the frame before.

POSIT (DeMenthon and Davis, IJCV 1995): a scaled-orthographic pose by linear least squares, then the perspective
correction of each point's depth, a few times. The least-squares operator depends on the head only, so that all
frames share one small matrix product per round.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dialogbuild.fit.regions import OUTER_EYE_CORNERS, LandmarkNoise
from dialogbuild.fit.rig import Rig
from dialogbuild.head.camera import CAM_FROM_HEAD
from dialogbuild.head.rotation import log_so3

Array = np.ndarray[Any, np.dtype[Any]]


def posit(
    points_m: Array, weights: Array, pixels: Array, camera: tuple[float, float, float], rounds: int = 4
) -> tuple[Array, Array]:
    """Rigid poses from point correspondences.

    Args:
        points_m: (N, 3) neutral head points relative to the root joint, head axes.
        weights: (N,) least-squares weights, >= 0.
        pixels: (T, N, 2).
        camera: focal_px, cx_px, cy_px.

    Returns:
        root_rad (T, 3), and the position of the root joint in camera axes (T, 3) metres.

    Raises:
        ValueError: the points are too few or coplanar.
    """
    focal, cx, cy = camera
    model = points_m.astype(np.float64) @ CAM_FROM_HEAD
    A = np.concatenate([model, np.ones((len(model), 1))], axis=1)  # (N, 4)
    w = np.sqrt(weights)[:, None]
    if np.linalg.matrix_rank(A * w, tol=1e-6 * np.linalg.norm(A * w)) < 4:
        raise ValueError("a pose needs at least four landmarks that are not in one plane")
    operator = np.linalg.pinv(A * w) * w.T  # (4, N)
    x = (pixels.astype(np.float64) - [cx, cy]) / focal
    bend = np.zeros(x.shape[:2])  # z_n / z_root - 1
    for _ in range(rounds):
        affine = np.einsum("kn,tnc->tck", operator, x * (1 + bend)[..., None])  # (T, 2, 4)
        R, scale = _nearest_rotation(affine[..., :3])
        bend = np.einsum("tb,nb->tn", R[:, 2], model) * scale[:, None]
    depth = 1.0 / scale
    transl = np.concatenate([affine[..., 3], np.ones((len(x), 1))], axis=1) * depth[:, None]
    return log_so3(CAM_FROM_HEAD @ R @ CAM_FROM_HEAD), transl


def _nearest_rotation(affine: Array) -> tuple[Array, Array]:
    """The rotation and scale nearest to scaled first two rows (T, 2, 3): R (T, 3, 3), scale (T,)."""
    U, s, Vt = np.linalg.svd(affine, full_matrices=False)
    rows = U @ Vt
    third = np.cross(rows[:, 0], rows[:, 1])
    return np.concatenate([rows, third[:, None]], axis=1), np.maximum(s.mean(axis=1), 1e-9)


def start_pose(rig: Rig, camera: tuple[float, float, float], landmarks_px: Array) -> tuple[Array, Array]:
    """Closed-form theta (T, P) with neutral expression, and face size (T,) px at zero yaw, from (T, 478, 2)."""
    weights = 1.0 / LandmarkNoise().fractions()[rig.index] ** 2
    neutral = rig.neutral()
    root, origin = posit(neutral, weights, landmarks_px[:, rig.index], camera)
    theta = np.zeros((len(root), rig.size))
    theta[:, :3] = root
    theta[:, 3:6] = origin - rig.joints[0].astype(np.float64) * [1.0, -1.0, -1.0]
    return theta, camera[0] / origin[:, 2] * face_size_m(rig)


def face_size_m(rig: Rig) -> float:
    """Outer-eye distance of the neutral head in metres; the mean over all points stands in where it has no corners."""
    row = {int(i): k for k, i in enumerate(rig.index)}
    neutral = rig.neutral()
    if all(i in row for i in OUTER_EYE_CORNERS):
        a, b = (neutral[row[i]] for i in OUTER_EYE_CORNERS)
        return float(np.linalg.norm(a - b))
    return float(2.5 * neutral[:, 0].std())
