"""The most probable trajectory of a clip, and its covariance, from per-frame normal equations.

Information-form smoothing: the frames' normal equations plus a random walk between neighbours make one block-
tridiagonal system, solved by a forward and a backward pass (Rauch, Tung and Striebel, 1965; Bell, "The iterated Kalman
smoother as a Gauss-Newton method", 1994). The backward pass also gives the diagonal blocks of the inverse: the
posterior covariance of every frame.

A blink or a lip closure is a few large steps between calm stretches. A Gaussian walk would flatten it; here the walk's
steps are Student-t distributed, by reweighting: a step that the images insist on is let through at full height.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from dialogbuild.fit.params import ParamLayout

Array = np.ndarray[Any, np.dtype[Any]]
_RIDGE = 1e-6  # 1/m^2 and the like: keeps frames without any evidence solvable, and is felt by no other


@dataclass(frozen=True)
class WalkSigmas:
    """Standard deviation of a parameter's step from one tick to the next (25 per second).

    Twice the typical step of conversation, so that the walk calms noise and does not resist motion: heads turn at up to
    about 40 degrees per second, a jaw opens within 100 ms, a lid closes within 80 ms, gaze jumps.
    """

    root_rad: float = 0.03
    transl_m: float = 0.006
    jaw_rad: float = 0.06
    eyes_rad: float = 0.10
    expr: float = 0.15
    lids: float = 0.40


def walk_sigma(layout: ParamLayout, walk: WalkSigmas, lid_expr: tuple[int, int] | None) -> Array:
    """The walk's sigma for every entry of theta, (P,)."""
    sigma = layout.expand(
        {
            "root": walk.root_rad,
            "transl": walk.transl_m,
            "neck": walk.root_rad,
            "jaw": walk.jaw_rad,
            "eyes": walk.eyes_rad,
            "expr": walk.expr,
        }
    )
    if lid_expr is not None:
        sigma[[layout.blocks["expr"].start + i for i in lid_expr]] = walk.lids
    return sigma


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A smoothed clip: theta (T, P), and covariance (T, K, K) of its K free entries."""

    theta: Array
    covariance: Array
    free: Array

    def sigma(self) -> Array:
        """(T, P) posterior standard deviations; held entries have 0."""
        out = np.zeros_like(self.theta)
        out[:, self.free] = np.sqrt(np.maximum(np.einsum("tii->ti", self.covariance), 0))
        return out


def smooth(
    H: Array, eta: Array, sigma: Array, free: Array, linked: Array, dof: float = 4.0, rounds: int = 4
) -> Trajectory:
    """Solve for the whole clip.

    Args:
        H: (T, P, P) information of each frame;  eta: (T, P) information vector, H theta - g at the point of assembly.
        sigma: (P,) walk sigma per tick.
        free: (K,) entries solved for; the others stay 0.
        linked: (T - 1,) bool, whether tick t and t + 1 belong together (False across a cut).
        dof: degrees of freedom of the walk's steps; infinite = Gaussian.
        rounds: reweighting rounds.
    """
    scale = sigma[free]
    area = scale[:, None] * scale
    A = H[:, free[:, None], free]
    A *= area.astype(A.dtype)
    b = eta[:, free] * scale
    weight = np.repeat(linked[:, None], len(free), axis=1).astype(np.float64)
    for _ in range(rounds if np.isfinite(dof) else 0):
        x, _ = _tridiagonal(A, b, weight, covariance=False)
        weight = linked[:, None] * (dof + 1) / (dof + np.diff(x, axis=0) ** 2)
    x, cov = _tridiagonal(A, b, weight, covariance=True)
    theta = np.zeros((len(H), H.shape[1]))
    theta[:, free] = x * scale
    cov *= area
    return Trajectory(theta, cov, free)


def _tridiagonal(A: Array, b: Array, weight: Array, covariance: bool) -> tuple[Array, Array]:
    """Solve with blocks A_t plus the walk's diagonal weights: solution (T, K), diagonal of the inverse (T, K, K)."""
    T, K, _ = A.shape
    index = np.arange(K)
    before = np.concatenate([np.zeros((1, K)), weight])
    after = np.concatenate([weight, np.zeros((1, K))])
    inverse = np.empty((T, K, K))
    y = np.empty((T, K))
    for t in range(T):
        S = A[t].astype(np.float64)
        S[index, index] += before[t] + after[t] + _RIDGE
        y[t] = b[t]
        if t and before[t].any():
            S -= before[t][:, None] * inverse[t - 1] * before[t]
            y[t] += before[t] * (inverse[t - 1] @ y[t - 1])
        inverse[t] = _inverse(S, index)
    x = np.empty((T, K))
    x[-1] = inverse[-1] @ y[-1]
    cov = inverse  # each block is read for the last time when its covariance takes its place
    for t in range(T - 2, -1, -1):
        gain = inverse[t] * after[t]
        x[t] = inverse[t] @ y[t] + gain @ x[t + 1]
        if covariance:
            cov[t] = inverse[t] + gain @ cov[t + 1] @ gain.T
    return x, cov


def _inverse(S: Array, index: Array) -> Array:
    """Inverse of a symmetric positive definite matrix, scaled to a unit diagonal first.

    Raises:
        np.linalg.LinAlgError: it is not positive definite.
    """
    d = np.sqrt(np.maximum(S[index, index], 1e-300))
    factor, failed = dpotrf(S / (d[:, None] * d), lower=1)
    if failed:
        raise np.linalg.LinAlgError("a frame's information is not positive definite")
    lower, _ = dpotri(factor, lower=1, overwrite_c=1)
    full = lower + lower.T
    full[index, index] *= 0.5
    return np.asarray(full / (d[:, None] * d))
