"""The linear algebra of ``bundle``: cost, normal equations with the albedo eliminated, and damped steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba as nb
import numpy as np
from scipy.linalg.blas import ssyrk

from dialogbuild.fit.crops import Crops
from dialogbuild.fit.jacobian import shared_jacobian
from dialogbuild.fit.kernel import weighted_rows
from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import Prior
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.rig import TRANSL, Posed, Rig, pose_points, project_points
from dialogbuild.render.shading import GAMMA

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]
_REWEIGHT = 3


@dataclass(frozen=True, eq=False)
class State:
    """Unknowns: theta (K, P), shape (S,), log focal length in px."""

    theta: Array
    shape: Array
    log_focal: float


@dataclass(frozen=True, eq=False)
class Marginal:
    """What is held during some steps: images (K, R, R, 3) at a level, weight (K, N), predicted colours (K, N, 3)."""

    images: Array
    level: int
    weight: Array
    predicted: Array


@dataclass(frozen=True, eq=False)
class Problem:
    """One person's keyframes. ``landmarks`` holds the block with neutral shape and any camera."""

    rig: Rig
    prior: Prior
    landmarks: LandmarkBlock
    camera: Camera3
    crops: Crops
    sigma: float
    dof: float
    sigma_d: Array
    independence: float
    landmark_share: float
    shape_sigma: float
    log_focal_mean: float
    log_focal_sigma: float

    def camera_at(self, state: State) -> Camera3:
        """The picture's camera at a state."""
        return (float(np.exp(state.log_focal)), *self.camera[1:])

    def _landmarks(self, state: State) -> LandmarkBlock:
        return replace(self.landmarks, rig=self.landmarks.rig.with_shape(state.shape), camera=self.camera_at(state))

    def _sample(self, state: State, held: Marginal) -> tuple[Posed, Array, Array, Rig]:
        """Posed points, derivative of window pixels by camera coordinates (K, N, 2, 3), samples (K, N, 3, 3)."""
        rig = self.rig.with_shape(state.shape)
        posed = pose_points(rig, state.theta)
        cameras = self.crops.cameras(self.camera_at(state))
        sampled = np.empty((*posed.points.shape[:2], 3, 3), np.float32)
        D = np.empty((*posed.points.shape[:2], 2, 3), np.float32)
        for k, own in enumerate(cameras):
            t = slice(k, k + 1)
            pixels, D[t] = project_points(posed.points[t], state.theta[t, TRANSL], tuple(own))
            sample_points(held.images[k], pixels[0].astype(np.float32), np.float32(0.5**held.level), sampled[k])
        return posed, D, sampled, rig

    def _marginal(self, held: Marginal, sampled: Array) -> tuple[Array, Array, Array, Array, float]:
        """Residuals (K, N, 3), robust weights (K, N), the elimination's denominators and deviations (N, 3), cost."""
        s = held.predicted / GAMMA
        r = sampled[..., 0] - held.predicted
        seen = held.weight * (sampled[..., 0, 0] >= 0)
        robust, prior = Robust("student", self.dof), ((self.sigma / self.sigma_d) ** 2)[:, None]
        w = seen
        for _ in range(_REWEIGHT):
            denominator = prior + np.einsum("kn,knc->nc", w, s * s, optimize=True)
            d = np.einsum("kn,knc->nc", w, s * r, optimize=True) / denominator
            s2 = ((r - s * d) ** 2).sum(axis=-1) / self.sigma**2
            w = seen * robust.weight(s2, 3)
        cost = float((seen * robust.cost(s2.astype(np.float64), 3)).sum())
        cost += 0.5 * float(((d / self.sigma_d[:, None]) ** 2).sum())
        return r, w, denominator, d, self.independence * cost

    def deviation(self, state: State, held: Marginal) -> Array:
        """Posterior mean (N, 3) of each point's deviation of log albedo."""
        return self._marginal(held, self._sample(state, held)[2])[3]

    def cost(self, state: State, held: Marginal) -> float:
        """Negative log posterior."""
        total = self._marginal(held, self._sample(state, held)[2])[4]
        frames = np.arange(len(state.theta))
        total += self.landmark_share * float(self._landmarks(state).cost(state.theta, frames).sum())
        total += float(self.prior.block.cost(state.theta, frames).sum())
        total += 0.5 * float((state.shape**2).sum()) / self.shape_sigma**2
        return total + 0.5 * ((state.log_focal - self.log_focal_mean) / self.log_focal_sigma) ** 2

    def linearise(self, state: State, held: Marginal) -> tuple[Array, Array]:
        """H and g in the order: free parameters of each keyframe, shape, log focal length."""
        free, K, S = self.prior.free, len(state.theta), len(state.shape)
        n_free, size = len(free), len(free) * K + S + 1
        H, g = np.zeros((size, size)), np.zeros(size)
        posed, D, sampled, rig = self._sample(state, held)
        r, w, denominator, _, _ = self._marginal(held, sampled)
        mixed, mixed_r = np.zeros((rig.n_points * 3, size), np.float32), np.zeros(rig.n_points * 3, np.float32)
        shared = np.arange(size - S - 1, size)
        information = self.independence / self.sigma**2
        for k in range(K):
            on = np.flatnonzero(w[k] > 0)
            columns = np.concatenate([np.arange(k * n_free, (k + 1) * n_free), shared])
            G = _geometry(rig, state.theta[k : k + 1], _one(posed, k), D[k : k + 1], free)
            rows, right = np.empty((3 * len(on), len(columns)), np.float32), np.empty(3 * len(on), np.float32)
            _channel_rows(
                G, on, sampled[k], (w[k] * information).astype(np.float32), held.predicted[k] / np.float32(GAMMA),
                r[k], np.float32(0.5**held.level), k * n_free, n_free, rows, right, mixed, mixed_r,
            )  # fmt: skip
            H[np.ix_(columns, columns)] += rows.T @ rows
            g[columns] += right @ rows
        by = np.sqrt(denominator.reshape(-1) * information).astype(np.float32)
        mixed /= by[:, None]
        lower = ssyrk(1.0, mixed.T, lower=1).astype(np.float64)
        H -= lower + np.tril(lower, -1).T
        g -= (mixed_r / by) @ mixed
        self._add_known(H, g, state, shared)
        return H, g

    def _add_known(self, H: Array, g: Array, state: State, shared: Array) -> None:
        """Landmarks and priors, in place."""
        free, frames = self.prior.free, np.arange(len(state.theta))
        J, r, _, own = self._landmarks(state).weighted_rows(state.theta, frames, shared=True)
        assert own is not None
        rows = np.concatenate([J[..., free], own], axis=-1).astype(np.float64)
        known = self.prior.block.assemble(state.theta, frames)
        n_free = len(free)
        for k in frames:
            columns = np.concatenate([np.arange(k * n_free, (k + 1) * n_free), shared])
            H[np.ix_(columns, columns)] += self.landmark_share * (rows[k].T @ rows[k])
            g[columns] += self.landmark_share * (rows[k].T @ r[k])
            H[np.ix_(columns[:n_free], columns[:n_free])] += known.H[k][np.ix_(free, free)]
            g[columns[:n_free]] += known.g[k][free]
        at = shared[:-1]
        H[at, at] += self.shape_sigma**-2
        g[at] += state.shape / self.shape_sigma**2
        H[-1, -1] += self.log_focal_sigma**-2
        g[-1] += (state.log_focal - self.log_focal_mean) / self.log_focal_sigma**2


def step(
    problem: Problem, held: Marginal, state: State, cost: float, damping: float
) -> tuple[State, float, float, float]:
    """One Levenberg-Marquardt step: new state, cost, damping, and the drop in cost (0: none was found)."""
    H, g = problem.linearise(state, held)
    free, K, S = problem.prior.free, len(state.theta), len(state.shape)
    d = np.sqrt(np.maximum(np.diag(H), 1e-9))
    scaled = H / (d[:, None] * d)
    index = np.arange(len(g))
    for _ in range(6):
        damped = scaled.copy()
        damped[index, index] += damping
        x = -np.linalg.solve(damped, g / d) / d
        theta = state.theta.copy()
        theta[:, free] += x[: K * len(free)].reshape(K, -1)
        # depth as an exponent, so that the valley of focal length and depth is straight
        theta[:, 5] = state.theta[:, 5] * np.exp(np.clip(theta[:, 5] / state.theta[:, 5] - 1, -1, 1))
        new = State(theta, state.shape + x[-S - 1 : -1], state.log_focal + float(np.clip(x[-1], -0.3, 0.3)))
        trial = problem.cost(new, held)
        if np.isfinite(trial) and trial < cost:
            return new, trial, max(damping * 0.1, 1e-7), cost - trial
        damping *= 10
    return state, cost, damping, 0.0


@nb.njit(cache=True, fastmath=True)
def _channel_rows(  # type: ignore[no-untyped-def]
    G, on, look, weight, s, r, scale, first, n_free, rows, right, mixed, mixed_r
):
    """Weighted rows of one keyframe's three channels, and their sums over keyframes, which eliminate the albedo."""
    size, shared = mixed.shape[1], rows.shape[1] - n_free
    for i in range(len(on)):
        p = on[i]
        root = np.sqrt(weight[p])
        for c in range(3):
            a, b, q = root * look[p, c, 1] * scale, root * look[p, c, 2] * scale, root * s[p, c]
            row, mix = rows[3 * i + c], mixed[3 * p + c]
            right[3 * i + c] = root * r[p, c]
            mixed_r[3 * p + c] += q * root * r[p, c]
            for m in range(rows.shape[1]):
                row[m] = a * G[p, 0, m] + b * G[p, 1, m]
            for m in range(n_free):
                mix[first + m] = q * row[m]
            for m in range(shared):
                mix[size - shared + m] += q * row[n_free + m]


def _one(posed: Posed, k: int) -> Posed:
    t = slice(k, k + 1)
    return Posed(
        posed.points[t], posed.R[t], posed.R_global[t], posed.joints[t], posed.p[t], posed.blend[:, t], posed.v[:, t]
    )


def _geometry(rig: Rig, theta: Array, posed: Posed, D: Array, free: Array) -> Array:
    """Derivative of one frame's pixels by its free parameters, shape and log focal length, (N, 2, K + S + 1)."""
    n = rig.n_points
    J = np.empty((1, n, 2, rig.size), np.float32)
    weighted_rows(rig, theta, posed, D, np.zeros((0, 2), np.int64), np.ones((1, n), np.float32), J)
    own = shared_jacobian(rig, posed, D, theta[:, TRANSL])
    return np.concatenate([J[0][..., free], own[0].astype(np.float32)], axis=-1)
