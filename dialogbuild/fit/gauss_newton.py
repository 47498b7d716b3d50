"""Levenberg-Marquardt on all frames of a clip at once, with one damping per frame.

Frames are independent here: no frame starts from its neighbour, so nothing drifts, order does not matter and the
last frame is treated like every other. Coupling in time is the smoother's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.normal import NormalEquations, ResidualBlock, assemble_all, total_cost
from dialogbuild.fit.params import N_RIGID, Prior

Array = np.ndarray[Any, np.dtype[Any]]
_CHUNK_FRAMES = 256  # bounds the memory of the normal equations held during a solve


@dataclass(frozen=True)
class SolverOptions:
    """When to stop, and how to damp.

    Attributes:
        max_iterations: damped steps per frame, rejected ones included.
        tolerance: stop when a step lowers (or could lower) the cost by less; in nats, so 0.01 changes no verdict.
        damping: first factor on the diagonal (Marquardt).
    """

    max_iterations: int = 30
    tolerance: float = 0.01
    damping: float = 1e-3


@dataclass(frozen=True, eq=False)
class FrameFit:
    """Every frame's own optimum.

    Attributes:
        theta: (T, P).
        equations: normal equations at theta, priors included (T, ...): the posterior information is ``H``.
        iterations: (T,) damped steps taken.
        converged: (T,) bool;  finite: (T,) bool, a physically possible head came out.
    """

    theta: Array
    equations: NormalEquations
    iterations: Array
    converged: Array
    finite: Array


def solve_frames(blocks: Sequence[ResidualBlock], prior: Prior, theta: Array, options: SolverOptions) -> FrameFit:
    """Minimise the blocks' cost plus the prior for each frame of theta (T, P)."""
    everything = (*blocks, prior.block)
    fits = [
        _solve_chunk(
            everything,
            prior.free,
            theta[a : a + _CHUNK_FRAMES],
            np.arange(a, min(a + _CHUNK_FRAMES, len(theta))),
            options,
        )
        for a in range(0, len(theta), _CHUNK_FRAMES)
    ]
    equations = NormalEquations(*(np.concatenate([getattr(f.equations, k) for f in fits]) for k in ("H", "g", "cost")))
    theta, iterations, converged = (
        np.concatenate([getattr(f, k) for f in fits]) for k in ("theta", "iterations", "converged")
    )
    return FrameFit(theta, equations, iterations, converged, plausible(theta, equations.cost))


def _solve_chunk(
    blocks: Sequence[ResidualBlock], free: Array, theta: Array, frames: Array, options: SolverOptions
) -> FrameFit:
    n = len(theta)
    theta = theta.astype(np.float64)
    equations = assemble_all(blocks, theta, frames)
    H, g, cost = np.array(equations.H), np.array(equations.g), np.array(equations.cost)
    damping, iterations = np.full(n, options.damping), np.zeros(n, np.int64)
    converged, stuck = np.zeros(n, bool), np.zeros(n, bool)
    for _ in range(options.max_iterations):
        at = np.flatnonzero(~converged & ~stuck)
        if not len(at):
            break
        iterations[at] += 1
        step, predicted = damped_step(H[at], g[at], damping[at], free)
        trial = theta[at] + step
        trial_cost = total_cost(blocks, trial, frames[at])
        drop = cost[at] - trial_cost
        better = np.isfinite(trial_cost) & (drop > 0)
        gain = np.where(better, drop, 0) / np.maximum(predicted, 1e-12)
        damping[at] = np.where(gain > 0.25, damping[at] * 0.2, np.where(better, damping[at], damping[at] * 6))
        damping[at] = np.maximum(damping[at], 1e-7)
        converged[at] = np.where(better, drop < options.tolerance, predicted < options.tolerance)
        stuck[at] = damping[at] > 1e8
        moved = at[better]
        if len(moved):
            theta[moved] = trial[better]
            new = assemble_all(blocks, theta[moved], frames[moved])
            H[moved], g[moved], cost[moved] = new.H, new.g, new.cost
    return FrameFit(theta, NormalEquations(H, g, cost), iterations, converged, np.ones(n, bool))


def damped_step(H: Array, g: Array, damping: Array, free: Array) -> tuple[Array, Array]:
    """Steps (n, P), zero where held, and the drop in cost (n,) that the quadratic model promises.

    The system is scaled to a unit diagonal first: metres, radians and coefficients differ by orders of magnitude.
    """
    A = H[:, free[:, None], free]
    diagonal = np.sqrt(np.maximum(np.einsum("nii->ni", A), 1e-12))
    scaled = A / (diagonal[:, :, None] * diagonal[:, None])
    index = np.arange(len(free))
    scaled[:, index, index] = 1.0 + damping[:, None]
    gradient = g[:, free]
    solved = -np.linalg.solve(scaled, (gradient / diagonal)[..., None])[..., 0] / diagonal
    step = np.zeros_like(g)
    step[:, free] = solved
    curvature = np.einsum("nij,ni,nj->n", A, solved, solved, optimize=True)
    return step, -np.einsum("ni,ni->n", gradient, solved) - 0.5 * curvature


def plausible(theta: Array, cost: Array) -> Array:
    """(T,) bool: the head is in front of the camera, not turned backwards, and every number is finite."""
    depth = theta[:, 5]
    turn = np.linalg.norm(theta[:, :3], axis=1)
    ok = np.isfinite(theta).all(axis=1) & np.isfinite(cost)
    return np.asarray(
        ok & (depth > 0.05) & (depth < 50.0) & (turn < 2.4) & (np.abs(theta[:, 9:N_RIGID]).max(axis=1) < 1.5)
    )


def refit_outliers(
    blocks: Sequence[ResidualBlock], prior: Prior, fit: FrameFit, usable: Array, options: SolverOptions
) -> tuple[FrameFit, Array]:
    """Give frames that diverged or ended far worse than the clip a second start from the nearest good frame.

    Args:
        usable: (T,) bool, frames that have evidence at all.

    Returns:
        the fit with the better of both results, and (T,) bool: which frames were started again.
    """
    bad = usable & ~(fit.finite & fit.converged)
    good = usable & ~bad
    if good.any():
        centre = np.median(fit.equations.cost[good])
        spread = 1.4826 * np.median(np.abs(fit.equations.cost[good] - centre)) + 1.0
        bad |= usable & (fit.equations.cost > centre + 8 * spread)
        good = usable & ~bad
    if not bad.any() or not good.any():
        return fit, bad
    at, source = np.flatnonzero(bad), np.flatnonzero(good)
    nearest = source[np.abs(at[:, None] - source).argmin(axis=1)]
    again = _solve_chunk((*blocks, prior.block), prior.free, fit.theta[nearest], at, options)
    finite = plausible(again.theta, again.equations.cost)
    wins = finite & (~fit.finite[at] | (again.equations.cost < fit.equations.cost[at]))
    return _replace_rows(fit, at[wins], again, wins, finite), bad


def _replace_rows(fit: FrameFit, at: Array, new: FrameFit, rows: Array, finite: Array) -> FrameFit:
    theta, iterations, converged, ok = (
        np.array(getattr(fit, k)) for k in ("theta", "iterations", "converged", "finite")
    )
    theta[at], converged[at], ok[at] = new.theta[rows], new.converged[rows], finite[rows]
    iterations[at] += new.iterations[rows]
    H, g, cost = np.array(fit.equations.H), np.array(fit.equations.g), np.array(fit.equations.cost)
    H[at], g[at], cost[at] = new.equations.H[rows], new.equations.g[rows], new.equations.cost[rows]
    return FrameFit(theta, NormalEquations(H, g, cost), iterations, converged, ok)
