"""Shape, focal length and keyframe poses of one person from pixels: bundle adjustment with the albedo marginalised out.

Landmarks alone place every face a little wrong, each in its own way, and a shape taken from them inherits that. Pixels
say more, of two kinds. That a surface point keeps its colour while the head turns measures relief and motion to a
fraction of a pixel, whatever the colour. What colours faces have (lips, brows, lids) says where the whole sits; it is
known with an error that is the same in all frames. Both are had at once by giving every point and channel an unknown
deviation d from the predicted albedo, with a prior, and eliminating it in closed form::

    cost = sum_t w_t (r_t - s_t d)^2 / sigma^2 + d^2 / sigma_d^2,   s_t = derivative of the display value by log albedo

Eliminating d couples the keyframes of a point, so that the system is dense in (poses, shape, log focal); with 16
keyframes it has under a thousand unknowns. Robust weights w_t are Student-t. (Structure from motion: Triggs et al.,
"Bundle adjustment", 2000. Marginal albedo: the variable projection of Golub and Pereyra, 1973.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.appearance import Look, PointAlbedo, fit_look
from dialogbuild.fit.bundle_system import Marginal, Problem, State, step
from dialogbuild.fit.crops import Crops, halved
from dialogbuild.fit.identity import select_keyframes
from dialogbuild.fit.init import start_pose
from dialogbuild.fit.landmarks import facing_weight, landmark_block
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import Prior
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.regions import LandmarkNoise
from dialogbuild.fit.rig import TRANSL, Rig, pose_points, project_points
from dialogbuild.fit.surface import Surface
from dialogbuild.fit.visibility import build_mesh, uncovered, view_points
from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]


@dataclass(frozen=True)
class BundleOptions:
    """Sizes and weights.

    Attributes:
        keyframes: frames per person;  points: surface points compared.
        schedule: (pyramid level, relinearisations of visibility and light, damped steps) from coarse to fine.
        sigma: a pixel's deviation from frame to frame, display units;  dof: its tails.
        albedo_sigma: what a person's texture deviates from the model's prediction, of log albedo, for a typical point.
        independence: share of pixels that err independently.
        landmark_frames: all landmarks together count as much as those of this many frames, because the detector errs
            alike in every frame of a face.
        focal_log_sigma, focal_over_width: prior of the focal length, as in ``IdentityOptions``.
        shape_sigma: prior of a shape coefficient.
    """

    keyframes: int = 16
    points: int = 3000
    schedule: tuple[tuple[int, int, int], ...] = ((2, 1, 4), (1, 2, 4), (0, 3, 4))
    sigma: float = 0.03
    dof: float = 30.0
    albedo_sigma: float = 0.1
    independence: float = 0.1
    landmark_frames: float = 1.0
    focal_over_width: float = 1.2
    focal_log_sigma: float = 0.35
    shape_sigma: float = 1.0


@dataclass(frozen=True, eq=False)
class BundleFit:
    """One person.

    Attributes:
        theta, theta_sigma: (K, P) posterior means and standard deviations, all else unknown; held entries have 0.
        shape, shape_sigma: (S,);  focal_px, focal_log_sigma.
        look: light and albedo at the bundle's points;  deviation: (N, 3) posterior mean of d, log albedo.
        independence: as in the options.
    """

    theta: Array
    theta_sigma: Array
    shape: Array
    shape_sigma: Array
    focal_px: float
    focal_log_sigma: float
    look: Look
    deviation: Array
    independence: float


def fit_bundle(
    model: HeadModel,
    surface: Surface,
    albedo: PointAlbedo,
    landmark_rig: Rig,
    prior: Prior,
    theta: Array,
    landmarks_px: Array,
    crops: Crops,
    shape: Array,
    camera: Camera3,
    image_width_px: float,
    options: BundleOptions,
) -> BundleFit:
    """Refine one person from keyframes.

    Args:
        surface, albedo: N points, without those on the eyes (``bundle_points``).
        landmark_rig: landmarks with neutral shape.
        theta: (K, P) start, from the landmark fit with ``shape`` and ``camera``;  landmarks_px: (K, 478, 2).
        crops: the K keyframes' windows.
    """
    state = State(theta.astype(np.float64), np.asarray(shape, np.float64), float(np.log(camera[0])))
    _, face_px = start_pose(landmark_rig.with_shape(shape), camera, landmarks_px)
    facing = facing_weight(landmark_rig.with_shape(shape), theta[:, :3], theta[:, TRANSL])
    ok = np.ones(len(theta), bool)
    block = landmark_block(landmark_rig, camera, landmarks_px, ok, face_px, facing, LandmarkNoise(), Robust())
    images: list[Array] = [crops.rgb]
    while len(images) <= max(level for level, _, _ in options.schedule):
        images.append(halved(images[-1]))
    sigma_d = options.albedo_sigma * np.sqrt(0.25 + (albedo.sigma / np.median(albedo.sigma)) ** 2)
    problem = Problem(
        surface.rig, prior, replace(block, rig=landmark_rig), camera, crops, options.sigma, options.dof, sigma_d,
        options.independence, min(1.0, options.landmark_frames / len(theta)), options.shape_sigma,
        float(np.log(options.focal_over_width * image_width_px)), options.focal_log_sigma,
    )  # fmt: skip
    look, marginal = Look(np.zeros((9, 3)), albedo.mean), None
    for level, rounds, steps in options.schedule:
        for _ in range(rounds):
            look, marginal = _predict(model, surface, albedo, problem, state, images[level], level)
            damping, cost = 1e-4, problem.cost(state, marginal)
            for _ in range(steps):
                state, cost, damping, drop = step(problem, marginal, state, cost, damping)
                if drop < 0.3:
                    break
    assert marginal is not None
    H, _ = problem.linearise(state, marginal)
    sigma = np.sqrt(np.maximum(np.diag(np.linalg.inv(H)), 0.0))
    S = len(shape)
    theta_sigma = np.zeros_like(state.theta)
    theta_sigma[:, prior.free] = sigma[: -S - 1].reshape(len(theta), -1)
    return BundleFit(
        theta=state.theta,
        theta_sigma=theta_sigma,
        shape=state.shape,
        shape_sigma=sigma[-S - 1 : -1],
        focal_px=float(np.exp(state.log_focal)),
        focal_log_sigma=float(sigma[-1]),
        look=look,
        deviation=problem.deviation(state, marginal),
        independence=options.independence,
    )


def _predict(
    model: HeadModel, surface: Surface, albedo: PointAlbedo, problem: Problem, state: State, images: Array, level: int
) -> tuple[Look, Marginal]:
    """Visibility, light and predicted colours at a state."""
    crops = problem.crops
    cameras = crops.cameras(problem.camera_at(state))
    mesh = build_mesh(model, surface, state.shape)
    rig = surface.rig.with_shape(state.shape)
    view = view_points(mesh, surface, state.theta, cameras, crops.bounds, crops.side_px)
    view = uncovered(view, crops.cover, rig, state.theta, problem.camera_at(state))
    posed = pose_points(rig, state.theta)
    sampled = np.empty((len(state.theta), surface.n_points, 3, 3), np.float32)
    for k, (points, own) in enumerate(zip(posed.points, cameras, strict=True)):
        pixels, _ = project_points(points[None], state.theta[k : k + 1, TRANSL], tuple(own))
        sample_points(images[k], pixels[0].astype(np.float32), np.float32(0.5**level), sampled[k])
    seen = view.weight * (sampled[..., 0, 0] >= 0)
    look = fit_look(albedo, sampled[..., 0], view.normals, seen)
    return look, Marginal(images, level, seen, look.display(view.normals))


def bundle_points(surface: Surface, count: int) -> Surface:
    """The first ``count`` points that are not on an eyeball: reflections and lids make eyes poor anchors."""
    return surface.subset(np.flatnonzero(~surface.eye)[:count])


def keyframes_of(theta: Array, landmarks_px: Array, usable: Array, count: int) -> Array:
    """Diverse frames for a bundle, ascending; see ``identity.select_keyframes``."""
    return select_keyframes(theta, landmarks_px, np.full(len(theta), 80.0), usable, count)
