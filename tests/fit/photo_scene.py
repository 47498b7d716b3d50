"""Pictures with known parameters, for tests of the pixel term: a rendered head, and a tiny head in a smooth pattern."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from tiny_head import tiny_head

from dialogbuild.fit.crops import halved
from dialogbuild.fit.landmarks import LandmarkBlock, facing_weight, landmark_block
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.photometric import PhotometricBlock, PhotometricNoise
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.regions import N_LANDMARKS, LandmarkNoise
from dialogbuild.fit.rig import blended, build_rig, model_rig, pose_points, project_points
from dialogbuild.fit.surface import Surface, build_surface
from dialogbuild.fit.visibility import Mesh, build_mesh, view_points
from dialogbuild.head import load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import pose_head, to_camera
from dialogbuild.render.appearance import make_appearance
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import studio_light

SIDE_PX = 160
CAMERA = (400.0, 80.0, 68.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """The procedural head in n rendered windows: what is true, and what the fit gets of it."""

    model: HeadModel
    surface: Surface
    mesh: Mesh
    shape: np.ndarray
    theta: np.ndarray
    images: np.ndarray

    @property
    def cameras(self) -> np.ndarray:
        return np.repeat([CAMERA], len(self.theta), axis=0)


@cache
def scene(n: int = 3) -> Scene:
    """Deterministic; the windows are rendered once per session."""
    model = load_head()
    rng = np.random.default_rng(5)
    surface = build_surface(model, n_points=1200, n_eye=100)
    shape = 0.5 * rng.normal(size=model.n_shape)
    theta = np.zeros((n, 18 + model.n_expr))
    theta[:, :3] = rng.uniform(-0.3, 0.3, (n, 3))
    theta[:, 3:6] = [0.0, 0.0, 0.6]
    theta[:, 9] = rng.uniform(0.0, 0.2, n)
    theta[:, 12:18] = np.tile(rng.uniform(-0.15, 0.15, (n, 3)) * [1, 1, 0], 2)
    theta[:, 18:] = rng.uniform(0, 0.4, (n, model.n_expr))
    pose = ParamLayout(model.n_expr).unpack(theta, shape)
    vertices = to_camera(pose_head(model, pose), pose.transl_m)
    camera = Camera(*CAMERA, SIDE_PX, SIDE_PX)
    wall = np.full((SIDE_PX, SIDE_PX, 3), (90, 110, 130), np.uint8)
    painted = make_appearance(model, seed=1)
    images = np.stack([render_head(model, painted, v, camera, studio_light(), wall) for v in vertices])
    return Scene(model, surface, build_mesh(model, surface, shape), shape, theta, images)


def pixel_block(s: Scene, level: int = 0) -> PhotometricBlock:
    """The scene's windows with their own colours at the true parameters, a little wrong, as the target."""
    rng = np.random.default_rng(1)
    bounds = np.repeat([[0, 0, SIDE_PX, SIDE_PX]], len(s.theta), axis=0)
    view = view_points(s.mesh, s.surface, s.theta, s.cameras, bounds, SIDE_PX)
    rig = s.surface.rig.with_shape(s.shape)
    images = s.images
    for _ in range(level):
        images = halved(images)
    target = np.empty((len(s.theta), s.surface.n_points, 3), np.float32)
    for k in range(len(target)):
        t = slice(k, k + 1)
        pixels, _ = project_points(pose_points(rig, s.theta[t]).points, s.theta[t, 3:6], CAMERA)
        sampled = np.empty((s.surface.n_points, 3, 3), np.float32)
        sample_points(images[k], pixels[0].astype(np.float32), np.float32(0.5**level), sampled)
        target[k] = sampled[..., 0]
    target += (0.02 * rng.normal(size=target.shape)).astype(np.float32)
    sigma = PhotometricNoise().sigma(s.surface.eye)
    return PhotometricBlock(rig, s.cameras, images, level, view.weight, target, sigma, 4.0, 0.1)


def detection_block(s: Scene, robust: Robust = Robust()) -> LandmarkBlock:  # noqa: B008
    """Noisy landmarks of the scene."""
    rig = model_rig(s.model).with_shape(s.shape)
    found = np.zeros((len(s.theta), N_LANDMARKS, 2))
    pixels, _ = project_points(pose_points(rig, s.theta).points, s.theta[:, 3:6], CAMERA)
    found[:, rig.index] = pixels + np.random.default_rng(2).normal(size=pixels.shape)
    facing = facing_weight(rig, s.theta[:, :3], s.theta[:, 3:6])
    n = len(s.theta)
    return landmark_block(rig, CAMERA, found, np.ones(n, bool), np.full(n, 60.0), facing, LandmarkNoise(), robust)


def waves(height: int = 200, width: int = 240) -> np.ndarray:
    """A smooth picture (H, W, 3) float32 in 0..255: each channel a product of two sinusoids, 40 px and longer."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack(
        [128 + 100 * np.sin(2 * np.pi * x / (47 + 9 * c) + c) * np.cos(2 * np.pi * y / (61 - 6 * c)) for c in range(3)],
        axis=-1,
    ).astype(np.float32)


def tiny_case(
    n: int = 2, pose_dirs: bool = True, moving_joints: bool = True, n_expr: int = 7, points: int = 80
) -> tuple[HeadModel, np.ndarray, PhotometricBlock]:
    """A tiny head before ``waves``: model, theta (n, P), and a block whose targets are the picture's own colours."""
    rng = np.random.default_rng(3)
    model = tiny_head(points=points, pose_dirs=pose_dirs, moving_joints=moving_joints, n_expr=n_expr)
    rig = blended(build_rig(model, model.landmarks["mp478"]))
    theta = 0.15 * rng.normal(size=(n, rig.size))
    theta[:, 3:6] = [0.01, -0.01, 0.9] + 0.01 * rng.normal(size=(n, 3))
    camera = (600.0, 120.0, 100.0)
    images = np.repeat(waves()[None], n, axis=0)
    pixels, _ = project_points(pose_points(rig, theta).points, theta[:, 3:6], camera)
    target = np.empty((n, rig.n_points, 3), np.float32)
    for k in range(n):
        sampled = np.empty((rig.n_points, 3, 3), np.float32)
        sample_points(images[k], pixels[k].astype(np.float32), np.float32(1), sampled)
        target[k] = sampled[..., 0]
    assert (target >= 0).all(), "a point of the tiny head lies outside its picture"
    weight = rng.uniform(0.2, 1.0, (n, rig.n_points)).astype(np.float32)
    sigma = rng.choice([0.02, 0.08], rig.n_points).astype(np.float32)
    return (
        model,
        theta,
        PhotometricBlock(rig, np.repeat([camera], n, axis=0), images, 0, weight, target, sigma, 4.0, 0.1),
    )
