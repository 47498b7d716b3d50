"""Who a person is: one shape per person and one focal length, from a few diverse keyframes of all persons together.

Each keyframe keeps its own pose and expression, which are eliminated by the Schur complement: what remains is a small
dense system in the shapes and the logarithm of the focal length (Triggs et al., "Bundle adjustment", 2000, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.init import start_pose
from dialogbuild.fit.landmarks import LandmarkBlock, facing_weight, landmark_block
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import Prior
from dialogbuild.fit.regions import LIP_PAIRS, LandmarkNoise
from dialogbuild.fit.rig import Rig

Array = np.ndarray[Any, np.dtype[Any]]
_TOLERANCE = 0.05  # nats; a smaller drop in cost is no news


@dataclass(frozen=True)
class IdentityOptions:
    """Priors and sizes of the identity problem.

    Attributes:
        keyframes: per person; beyond about 64 the same errors repeat.
        independent_keyframes: the detector errs alike in all frames of a face, so the keyframes together are worth
            this many independent ones. Keeps the shape from explaining the detector's habits.
        focal_over_width: prior mean; 1.2 x width is a 45 degree view, between phones and studio cameras.
        focal_log_sigma: prior width; 0.35 spans 0.6 to 2.4 x width at two sigmas.
        shape_sigma: in units of the model's coefficients.
    """

    keyframes: int = 64
    independent_keyframes: float = 6.0
    focal_over_width: float = 1.2
    focal_log_sigma: float = 0.35
    shape_sigma: float = 1.0
    max_iterations: int = 25


@dataclass(frozen=True, eq=False)
class IdentityFit:
    """Shapes (persons, S) with sigmas, and the shared focal length.

    ``theta`` holds each person's keyframe parameters, ``frames`` which frames they are, ``cost`` the final cost.
    """

    shapes: Array
    shape_sigmas: Array
    focal_px: float
    focal_sigma_px: float
    frames: tuple[Array, ...]
    theta: tuple[Array, ...]
    cost: float
    converged: bool


def select_keyframes(theta: Array, landmarks_px: Array, face_px: Array, usable: Array, count: int) -> Array:
    """Frames that differ most in yaw, pitch, roll, size and mouth opening, by farthest-point sampling; ascending.

    Starts from the most frontal frame. Deterministic.
    """
    at = np.flatnonzero(usable)
    gap = landmarks_px[at][:, [b for _, b in LIP_PAIRS[:3]]] - landmarks_px[at][:, [a for a, _ in LIP_PAIRS[:3]]]
    opening = np.linalg.norm(gap, axis=2).mean(axis=1) / np.maximum(face_px[at], 1.0)
    feature = np.column_stack([theta[at, :3] / 0.3, opening / 0.15, np.log(np.maximum(face_px[at], 1.0)) / 0.3])
    chosen = [int(np.linalg.norm(theta[at, :3], axis=1).argmin())]
    distance = np.full(len(at), np.inf)
    while len(chosen) < min(count, len(at)):
        distance = np.minimum(distance, np.linalg.norm(feature - feature[chosen[-1]], axis=1))
        distance[chosen[-1]] = -1.0
        chosen.append(int(distance.argmax()))
    return np.asarray(at[np.sort(chosen)])


def fit_identity(
    rig: Rig,
    prior: Prior,
    people: Sequence[tuple[Array, Array]],
    image_px: tuple[float, float],
    noise: LandmarkNoise,
    robust: Robust,
    options: IdentityOptions,
) -> IdentityFit:
    """Shapes of all persons and the focal length they share.

    Args:
        rig: the model's landmarks with neutral shape.
        people: for each person, landmarks (T, 478, 2) px and usable (T,) bool; at least one usable frame each.
        image_px: width and height; the principal point is the centre.
    """
    # Eliminating depth from focal length cancels most digits of their common curvature: float32 has none to spare.
    rig = rig.astype(np.float64)
    width, height = image_px
    camera = (options.focal_over_width * width, width / 2, height / 2)
    problems = []
    for landmarks_px, usable in people:
        theta, face_px = start_pose(rig, camera, landmarks_px)
        frames = select_keyframes(theta, landmarks_px, face_px, usable, options.keyframes)
        facing = facing_weight(rig, theta[frames, :3], theta[frames, 3:6])
        ok = np.ones(len(frames), bool)
        block = landmark_block(rig, camera, landmarks_px[frames], ok, face_px[frames], facing, noise, robust)
        problems.append(_Person(frames, theta[frames], block))
    return _solve(rig, prior, problems, camera, options)


@dataclass(frozen=True, eq=False)
class _Person:
    frames: Array
    theta: Array
    block: LandmarkBlock


@dataclass(frozen=True, eq=False)
class _State:
    theta: tuple[Array, ...]
    shapes: Array
    log_focal: float  # relative to the prior mean


def _solve(
    rig: Rig, prior: Prior, people: Sequence[_Person], camera: tuple[float, float, float], options: IdentityOptions
) -> IdentityFit:
    S = rig.joint_dirs.shape[-1]
    state = _State(tuple(p.theta for p in people), np.zeros((len(people), S)), 0.0)
    system = _System(rig, prior, people, camera, options)
    cost, damping, converged = system.cost(state), 1e-2, False
    linear = system.linearise(state)
    for _ in range(options.max_iterations):
        trial, promised = system.step(state, linear, damping)
        trial_cost = system.cost(trial)
        if np.isfinite(trial_cost) and trial_cost < cost:
            converged = cost - trial_cost < _TOLERANCE
            state, cost, damping = trial, trial_cost, max(damping * 0.2, 1e-6)
            linear = system.linearise(state)
        else:
            converged = promised < _TOLERANCE
            damping *= 6
        if converged:
            break
    covariance = np.linalg.inv(linear.reduced(0.0)[0])
    sigma = np.sqrt(np.diag(covariance))
    focal = camera[0] * float(np.exp(state.log_focal))
    return IdentityFit(
        shapes=state.shapes,
        shape_sigmas=sigma[:-1].reshape(len(people), S),
        focal_px=focal,
        focal_sigma_px=focal * float(sigma[-1]),
        frames=tuple(p.frames for p in people),
        theta=state.theta,
        cost=float(cost),
        converged=bool(converged),
    )


def _retract(theta: Array, step: Array) -> Array:
    """Apply a step with depth as an exponent, equal to first order.

    A longer lens shows the same picture of a head that is farther by the same factor: in log focal length and log
    depth that valley is straight, so that one step can follow it.
    """
    new = theta + step
    new[:, 5] = theta[:, 5] * np.exp(np.clip(step[:, 5] / theta[:, 5], -1, 1))
    return new


@dataclass(frozen=True, eq=False)
class _Linear:
    """Normal equations: per person frame blocks (n, K, K), (n, K, S + 1), gradients, and the shared dense part."""

    frame_info: tuple[Array, ...]
    cross: tuple[Array, ...]
    frame_grad: tuple[Array, ...]
    shared_info: Array
    shared_grad: Array
    columns: tuple[Array, ...]  # where person p's (shape, focal) sit among the shared unknowns

    def reduced(self, damping: float) -> tuple[Array, Array, list[tuple[Array, Array]]]:
        """Schur complement onto the shared unknowns: matrix, gradient, and what back substitution needs."""
        H, g, solved = self.shared_info.copy(), self.shared_grad.copy(), []
        index = np.arange(len(g))
        H[index, index] *= 1 + damping
        for A, B, b, where in zip(self.frame_info, self.cross, self.frame_grad, self.columns, strict=True):
            d = np.sqrt(np.einsum("nii->ni", A))
            scaled = A / (d[:, :, None] * d[:, None])
            k = np.arange(A.shape[1])
            scaled[:, k, k] += damping
            right = np.concatenate([B, b[..., None]], axis=2) / d[..., None]
            z = np.linalg.solve(scaled, right) / d[..., None]
            H[np.ix_(where, where)] -= np.einsum("nks,nkt->st", B, z[..., :-1], optimize=True)
            g[where] -= np.einsum("nks,nk->s", B, z[..., -1])
            solved.append((z[..., :-1], z[..., -1]))
        return H, g, solved


class _System:
    """The joint problem of all persons' keyframes."""

    def __init__(
        self,
        rig: Rig,
        prior: Prior,
        people: Sequence[_Person],
        camera: tuple[float, float, float],
        options: IdentityOptions,
    ) -> None:
        self.rig, self.prior, self.people, self.camera, self.options = rig, prior, people, camera, options

    def _block(self, state: _State, p: int) -> LandmarkBlock:
        focal = self.camera[0] * float(np.exp(state.log_focal))
        rig = self.rig.with_shape(state.shapes[p])
        return replace(self.people[p].block, rig=rig, camera=(focal, *self.camera[1:]))

    def _share(self, p: int) -> float:
        return min(1.0, self.options.independent_keyframes / len(self.people[p].frames))

    def cost(self, state: _State) -> float:
        """Negative log posterior of all keyframes, shapes and the focal length."""
        total = 0.5 * (state.log_focal / self.options.focal_log_sigma) ** 2
        total += 0.5 * float((state.shapes**2).sum()) / self.options.shape_sigma**2
        for p, theta in enumerate(state.theta):
            frames = np.arange(len(theta))
            own = self._block(state, p).cost(theta, frames) + self.prior.block.cost(theta, frames)
            total += self._share(p) * float(own.sum())
        return total

    def linearise(self, state: _State) -> _Linear:
        """Assemble around a state."""
        S, free = state.shapes.shape[1], self.prior.free
        n_shared = state.shapes.size + 1
        H = np.diag(
            np.append(np.full(state.shapes.size, self.options.shape_sigma**-2.0), self.options.focal_log_sigma**-2.0)
        )
        g = np.append(state.shapes.ravel(), state.log_focal) * np.diag(H)
        frame_info, cross, frame_grad, columns = [], [], [], []
        for p, theta in enumerate(state.theta):
            where = np.append(np.arange(p * S, (p + 1) * S), n_shared - 1)
            parts = [self._rows(self._block(state, p), theta, slice(a, a + 8)) for a in range(0, len(theta), 8)]
            A, B, b, C, c = (
                np.concatenate(x) if i < 3 else np.sum(x, axis=0) for i, x in enumerate(zip(*parts, strict=True))
            )
            equations = self.prior.block.assemble(theta, np.arange(len(theta)))
            share = self._share(p)
            frame_info.append(share * (A + equations.H)[:, free[:, None], free])
            cross.append(share * B[:, free])
            frame_grad.append(share * (b + equations.g)[:, free])
            H[np.ix_(where, where)] += share * C
            g[where] += share * c
            columns.append(where)
        return _Linear(tuple(frame_info), tuple(cross), tuple(frame_grad), H, g, tuple(columns))

    @staticmethod
    def _rows(block: LandmarkBlock, theta: Array, part: slice) -> tuple[Array, ...]:
        J, r, _, K = block.weighted_rows(theta[part], np.arange(len(theta))[part], shared=True)
        assert K is not None
        Jt, flat = J.transpose(0, 2, 1), K.reshape(-1, K.shape[2])
        C, c = (flat.T @ flat).astype(np.float64), (flat.T @ r.reshape(-1)).astype(np.float64)
        return (
            (Jt @ J).astype(np.float64),
            (Jt @ K).astype(np.float64),
            (Jt @ r[..., None])[..., 0].astype(np.float64),
            C,
            c,
        )

    def step(self, state: _State, linear: _Linear, damping: float) -> tuple[_State, float]:
        """One damped Gauss-Newton step and the drop in cost it promises."""
        H, g, solved = linear.reduced(damping)
        shared = -np.linalg.solve(H, g)
        promised = -0.5 * float(g @ shared)
        theta = []
        for old, (zs, z), where, b in zip(state.theta, solved, linear.columns, linear.frame_grad, strict=True):
            d = -z - np.einsum("nks,s->nk", zs, shared[where])
            step = np.zeros_like(old)
            step[:, self.prior.free] = d
            theta.append(_retract(old, step))
            promised += 0.5 * float((b * z).sum())
        shapes = state.shapes + shared[:-1].reshape(state.shapes.shape)
        return _State(tuple(theta), shapes, state.log_focal + float(np.clip(shared[-1], -0.3, 0.3))), promised
