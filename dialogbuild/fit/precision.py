"""Posterior standard deviations in millimetres, from the covariance of a smoothed trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dialogbuild.fit.jacobian import frame_jacobian
from dialogbuild.fit.regions import LIPS_OUTER, NOSE, OVAL, REGIONS
from dialogbuild.fit.rig import Rig, pose_points
from dialogbuild.fit.smoother import Trajectory

Array = np.ndarray[Any, np.dtype[Any]]
# Points of the whole face, evenly thinned: outline, nose, brows, lids, lips.
_FACE = (*OVAL[::6], *NOSE[::6], *REGIONS["brows"][::5], *REGIONS["eyes"][::8], *LIPS_OUTER[::5])
_CHUNK_FRAMES = 64


def gap_sigma_mm(rig: Rig, trajectory: Trajectory, pairs: Sequence[tuple[int, int]]) -> Array:
    """Of the opening between landmark pairs, along the head's vertical, (T,) mm; the root mean square over pairs."""
    row = {int(i): k for k, i in enumerate(rig.index)}
    total = np.zeros(len(trajectory.theta))
    known = [(a, b) for a, b in pairs if a in row and b in row]
    for a, b in known:
        J, R = _point_jacobian(rig.subset(np.array([row[a], row[b]])), trajectory.theta)
        up = R[:, :, 1] * np.array([1.0, -1.0, -1.0])
        functional = np.einsum("nc,ncp->np", up, J[:, 0] - J[:, 1])[:, trajectory.free]
        total += _variance(functional[:, None], trajectory)[:, 0]
    return np.asarray(1e3 * np.sqrt(total / max(len(known), 1)))


def face_sigma_mm(rig: Rig, trajectory: Trajectory) -> Array:
    """Of a face point per axis, in the head's own frame (jaw, eyes and expression; no pose), (T,) mm."""
    rows = np.flatnonzero(np.isin(rig.index, _FACE))
    if not len(rows):
        return np.zeros(len(trajectory.theta))
    part, out = rig.subset(rows), np.zeros(len(trajectory.theta))
    for start in range(0, len(out), _CHUNK_FRAMES):
        t = slice(start, start + _CHUNK_FRAMES)
        J, _ = _point_jacobian(part, trajectory.theta[t])
        J[..., :9] = 0.0  # root, translation, neck
        functional = J.reshape(len(J), -1, J.shape[-1])[..., trajectory.free]
        chunk = Trajectory(trajectory.theta[t], trajectory.covariance[t], trajectory.free)
        out[t] = 1e3 * np.sqrt(_variance(functional, chunk).mean(axis=1))
    return out


def _point_jacobian(rig: Rig, theta: Array) -> tuple[Array, Array]:
    """Camera coordinates of the points by theta, (n, N, 3, P) float64, and the skull's rotation (n, 3, 3)."""
    posed = pose_points(rig, theta)
    D = np.broadcast_to(np.eye(3, dtype=rig.v.dtype), (len(theta), rig.n_points, 3, 3))
    J = np.empty((len(theta), rig.n_points, 3, rig.size), rig.v.dtype)
    frame_jacobian(rig, theta, posed, D, J)
    return J.astype(np.float64), posed.R_global[:, 1]


def _variance(functional: Array, trajectory: Trajectory) -> Array:
    """(n, K) variances of K linear functions (n, K, free) of each frame's parameters."""
    moved = functional @ trajectory.covariance
    return np.asarray(np.maximum(np.einsum("nkp,nkp->nk", moved, functional), 0.0))
