"""Pixels as evidence: each visible surface point should show the colour that the person's look predicts there.

The three colour residuals of a point depend on the parameters only through where the point lies in the picture. Their
weighted normal equations therefore collapse, exactly, to two rows per point: with M = sum_c w g_c g_c^T = L L^T (g_c
the gradient of channel c, w the robust weight) and D the derivative of the pixel by the parameters, J^T J = (L^T D)^T
(L^T D) and J^T r = (L^T D)^T L^-1 sum_c w g_c r_c. Visibility and shading are held while a level is solved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.normal import NormalEquations
from dialogbuild.fit.photometric_kernel import point_colours, point_rows, pose_surface
from dialogbuild.fit.rig import Rig

Array = np.ndarray[Any, np.dtype[Any]]
_CHUNK_FRAMES = 16


@dataclass(frozen=True)
class PhotometricNoise:
    """How far a pixel may be from the predicted colour, in display units (0 to 1).

    Attributes:
        skin: noise, coding and what shading misses from frame to frame.
        eye: the same on an eyeball, where reflections move over the texture.
        dof: tails of the Student-t; occluders and shadows lie there.
        independence: neighbouring pixels err together; this share of the information counts.
    """

    skin: float = 0.02
    eye: float = 0.15
    dof: float = 4.0
    independence: float = 0.1

    def sigma(self, eye: Array) -> Array:
        """(N,) float32 per point."""
        return np.where(eye, self.eye, self.skin).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PhotometricBlock:
    """A person's surface points against n windows at one level of the image pyramid. See ``normal.ResidualBlock``.

    Attributes:
        rig: N points, shape applied, one corner each.
        cameras: (n, 3) focal_px, cx_px, cy_px of the windows at full resolution.
        images: (n, R, R, 3) uint8 or float32 in 0..255, halved ``level`` times.
        weight: (n, N) from ``visibility``;  target: (n, N, 3) float32 display values;  sigma: (N,).
    """

    rig: Rig
    cameras: Array
    images: Array
    level: int
    weight: Array
    target: Array
    sigma: Array
    dof: float
    independence: float

    def cost(self, theta: Array, frames: Array) -> Array:
        """Robust cost (n,) of theta (n, P) for the windows ``frames`` (n,)."""
        out = np.empty(len(theta))
        for part in _chunks(len(theta)):
            posed = pose_surface(self.rig, theta[part], derivatives=False)
            for k, frame in enumerate(frames[part]):
                out[part.start + k] = point_rows(self, posed, k, int(frame), None, None)[1]
        return out

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        """Gauss-Newton normal equations of theta (n, P) for the windows ``frames`` (n,)."""
        n, P = theta.shape
        H, g, cost = np.empty((n, P, P)), np.empty((n, P)), np.empty(n)
        J = np.empty((2 * self.rig.n_points, P), np.float32)
        r = np.empty(2 * self.rig.n_points, np.float32)
        for part in _chunks(n):
            posed = pose_surface(self.rig, theta[part])
            for k, frame in enumerate(frames[part], part.start):
                rows, cost[k] = point_rows(self, posed, k - part.start, int(frame), J, r)
                H[k] = J[:rows].T @ J[:rows]
                g[k] = r[:rows] @ J[:rows]
        return NormalEquations(H, g, cost)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(a, min(a + _CHUNK_FRAMES, n)) for a in range(0, n, _CHUNK_FRAMES))


@dataclass(frozen=True, eq=False)
class ColourError:
    """How well the predicted colours match, per window.

    Attributes:
        l1: mean absolute difference in display units (0 to 1);  psnr_db: peak signal-to-noise ratio; both over the
            visible skin.
        outliers: share of it that is more than five sigmas away (at most one in a thousand by chance).
    """

    l1: Array
    psnr_db: Array
    outliers: Array


def colour_error(block: PhotometricBlock, theta: Array) -> ColourError:
    """Compare colours at theta (n, P), for all n windows of a block at level 0."""
    n = len(theta)
    l1, psnr, outliers = np.zeros(n), np.zeros(n), np.zeros(n)
    skin = block.sigma <= block.sigma.min()
    colours = np.empty((block.rig.n_points, 3), np.float32)
    for part in _chunks(n):
        posed = pose_surface(block.rig, theta[part], derivatives=False)
        for k in range(part.start, part.stop):
            point_colours(block, posed, k - part.start, k, colours)
            on = skin & (block.weight[k] > 0) & (colours[:, 0] >= 0)
            if on.any():
                r = (colours[on] - block.target[k, on]).astype(np.float64)
                l1[k] = np.abs(r).mean()
                psnr[k] = -10 * np.log10(max(float((r**2).mean()), 1e-10))
                outliers[k] = (np.abs(r).max(axis=1) > 5 * block.sigma[on]).mean()
    return ColourError(l1, psnr, outliers)
