"""Track one person through a clip with pixels and landmarks: the photometric counterpart of ``clip.fit_clip``.

Every frame starts from its own landmark fit, so nothing drifts and cuts do not matter. A coarse and a fine level of
Gauss-Newton on surface points follow, with landmarks, corrected by this person's constant detector errors, still in.
All frames' normal equations then meet in one smoother, which gives the trajectory and its covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dialogbuild.fit.appearance import Look
from dialogbuild.fit.clip import (
    ClipFit,
    ClipOptions,
    LandmarkFrames,
    finish,
    landmark_frames,
    nothing,
    spread,
    typical_error_px,
)
from dialogbuild.fit.crops import Crops, halved
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.gauss_newton import SolverOptions, solve_frames
from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.look import PersonLook, shot_light
from dialogbuild.fit.normal import NormalEquations
from dialogbuild.fit.params import Prior
from dialogbuild.fit.photometric import ColourError, PhotometricBlock, PhotometricNoise, colour_error
from dialogbuild.fit.rig import Rig
from dialogbuild.fit.smoother import smooth
from dialogbuild.fit.surface import Surface
from dialogbuild.fit.uncertainty import Calibration, with_common
from dialogbuild.fit.visibility import Mesh, uncovered, view_points

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]
_CHUNK_FRAMES = 64
_START_TOLERANCE = 0.3  # nats
REASONS = ("ok", "no_landmarks", "no_fit", "few_visible", "occluded", "poor_colour")


@dataclass(frozen=True)
class TrackOptions:
    """How pixels are used.

    Attributes:
        levels: (pyramid level, points, damped steps), coarse to fine.
        calibration: from the fit's own sigmas to honest ones; None = as they are.
        min_visible: a frame in which fewer of the points can be compared is fitted to landmarks alone.
        max_outliers: share of comparable points far from their colour above which a frame counts as occluded.
        max_l1: mean colour error above which the pixels of a frame are not believed.
        max_covered: share of the points turned to the camera that something is in front of, above which a frame counts
            as occluded.
    """

    clip: ClipOptions = field(default_factory=ClipOptions)
    noise: PhotometricNoise = field(default_factory=PhotometricNoise)
    levels: tuple[tuple[int, int, int], ...] = ((1, 1000, 2), (0, 3000, 2))
    calibration: Calibration | None = field(default_factory=Calibration)
    min_visible: float = 0.12
    max_outliers: float = 0.35
    max_l1: float = 0.10
    max_covered: float = 0.6


@dataclass(frozen=True, eq=False)
class TrackFit:
    """One person's motion over T ticks.

    Attributes:
        clip: trajectory, sigmas and landmark errors.
        colour: per tick, of the fit;  colour_start: the same points at the landmark fit, for comparison.
        visible: (T,) share of the surface points that could be compared.
        reason: (T,) int8 index into ``REASONS``.
    """

    clip: ClipFit
    colour: ColourError
    colour_start: ColourError
    visible: Array
    reason: Array


@dataclass(frozen=True, eq=False)
class Person:
    """What the tracker needs to know of a person: landmark rig and surface rig with the shape applied, mesh, look."""

    landmark_rig: Rig
    surface: Surface
    surface_rig: Rig
    mesh: Mesh
    look: PersonLook


def track_clip(
    person: Person,
    prior: Prior,
    camera: Camera3,
    evidence: Evidence,
    crops: Crops,
    walk: Array,
    lid_expr: tuple[int, int] | None,
    options: TrackOptions,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TrackFit:
    """Fit a person through T ticks.

    Args:
        crops: T windows;  walk: (P,) sigma of a step from tick to tick.
        progress: called with frames done and frames in all.
    """
    T = len(evidence.usable)
    corrected = _without_offsets(person, camera, evidence)
    none = ColourError(*np.zeros((3, T)))
    if not evidence.usable.any():
        return TrackFit(nothing(T, person.landmark_rig.size), none, none, np.zeros(T), np.ones(T, np.int8))
    frames = landmark_frames(person.landmark_rig, prior, camera, corrected, _starting(options.clip))
    if not frames.good.any():
        return TrackFit(
            nothing(T, person.landmark_rig.size),
            none,
            none,
            np.zeros(T),
            np.where(evidence.usable, 2, 1).astype(np.int8),
        )
    crops = replace(crops, cover=evidence.cover.placed(evidence.landmarks_px))
    looks = _lights(person, camera, frames, crops, evidence)
    parts = []
    order = np.flatnonzero(frames.good)
    for start in range(0, len(order), _CHUNK_FRAMES):
        rows = order[start : start + _CHUNK_FRAMES]
        parts.append(_chunk(person, prior, camera, frames, rows, crops, looks, options))
        progress(min(start + _CHUNK_FRAMES, len(order)), len(order))
    none_left = NormalEquations(np.zeros((0, 0, 0)), np.zeros((0, 0)), np.zeros(0))
    frames = replace(frames, fit=replace(frames.fit, equations=none_left))  # a long clip's largest part
    found = _Refined(*(np.concatenate([getattr(p, f) for p in parts]) for f in _Refined.FIELDS))
    parts.clear()
    return _smoothed(person, prior, frames, order, found, evidence, walk, lid_expr, options)


def _starting(options: ClipOptions) -> ClipOptions:
    """Landmarks only start what pixels finish: no relative depths, and no last digits."""
    solver = replace(options.solver, tolerance=max(options.solver.tolerance, _START_TOLERANCE))
    return replace(options, depth_sigma=float("inf"), solver=solver)


def _without_offsets(person: Person, camera: Camera3, evidence: Evidence) -> Evidence:
    """Detections with this face's constant errors taken off; the face size comes from the detections themselves."""
    offset = person.look.landmark_offset
    if not offset.any():
        return evidence
    points = evidence.landmarks_px
    width = np.linalg.norm(points[:, 33] - points[:, 263], axis=1)
    nearest = np.median(width[evidence.usable]) if evidence.usable.any() else 1.0
    size = np.maximum(width, nearest)  # a turned head looks narrower, but is not smaller
    return replace(evidence, landmarks_px=(points - offset * size[:, None, None]).astype(np.float32))


def _lights(
    person: Person, camera: Camera3, frames: LandmarkFrames, crops: Crops, evidence: Evidence
) -> tuple[Array, list[Look]]:
    """Which shot each usable frame lies in (n,), and the light of each shot."""
    shot = np.concatenate([[0], np.cumsum(~evidence.linked)])[frames.at]
    names, which = np.unique(shot, return_inverse=True)
    looks = []
    for k in range(len(names)):
        rows = np.flatnonzero((which == k) & frames.good)
        if not len(rows):
            rows = np.flatnonzero(which == k)[:1]
        looks.append(
            shot_light(
                person.surface,
                person.mesh,
                person.surface_rig,
                person.look.albedo,
                frames.fit.theta[rows],
                crops,
                frames.at[rows],
                camera,
            )
        )
    return which, looks


@dataclass(frozen=True, eq=False)
class _Refined:
    """Frames after the photometric levels."""

    FIELDS = (
        "theta",
        "H",
        "g",
        "iterations",
        "visible",
        "l1",
        "psnr_db",
        "outliers",
        "l1_0",
        "psnr_0",
        "outliers_0",
        "used",
        "covered",
    )
    theta: Array
    H: Array
    g: Array
    iterations: Array
    visible: Array
    l1: Array
    psnr_db: Array
    outliers: Array
    l1_0: Array
    psnr_0: Array
    outliers_0: Array
    used: Array
    covered: Array


@dataclass(frozen=True, eq=False)
class _Rows:
    """A clip's landmark block, seen from some of its frames."""

    block: LandmarkBlock
    rows: Array

    def cost(self, theta: Array, frames: Array) -> Array:
        return self.block.cost(theta, self.rows[frames])

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        return self.block.assemble(theta, self.rows[frames])


def _chunk(
    person: Person,
    prior: Prior,
    camera: Camera3,
    frames: LandmarkFrames,
    rows: Array,
    crops: Crops,
    looks: tuple[Array, list[Look]],
    options: TrackOptions,
) -> _Refined:
    """Refine some frames; a frame with too little to see keeps its landmark fit."""
    theta0 = frames.fit.theta[rows]
    own = crops.part(frames.at[rows])
    images: list[Array] = [own.rgb]
    while len(images) <= max(level for level, _, _ in options.levels):
        images.append(halved(images[-1]))
    landmarks = _Rows(frames.block, rows)
    theta, steps, block, start = theta0, np.zeros(len(rows), np.int64), None, None
    covered = np.zeros(len(rows))
    for level, count, iterations in options.levels:
        block, covered = _pixels(person, camera, theta, own, images[level], level, count, looks, rows, options)
        if start is None:
            full, _ = _pixels(person, camera, theta0, own, images[0], 0, person.surface.n_points, looks, rows, options)
            start = colour_error(full, theta0)
        fit = solve_frames([landmarks, block], prior, theta, SolverOptions(iterations, 0.05, 1e-3))
        theta, steps = np.where(fit.finite[:, None], fit.theta, theta), steps + fit.iterations
    assert block is not None
    assert start is not None
    visible = (block.weight > 0).mean(axis=1)
    error = colour_error(block, theta)
    size_m = typical_error_px(_take(frames.block, rows), theta)
    near = size_m <= 1.5 * options.clip.max_error * frames.face_px[rows]
    used = fit.finite & near & (visible >= options.min_visible) & (error.outliers <= options.max_outliers)
    used &= (error.l1 <= options.max_l1) & (covered <= options.max_covered)
    # halves what a long clip holds until it is smoothed; the smoother computes in float64
    H, g = fit.equations.H.astype(np.float32), np.array(fit.equations.g)
    if not used.all():
        H[~used], g[~used] = frames.fit.equations.H[rows][~used], frames.fit.equations.g[rows][~used]
        theta = np.where(used[:, None], theta, theta0)
    return _Refined(
        theta,
        H,
        g,
        steps,
        visible,
        error.l1,
        error.psnr_db,
        error.outliers,
        start.l1,
        start.psnr_db,
        start.outliers,
        used,
        covered,
    )


def _take(block: LandmarkBlock, rows: Array) -> LandmarkBlock:
    return replace(
        block, target_px=block.target_px[rows], inv_sigma=block.inv_sigma[rows], gap_inv_sigma=block.gap_inv_sigma[rows]
    )


def _pixels(
    person: Person,
    camera: Camera3,
    theta: Array,
    own: Crops,
    images: Array,
    level: int,
    count: int,
    looks: tuple[Array, list[Look]],
    rows: Array,
    options: TrackOptions,
) -> tuple[PhotometricBlock, Array]:
    """Visibility and predicted colours at theta, as a block; and the share of the visible points that is covered."""
    surface = person.surface if count >= person.surface.n_points else person.surface.subset(np.arange(count))
    rig = person.surface_rig if surface is person.surface else person.surface_rig.subset(np.arange(count))
    cameras = own.cameras(camera)
    bare = view_points(person.mesh, surface, theta, cameras, own.bounds, own.side_px)
    view = uncovered(bare, own.cover, rig, theta, camera)
    covered = 1 - (view.weight > 0).sum(axis=1) / np.maximum((bare.weight > 0).sum(axis=1), 1)
    target = np.empty((len(theta), surface.n_points, 3), np.float32)
    which, lights = looks
    for k, look in enumerate(lights):
        at = np.flatnonzero(which[rows] == k)
        if len(at):
            target[at] = Look(look.light, person.look.albedo[: surface.n_points]).display(view.normals[at])
    noise = replace(options.noise, skin=max(options.noise.skin, person.look.colour_sigma))
    sigma = noise.sigma(surface.eye)
    block = PhotometricBlock(rig, cameras, images, level, view.weight, target, sigma, noise.dof, noise.independence)
    return block, np.where((bare.weight > 0).any(axis=1), covered, 0.0)


def _smoothed(
    person: Person,
    prior: Prior,
    frames: LandmarkFrames,
    order: Array,
    found: _Refined,
    evidence: Evidence,
    walk: Array,
    lid_expr: tuple[int, int] | None,
    options: TrackOptions,
) -> TrackFit:
    T = len(evidence.usable)
    H = np.repeat(prior.block.information[None].astype(np.float32), T, axis=0)
    eta = np.repeat((prior.block.information @ prior.block.mean)[None], T, axis=0)
    at = frames.at[order]
    H[at] = found.H
    eta[at] = np.einsum("npq,nq->np", found.H, found.theta) - found.g
    trajectory = smooth(H, eta, walk, prior.free, evidence.linked, options.clip.walk_dof)
    # errors are told against what was detected, not against what this person's offsets make of it
    seen = evidence.landmarks_px[frames.at][:, person.landmark_rig.index]
    frames = replace(frames, block=replace(frames.block, target_px=seen))
    clip = finish(person.landmark_rig, frames, trajectory, evidence, lid_expr, options.clip.max_gap)
    clip = replace(clip, iterations=clip.iterations + spread(found.iterations, at, T))
    common = person.look.theta_sigma
    if options.calibration is not None and len(common):
        relative = float(person.look.focal_log_sigma)
        clip = with_common(clip, common, spread(found.used, at, T), options.calibration, relative)
    reason = np.where(evidence.usable, 2, 1).astype(np.int8)
    few = found.visible < options.min_visible
    hidden = (found.covered > options.max_covered) | (
        few & (found.visible >= options.min_visible * (1 - found.covered)) & (found.covered > 0)
    )
    reason[at] = np.select([found.used, hidden, few, found.outliers > options.max_outliers], [0, 4, 3, 4], 5)
    return TrackFit(
        clip,
        ColourError(*(spread(v, at, T) for v in (found.l1, found.psnr_db, found.outliers))),
        ColourError(*(spread(v, at, T) for v in (found.l1_0, found.psnr_0, found.outliers_0))),
        spread(found.visible, at, T),
        reason,
    )
