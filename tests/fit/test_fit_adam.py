"""The torch energies of the benchmark are the solver's energies, so that optimisers are compared on one problem."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_head import tiny_head

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from fit_torch import LandmarkEnergy, PixelEnergy, PixelScene, PointEnergy, PriorEnergy

from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
from dialogbuild.fit.photometric import PhotometricBlock
from dialogbuild.fit.rig import build_rig, model_rig, pose_points, project_points
from dialogbuild.head.model import Embedding
from dialogbuild.render.raster_numba import NumbaRasterizer

CAMERA = (420.0, 66.0, 61.0)
SIDE = 128


def poses(model, n, seed=0):
    rng = np.random.default_rng(seed)
    theta = rng.normal(0, 0.15, (n, ParamLayout(model.n_expr).size))
    theta[:, 3:6] = np.array([0.0, 0.0, 0.8]) + rng.normal(0, 0.02, (n, 3))
    theta[0, :3] = 0.0  # the series of the rotation at zero
    return theta


def landmark_block(model, theta, seed=1):
    rng = np.random.default_rng(seed)
    rig = model_rig(model)
    pixels, _ = project_points(pose_points(rig, theta).points, theta[:, 3:6], CAMERA)
    n, N = pixels.shape[:2]
    gaps = rng.integers(0, N, (7, 2))
    inv_sigma, gap_inv_sigma = (rng.uniform(0, 1, (n, k)).astype(np.float32) for k in (N, 7))
    target = (pixels + rng.normal(0, 3, pixels.shape)).astype(np.float32)
    return LandmarkBlock(rig, CAMERA, target, inv_sigma, gaps, gap_inv_sigma, Robust("student", 4.0), 0.3)


def photometric_block(model, n, level, seed=2):
    rng = np.random.default_rng(seed)
    at = np.arange(model.n_vertices)
    flat = np.asarray(model.faces)
    first = np.array([np.argwhere(flat == v)[0] for v in at])
    rig = build_rig(model, Embedding(first[:, 0].astype(np.int32), np.eye(3, dtype=np.float32)[first[:, 1]], at))
    side = SIDE // 2**level
    images = rng.uniform(0, 255, (n, side, side, 3))
    return PhotometricBlock(
        rig=rig,
        cameras=np.tile(CAMERA, (n, 1)),
        images=images.astype(np.float32) if level else images.astype(np.uint8),
        level=level,
        weight=np.where(rng.random((n, len(at))) < 0.3, 0, rng.random((n, len(at)))).astype(np.float32),
        target=rng.random((n, len(at), 3)).astype(np.float32),
        sigma=rng.uniform(0.02, 0.08, len(at)).astype(np.float32),
        dof=4.0,
        independence=0.1,
    )


def as_torch(theta):
    return torch.from_numpy(theta.astype(np.float32))


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("parts", [True, False])
def test_the_points_energy_is_the_compiled_blocks_cost(level, parts):
    model = tiny_head(pose_dirs=parts, moving_joints=parts)
    theta, frames = poses(model, 4), np.array([2, 0, 3, 1])
    block = photometric_block(model, 4, level)
    ours = PointEnergy(block, frames)(as_torch(theta)).numpy()
    assert np.allclose(ours, block.cost(theta, frames), rtol=1e-4)


def test_points_that_leave_the_window_are_skipped_as_in_the_block():
    model = tiny_head()
    theta, frames = poses(model, 3), np.arange(3)
    theta[:, 3] += 0.1  # a part of the head crosses the right edge
    block = photometric_block(model, 3, 0)
    ours = PointEnergy(block, frames)(as_torch(theta)).numpy()
    pixels, _ = project_points(pose_points(block.rig, theta).points, theta[:, 3:6], CAMERA)
    assert (pixels[..., 0] > SIDE).any(axis=1).all()
    assert np.allclose(ours, block.cost(theta, frames), rtol=1e-4)


@pytest.mark.parametrize("parts", [True, False])
def test_the_landmark_energy_is_the_landmark_blocks_cost(parts):
    model = tiny_head(pose_dirs=parts, moving_joints=parts)
    theta, frames = poses(model, 4), np.array([1, 3, 0, 2])
    block = landmark_block(model, theta)
    moved = theta + np.random.default_rng(5).normal(0, 0.01, theta.shape)
    ours = LandmarkEnergy(block, frames)(as_torch(moved)).numpy()
    assert np.allclose(ours, block.cost(moved, frames), rtol=1e-4)


def test_the_prior_energy_is_the_prior_blocks_cost_with_bounds():
    model = tiny_head()
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas()).block
    lower = prior.lower.copy()
    lower[-3:] = 0.0  # the tiny head's expressions are not blendshapes with a bound
    prior = type(prior)(prior.mean, prior.information, lower, prior.lower_sigma)
    theta = poses(model, 6)
    assert (theta[:, -3:] < 0).any()
    assert np.allclose(PriorEnergy(prior)(as_torch(theta)).numpy(), prior.cost(theta, np.arange(6)), rtol=1e-4)


def test_the_prior_energy_has_a_finite_gradient_without_bounds():
    model = tiny_head()
    prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas()).block
    theta = as_torch(poses(model, 2)).requires_grad_()
    PriorEnergy(prior)(theta).sum().backward()
    assert theta.grad is not None
    assert torch.isfinite(theta.grad).all()


def pixel_scene(model, theta, seed=3):
    """The tiny head, painted smoothly, and its own picture."""
    rig = photometric_block(model, 1, 0).rig
    rest = model.v_template
    colour = (0.5 + 0.4 * np.stack([np.sin(60 * rest[:, k]) for k in range(3)], 1)).astype(np.float32)
    points = pose_points(rig, theta).points * [1, -1, -1] + theta[:, None, 3:6]
    pixels = CAMERA[0] * points[0, :, :2] / points[0, :, 2:] + CAMERA[1:]
    verts = np.concatenate([pixels, points[0, :, 2:]], 1)
    engine = NumbaRasterizer()
    fragments = engine.rasterize(verts, model.faces, (SIDE, SIDE))
    image = engine.interpolate(colour, model.faces, fragments)
    weight = np.where(fragments.face_id >= 0, 1.0, 0.0).astype(np.float32)
    weight[:, : SIDE // 4] *= 0.5
    inv_sigma_sq = np.full(len(model.faces), 0.02**-2, np.float32)
    return PixelScene(rig, model.faces, colour, np.array(CAMERA), image, weight, inv_sigma_sq, 100.0, 4.0)


def test_the_pixel_energy_vanishes_where_the_picture_was_drawn_and_grows_away_from_it():
    model = tiny_head()
    theta = poses(model, 1, seed=4)
    energy = PixelEnergy(pixel_scene(model, theta))
    assert float(energy(as_torch(theta))) < 0.05
    moved = theta.copy()
    moved[:, 3] += 0.004
    assert float(energy(as_torch(moved))) > 10.0


def test_the_pixel_energys_gradient_points_downhill_from_a_displaced_head():
    model = tiny_head()
    theta = poses(model, 1, seed=4)
    energy = PixelEnergy(pixel_scene(model, theta))
    for axis in (3, 4):
        for side in (-1, 1):
            moved = theta.copy()
            moved[:, axis] += side * 0.002
            at = as_torch(moved).requires_grad_()
            energy(at).sum().backward()
            assert at.grad is not None
            assert side * float(at.grad[0, axis]) > 0
