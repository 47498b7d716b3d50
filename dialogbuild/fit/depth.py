"""Weak evidence from the detector's relative depths: how a head nods, not where it looks on average.

Fitted to two-dimensional landmarks alone, heads nod too little: on rendered heads with known pose the fitted pitch
follows the true one with a slope of about 0.8, while the landmarks' own depths follow it with 1.1. The depths' shape,
however, is the detector's and not the person's. So each landmark's mean difference to the fitted head over the clip is
taken as a constant of the detector, and only what changes in time is evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.kernel import weighted_rows
from dialogbuild.fit.normal import NormalEquations, Robust
from dialogbuild.fit.regions import LEFT_BROW, LEFT_EYE, NOSE, OVAL, RIGHT_BROW, RIGHT_EYE
from dialogbuild.fit.rig import TRANSL, Rig, pose_points

Array = np.ndarray[Any, np.dtype[Any]]
# Points that move little with expression: their depths speak of the head, not of the mouth.
RIGID = (*NOSE, *OVAL, *LEFT_BROW, *RIGHT_BROW, *LEFT_EYE[:1], *LEFT_EYE[8:9], *RIGHT_EYE[:1], *RIGHT_EYE[8:9])
_CHUNK_FRAMES = 32


@dataclass(frozen=True, eq=False)
class DepthBlock:
    """Depths of the rigid landmarks relative to their mean, as seen by the detector. K = points, T = frames.

    Attributes:
        rig: the K points.
        target_px: (T, K) relative depths, positive away from the camera, the detector's constants taken off.
        px_per_m: (T,) scale of the picture at the head;  inv_sigma: (T,) 1/px.
        information: factor on all information, because depths are not independent.
    """

    rig: Rig
    target_px: Array
    px_per_m: Array
    inv_sigma: Array
    robust: Robust
    information: float

    def cost(self, theta: Array, frames: Array) -> Array:
        """Robust cost (n,) of theta (n, P) for the clip's frames (n,)."""
        r = (self.relative_depth_px(theta, frames) - self.target_px[frames]) * self.inv_sigma[frames, None]
        return np.asarray(self.information * self.robust.cost(r**2, 1).sum(axis=1))

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        """Gauss-Newton normal equations of theta (n, P) for the clip's frames (n,)."""
        n, P = theta.shape
        H, g, cost = np.empty((n, P, P)), np.empty((n, P)), np.empty(n)
        for start in range(0, n, _CHUNK_FRAMES):
            part = slice(start, start + _CHUNK_FRAMES)
            at = frames[part]
            s = self.inv_sigma[at, None]
            r = (self.relative_depth_px(theta[part], at) - self.target_px[at]) * s
            w = np.sqrt(self.information * self.robust.weight(r**2, 1))
            J = self._rows(theta[part], at) * (s * w)[..., None]
            H[part] = J.transpose(0, 2, 1) @ J
            g[part] = np.einsum("nkp,nk->np", J, r * w)
            cost[part] = self.information * self.robust.cost(r**2, 1).sum(axis=1)
        return NormalEquations(H, g, cost)

    def relative_depth_px(self, theta: Array, frames: Array) -> Array:
        """(n, K) depths of the posed points minus their mean, in px of the picture."""
        depth = -pose_points(self.rig, theta).points[..., 2].astype(np.float64)
        return np.asarray((depth - depth.mean(axis=1, keepdims=True)) * self.px_per_m[frames, None])

    def _rows(self, theta: Array, frames: Array) -> Array:
        """Derivative of ``relative_depth_px`` by theta, (n, K, P)."""
        posed = pose_points(self.rig, theta)
        n, K = posed.points.shape[:2]
        D = np.zeros((n, K, 2, 3), posed.points.dtype)
        D[:, :, 0, 2] = 1.0
        out = np.empty((n, K, 2, self.rig.size), posed.points.dtype)
        scale = np.repeat(self.px_per_m[frames, None], K, axis=1).astype(posed.points.dtype)
        weighted_rows(self.rig, theta, posed, D, np.zeros((0, 2), np.int64), scale, out)
        rows = out[:, :, 0].astype(np.float64)
        return np.asarray(rows - rows.mean(axis=1, keepdims=True))


def depth_block(
    rig: Rig,
    theta: Array,
    z_px: Array,
    focal_px: float,
    face_px: Array,
    sigma: float,
    robust: Robust,
    information: float,
) -> DepthBlock | None:
    """Pair the rigid points with detected depths, given a first fit of all frames. None if there are too few points.

    Args:
        theta: (T, P) first fit, from two dimensions.
        z_px: (T, 478) detected depths, smaller = nearer.
        face_px: (T,) outer-eye distance at zero yaw;  sigma: of a depth, as a fraction of it.
    """
    rows = np.flatnonzero(np.isin(rig.index, RIGID))
    if len(rows) < 8:
        return None
    points = rig.subset(rows)
    z = z_px[:, points.index].astype(np.float64)
    z = z - z.mean(axis=1, keepdims=True)
    scale = focal_px / np.maximum(theta[:, TRANSL][:, 2], 1e-3)
    block = DepthBlock(points, z, scale, 1.0 / (sigma * np.maximum(face_px, 1.0)), robust, information)
    offset = (z - block.relative_depth_px(theta, np.arange(len(theta)))) / face_px[:, None]
    target = z - np.median(offset, axis=0) * face_px[:, None]
    return DepthBlock(points, target, scale, block.inv_sigma, robust, information)
