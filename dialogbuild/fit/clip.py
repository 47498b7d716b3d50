"""Fit one person through one clip: frames alone, then the trajectory, then what is known about its accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dialogbuild.fit.cover import landmark_trust
from dialogbuild.fit.depth import depth_block
from dialogbuild.fit.evidence import Evidence, short_gaps
from dialogbuild.fit.gauss_newton import FrameFit, SolverOptions, refit_outliers, solve_frames
from dialogbuild.fit.init import face_size_m, start_pose
from dialogbuild.fit.landmarks import LandmarkBlock, facing_weight, landmark_block
from dialogbuild.fit.normal import ResidualBlock, Robust, assemble_all
from dialogbuild.fit.params import Prior
from dialogbuild.fit.precision import face_sigma_mm, gap_sigma_mm
from dialogbuild.fit.regions import LEFT_LID_PAIRS, LIP_PAIRS, REGIONS, RIGHT_LID_PAIRS, LandmarkNoise
from dialogbuild.fit.rig import TRANSL, Rig, pose_points, project_points
from dialogbuild.fit.smoother import Trajectory, smooth

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is fitted.

    Attributes:
        max_error: a frame whose typical landmark error exceeds this share of the face size has no fit.
        max_gap: ticks without a fit that are bridged by the smoother.
        relinearise: smoothing passes after the first; one suffices when frames start from their own optimum.
        walk_dof: tails of the walk's steps, see ``smoother``.
        depth_sigma: of a detected relative depth's change, as a fraction of the face size; infinite = not used. The
            changes repeat to about 0.015, but their scale is off by a tenth: this weight balances the too small nods of
            two dimensions against the too large ones of the depths.
    """

    noise: LandmarkNoise = field(default_factory=LandmarkNoise)
    robust: Robust = field(default_factory=Robust)
    solver: SolverOptions = field(default_factory=SolverOptions)
    max_error: float = 0.10
    max_gap: int = 8
    relinearise: int = 1
    walk_dof: float = 4.0
    depth_sigma: float = 0.06


@dataclass(frozen=True, eq=False)
class ClipFit:
    """One person's motion over T ticks. Rows that are neither ``fit_ok`` nor ``interpolated`` are neutral.

    Attributes:
        theta, sigma: (T, P) and posterior standard deviations.
        fit_ok, interpolated, restarted: (T,) bool.
        error_px: (T,) mean distance of projected points from their detections, outline excluded; 0 where not fitted.
        sigma_lip_mm, sigma_lid_mm: (T,) posterior of the opening between the lips, and between the lids.
        sigma_face_mm: (T,) posterior of a face point in the head's own frame, root mean square.
        lids: (T, 2) closure of the left and right lid.
        iterations: (T,) damped steps of the frame solver.
    """

    theta: Array
    sigma: Array
    fit_ok: Array
    interpolated: Array
    restarted: Array
    error_px: Array
    sigma_lip_mm: Array
    sigma_lid_mm: Array
    sigma_face_mm: Array
    lids: Array
    iterations: Array


@dataclass(frozen=True, eq=False)
class LandmarkFrames:
    """Every usable frame's own optimum from landmarks. n = usable frames of T ticks.

    Attributes:
        at: (n,) their ticks;  block: their landmarks;  depth: their relative depths, if used;  fit: (n, ...) optima.
        good: (n,) bool, a plausible head near the landmarks;  restarted: (n,) bool;  face_px: (n,) outer-eye distance.
    """

    at: Array
    block: LandmarkBlock
    depth: ResidualBlock | None
    fit: FrameFit
    good: Array
    restarted: Array
    face_px: Array

    @property
    def blocks(self) -> list[ResidualBlock]:
        """The evidence."""
        return [self.block] if self.depth is None else [self.block, self.depth]


def landmark_frames(
    rig: Rig,
    prior: Prior,
    camera: Camera3,
    evidence: Evidence,
    options: ClipOptions,
    extra: Sequence[ResidualBlock] = (),
) -> LandmarkFrames:
    """Fit each usable frame on its own. At least one tick must be usable."""
    at = np.flatnonzero(evidence.usable)
    start, face_px = start_pose(rig, camera, evidence.landmarks_px[at])
    facing = facing_weight(rig, start[:, :3], start[:, TRANSL])
    if len(evidence.cover):
        facing = facing * landmark_trust(evidence.cover[at], evidence.landmarks_px[at])[:, rig.index]
    ok = np.ones(len(at), bool)
    block = landmark_block(rig, camera, evidence.landmarks_px[at], ok, face_px, facing, options.noise, options.robust)
    blocks: list[ResidualBlock] = [block, *extra]
    fit = solve_frames(blocks, prior, start, options.solver)
    fit, restarted = refit_outliers(blocks, prior, fit, ok, options.solver)
    depth = None
    if np.isfinite(options.depth_sigma) and len(at) > 1:
        z_px, noise = evidence.z_px[at], options.noise
        depth = depth_block(
            rig, fit.theta, z_px, camera[0], face_px, options.depth_sigma, options.robust, noise.independence
        )
    if depth is not None:
        again = solve_frames([*blocks, depth], prior, fit.theta, options.solver)
        fit = replace(again, iterations=fit.iterations + again.iterations)
    face_now = camera[0] * face_size_m(rig) / np.maximum(fit.theta[:, 5], 1e-3)
    good = fit.finite & (typical_error_px(block, fit.theta) <= options.max_error * face_now)
    return LandmarkFrames(at, block, depth, fit, good, restarted, face_px)


def fit_clip(
    rig: Rig,
    prior: Prior,
    camera: Camera3,
    evidence: Evidence,
    walk: Array,
    lid_expr: tuple[int, int] | None,
    options: ClipOptions,
    extra: Sequence[ResidualBlock] = (),
) -> ClipFit:
    """Fit a person whose shape is already in ``rig``, from landmarks.

    Args:
        walk: (P,) sigma of a step from tick to tick (``smoother.walk_sigma``).
        extra: more evidence, indexed by the clip's ticks.
    """
    T = len(evidence.usable)
    if not evidence.usable.any():
        return nothing(T, rig.size)
    more: list[ResidualBlock] = [_At(b, np.flatnonzero(evidence.usable)) for b in extra]
    frames = landmark_frames(rig, prior, camera, evidence, options, more)
    if not frames.good.any():
        return replace(nothing(T, rig.size), restarted=spread(frames.restarted, frames.at, T))
    blocks = [*frames.blocks, *more]
    trajectory = _trajectory(blocks, prior, frames.fit.theta, frames.good, frames.at, evidence.linked, walk, options)
    return finish(rig, frames, trajectory, evidence, lid_expr, options.max_gap)


def finish(
    rig: Rig,
    frames: LandmarkFrames,
    trajectory: Trajectory,
    evidence: Evidence,
    lid_expr: tuple[int, int] | None,
    max_gap: int,
) -> ClipFit:
    """A smoothed trajectory as a clip's result: gaps bridged or neutral, errors and derived quantities filled in."""
    T, at, good = len(evidence.usable), frames.at, frames.good
    fit_ok = spread(good, at, T)
    interpolated = short_gaps(fit_ok, evidence.linked, max_gap)
    shown = fit_ok | interpolated
    theta = np.where(shown[:, None], trajectory.theta, 0.0)
    error = np.zeros(T)
    error[at[good]] = inner_error_px(frames.block, theta[at])[good]
    return ClipFit(
        theta=theta,
        sigma=np.where(shown[:, None], trajectory.sigma(), 0.0),
        fit_ok=fit_ok,
        interpolated=interpolated,
        restarted=spread(frames.restarted, at, T),
        error_px=error,
        sigma_lip_mm=np.where(shown, gap_sigma_mm(rig, trajectory, LIP_PAIRS[:1]), 0.0),
        sigma_lid_mm=np.where(shown, gap_sigma_mm(rig, trajectory, (LEFT_LID_PAIRS[0], RIGHT_LID_PAIRS[0])), 0.0),
        sigma_face_mm=np.where(shown, face_sigma_mm(rig, trajectory), 0.0),
        lids=np.where(shown[:, None], lid_closure(rig, theta, lid_expr), 0.0),
        iterations=spread(frames.fit.iterations, at, T),
    )


@dataclass(frozen=True, eq=False)
class _At:
    """A block indexed by ticks, seen from the list of usable ticks."""

    block: ResidualBlock
    ticks: Array

    def cost(self, theta: Array, frames: Array) -> Array:
        return self.block.cost(theta, self.ticks[frames])

    def assemble(self, theta: Array, frames: Array) -> Any:
        return self.block.assemble(theta, self.ticks[frames])


def _trajectory(
    blocks: Sequence[ResidualBlock],
    prior: Prior,
    theta: Array,
    good: Array,
    at: Array,
    linked: Array,
    walk: Array,
    options: ClipOptions,
) -> Trajectory:
    """Smooth over all ticks; ticks without a good frame carry the prior only. Then relinearise and smooth again."""
    T, rows = len(linked) + 1, np.flatnonzero(good)
    everything = (*blocks, prior.block)
    point = theta[rows]
    for _ in range(1 + options.relinearise):
        H = np.repeat(prior.block.information[None], T, axis=0)
        eta = np.repeat((prior.block.information @ prior.block.mean)[None], T, axis=0)
        equations = assemble_all(everything, point, rows)
        H[at[rows]] = equations.H
        eta[at[rows]] = np.einsum("npq,nq->np", equations.H, point) - equations.g
        trajectory = smooth(H, eta, walk, prior.free, linked, options.walk_dof)
        point = trajectory.theta[at[rows]]
    return trajectory


def inner_error_px(block: LandmarkBlock, theta: Array) -> Array:
    """Mean landmark error (n,) px without the outline, whose detections slide along the cheek."""
    keep = ~np.isin(block.rig.index, REGIONS["oval"])
    return np.asarray(_distances(block, theta)[:, keep].mean(axis=1))


def typical_error_px(block: LandmarkBlock, theta: Array) -> Array:
    """Median landmark error (n,) px."""
    return np.asarray(np.median(_distances(block, theta), axis=1))


def _distances(block: LandmarkBlock, theta: Array) -> Array:
    points = pose_points(block.rig, theta).points
    pixels, _ = project_points(points, theta[:, TRANSL], block.camera)
    return np.asarray(np.linalg.norm(pixels - block.target_px, axis=2))


def lid_closure(rig: Rig, theta: Array, lid_expr: tuple[int, int] | None) -> Array:
    """Closure (T, 2) of the subject's left and right lid in [0, 1]: 0 as in the neutral face, 1 closed.

    From the model's own lid coefficients where it has them, else from the gap between the posed lids.
    """
    if lid_expr is not None:
        return np.asarray(np.clip(theta[:, [18 + i for i in lid_expr]], 0.0, 1.0))
    row = {int(i): k for k, i in enumerate(rig.index)}
    out = np.zeros((len(theta), 2))
    for eye, pairs in enumerate((LEFT_LID_PAIRS, RIGHT_LID_PAIRS)):
        known = [(row[a], row[b]) for a, b in pairs if a in row and b in row]
        if known:
            a, b = np.array(known).T
            points, rest = pose_points(rig, theta).points, rig.neutral()
            gap = np.linalg.norm(points[:, a] - points[:, b], axis=2).mean(axis=1)
            out[:, eye] = np.clip(1 - gap / np.linalg.norm(rest[a] - rest[b], axis=1).mean(), 0, 1)
    return out


def spread(values: Array, at: Array, T: int) -> Array:
    """Values of some ticks as a row per tick, 0 elsewhere."""
    out = np.zeros(T, values.dtype)
    out[at] = values
    return out


def nothing(T: int, P: int) -> ClipFit:
    """T ticks without a fit."""
    none, zero = np.zeros(T, bool), np.zeros(T)
    wide = np.zeros((T, P))
    return ClipFit(wide, wide, none, none, none, zero, zero, zero, zero, np.zeros((T, 2)), np.zeros(T, np.int64))
