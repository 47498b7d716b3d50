"""Landmark evidence: projected points, lid gaps and lip gaps against their detections, in robust normal equations.

Residuals are whitened by a sigma per landmark and frame. A gap is the difference of two opposite landmarks; it has a
smaller sigma than its two ends, because an error that both share cancels. That is what closes lids and lips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.jacobian import shared_jacobian
from dialogbuild.fit.kernel import weighted_rows
from dialogbuild.fit.normal import NormalEquations, Robust
from dialogbuild.fit.regions import LEFT_LID_PAIRS, LIP_PAIRS, RIGHT_LID_PAIRS, LandmarkNoise
from dialogbuild.fit.rig import TRANSL, Posed, Rig, pose_points, project_points
from dialogbuild.head.rotation import rodrigues

Array = np.ndarray[Any, np.dtype[Any]]
_CHUNK_FRAMES = 32  # amortises the calls of numpy; the Jacobian of a chunk takes 7 MB


@dataclass(frozen=True, eq=False)
class LandmarkBlock:
    """Detected landmarks of one person over the T frames of a clip.

    Attributes:
        rig: the person's landmark points (N), shape applied.
        camera: focal_px, cx_px, cy_px.
        target_px: (T, N, 2), in the order of the rig's points.
        inv_sigma: (T, N) 1/px; 0 = this landmark says nothing in this frame.
        gaps: (G, 2) rows of the rig whose difference is measured;  gap_inv_sigma: (T, G) 1/px.
        information: factor on all information, because landmarks are not independent.
    """

    rig: Rig
    camera: tuple[float, float, float]
    target_px: Array
    inv_sigma: Array
    gaps: Array
    gap_inv_sigma: Array
    robust: Robust
    information: float

    def cost(self, theta: Array, frames: Array) -> Array:
        """Robust cost (n,) of theta (n, P) for the clip's frames (n,)."""
        out = np.empty(len(theta))
        for part in _chunks(len(theta)):
            posed = pose_points(self.rig, theta[part])
            pixels, _ = project_points(posed.points, theta[part, TRANSL], self.camera)
            r, s = self._residuals(pixels, frames[part])
            out[part] = self._cost(r, s)
        return out

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        """Gauss-Newton normal equations of theta (n, P) for the clip's frames (n,)."""
        n, P = theta.shape
        H, g, cost = np.empty((n, P, P)), np.empty((n, P)), np.empty(n)
        buffer = np.empty((min(n, _CHUNK_FRAMES), self.rig.n_points + len(self.gaps), 2, P), self.rig.v.dtype)
        for part in _chunks(n):
            J, r, cost[part], _ = self.weighted_rows(theta[part], frames[part], buffer)
            H[part] = J.transpose(0, 2, 1) @ J
            g[part] = np.einsum("nrp,nr->np", J, r)
        return NormalEquations(H, g, cost)

    def weighted_rows(
        self, theta: Array, frames: Array, buffer: Array | None = None, shared: bool = False
    ) -> tuple[Array, Array, Array, Array | None]:
        """Rows scaled so that their plain least-squares normal equations are the robust ones.

        Args:
            buffer: (>= n, N + G, 2, P) to write the rows into; what is returned is a view of it.
            shared: also give the rows of shape and log focal length.

        Returns:
            J (n, R, P), r (n, R), cost (n,), and with ``shared`` the rows (n, R, S + 1), else None.
        """
        n = len(theta)
        posed = pose_points(self.rig, theta)
        pixels, D = project_points(posed.points, theta[:, TRANSL], self.camera)
        r, s = self._residuals(pixels, frames)
        w = s * np.sqrt(self.information * self.robust.weight(_square(r * s[..., None]), 2)).astype(s.dtype)
        if buffer is None:
            buffer = np.empty((n, *w.shape[1:], 2, self.rig.size), D.dtype)
        J = buffer[:n]
        weighted_rows(self.rig, theta, posed, D, self.gaps, w, J)
        K = self._shared_rows(posed, D, theta, w) if shared else None
        return J.reshape(n, -1, J.shape[3]), (r * w[..., None]).reshape(n, -1), self._cost(r, s), K

    def _residuals(self, pixels: Array, frames: Array) -> tuple[Array, Array]:
        """Residuals (n, N + G, 2) px and their inverse sigmas (n, N + G)."""
        r = pixels - self.target_px[frames]
        gaps = r[:, self.gaps[:, 0]] - r[:, self.gaps[:, 1]]
        s = np.concatenate([self.inv_sigma[frames], self.gap_inv_sigma[frames]], axis=1)
        return np.concatenate([r, gaps], axis=1), s

    def _cost(self, r: Array, s: Array) -> Array:
        s2 = _square((r * s[..., None]).astype(np.float64))
        return np.asarray(self.information * self.robust.cost(s2, 2).sum(axis=1))

    def _shared_rows(self, posed: Posed, D: Array, theta: Array, w: Array) -> Array:
        """Weighted rows (n, 2 (N + G), S + 1) of shape and log focal length."""
        points = shared_jacobian(self.rig, posed, D, theta[:, TRANSL])
        gaps = points[:, self.gaps[:, 0]] - points[:, self.gaps[:, 1]]
        K = np.concatenate([points, gaps], axis=1) * w[..., None, None]
        return np.asarray(K.reshape(len(K), -1, K.shape[3]))


def _square(r: Array) -> Array:
    return np.asarray(r[..., 0] ** 2 + r[..., 1] ** 2)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(a, min(a + _CHUNK_FRAMES, n)) for a in range(0, n, _CHUNK_FRAMES))


def facing_weight(rig: Rig, root_rad: Array, transl_m: Array) -> Array:
    """How much a landmark can be seen, (n, N) in [0.1, 1], from the neutral surface turned to each frame's pose.

    The detector also places landmarks that are turned away, but it guesses them.
    """
    R = rodrigues(root_rad)
    points = np.einsum("nab,kb->nka", R, rig.neutral()) * np.array([1.0, -1.0, -1.0]) + transl_m[:, None]
    normals = np.einsum("nab,kb->nka", R, rig.normals) * np.array([1.0, -1.0, -1.0])
    cosine = -np.einsum("nka,nka->nk", normals, points) / np.linalg.norm(points, axis=2)
    return np.asarray(np.clip((cosine + 0.2) / 0.5, 0.1, 1.0))


def landmark_block(
    rig: Rig,
    camera: tuple[float, float, float],
    landmarks_px: Array,
    usable: Array,
    face_px: Array,
    facing: Array,
    noise: LandmarkNoise,
    robust: Robust,
) -> LandmarkBlock:
    """Pair a rig with detections.

    Args:
        landmarks_px: (T, 478, 2).
        usable: (T,) bool; other frames say nothing.
        face_px: (T,) outer-eye distance that the head would have at zero yaw.
        facing: (T, N) from ``facing_weight``.
    """
    dtype = rig.v.dtype
    face = np.maximum(face_px, 1.0)[:, None]
    sigma = np.hypot(noise.fractions()[rig.index] * face, noise.floor_px)
    inv_sigma = np.where(usable[:, None], facing / sigma, 0.0)
    row = {int(index): k for k, index in enumerate(rig.index)}
    pairs = [p for p in (*LEFT_LID_PAIRS, *RIGHT_LID_PAIRS, *LIP_PAIRS) if p[0] in row and p[1] in row]
    gaps = np.array([[row[a], row[b]] for a, b in pairs], np.int64).reshape(-1, 2)
    gap_sigma = np.hypot(noise.gap * face, noise.floor_px)
    gap_facing = np.minimum(facing[:, gaps[:, 0]], facing[:, gaps[:, 1]])
    return LandmarkBlock(
        rig=rig,
        camera=camera,
        target_px=landmarks_px[:, rig.index].astype(dtype),
        inv_sigma=inv_sigma.astype(dtype),
        gaps=gaps,
        gap_inv_sigma=np.where(usable[:, None], gap_facing / gap_sigma, 0.0).astype(dtype),
        robust=robust,
        information=noise.independence,
    )
