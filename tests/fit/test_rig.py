"""The landmark points and their Jacobians against the head's own posing and against float64 finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_head import tiny_head

from dialogbuild.fit.jacobian import frame_jacobian, shared_jacobian
from dialogbuild.fit.kernel import weighted_rows
from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.rig import build_rig, pose_points, project_points
from dialogbuild.head.pose import pose_head

CAMERA = (700.0, 320.0, 180.0)


def _case(pose_dirs: bool, moving_joints: bool, seed: int = 1):
    model = tiny_head(pose_dirs=pose_dirs, moving_joints=moving_joints)
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(3, 18 + model.n_expr)) * 0.3
    theta[:, 3:6] = rng.normal(size=(3, 3)) * 0.05 + np.array([0, 0, 0.8])
    shape = rng.normal(size=model.n_shape)
    return model, theta, shape


def _pixels(rig, theta, camera=CAMERA):
    return project_points(pose_points(rig, theta).points, theta[:, 3:6], camera)[0]


@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
def test_points_equal_the_head_models_own_posing(pose_dirs, moving_joints):
    model, theta, shape = _case(pose_dirs, moving_joints)
    embedding = model.landmarks["mp478"]
    rig = build_rig(model, embedding, np.float64).with_shape(shape)
    vertices = pose_head(model, ParamLayout(model.n_expr).unpack(theta, shape))
    # pose_head works in float32: 1e-7 m is its rounding at 0.1 m
    np.testing.assert_allclose(pose_points(rig, theta).points, embedding.points(vertices, model.faces), atol=3e-7)


@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
def test_frame_jacobian_matches_finite_differences(pose_dirs, moving_joints):
    model, theta, shape = _case(pose_dirs, moving_joints)
    rig = build_rig(model, model.landmarks["mp478"], np.float64).with_shape(shape)
    posed = pose_points(rig, theta)
    _, D = project_points(posed.points, theta[:, 3:6], CAMERA)
    J = np.full((*D.shape[:3], rig.size), np.nan)
    frame_jacobian(rig, theta, posed, D, J)
    step = 1e-6
    for k in range(rig.size):
        d = np.zeros_like(theta)
        d[:, k] = step
        expected = (_pixels(rig, theta + d) - _pixels(rig, theta - d)) / (2 * step)
        assert np.abs(J[..., k] - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1.0), f"column {k}"


@pytest.mark.parametrize("moving_joints", [False, True])
def test_shape_and_focal_jacobian_matches_finite_differences(moving_joints):
    model, theta, shape = _case(True, moving_joints)
    base = build_rig(model, model.landmarks["mp478"], np.float64)
    rig = base.with_shape(shape)
    posed = pose_points(rig, theta)
    _, D = project_points(posed.points, theta[:, 3:6], CAMERA)
    J = shared_jacobian(rig, posed, D, theta[:, 3:6])
    step = 1e-6
    for k in range(model.n_shape):
        d = np.zeros(model.n_shape)
        d[k] = step
        expected = (_pixels(base.with_shape(shape + d), theta) - _pixels(base.with_shape(shape - d), theta)) / (
            2 * step
        )
        assert np.abs(J[..., k] - expected).max() <= 1e-5 * np.abs(expected).max(), f"shape {k}"
    wide, narrow = ((CAMERA[0] * np.exp(s), *CAMERA[1:]) for s in (step, -step))
    expected = (_pixels(rig, theta, wide) - _pixels(rig, theta, narrow)) / (2 * step)
    assert np.abs(J[..., -1] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_float32_jacobian_is_close_enough_for_the_solver():
    model, theta, shape = _case(True, True)
    found = []
    for dtype in (np.float64, np.float32):
        rig = build_rig(model, model.landmarks["mp478"], dtype).with_shape(shape)
        posed = pose_points(rig, theta)
        _, D = project_points(posed.points, theta[:, 3:6], CAMERA)
        J = np.empty((*D.shape[:3], rig.size), dtype)
        frame_jacobian(rig, theta, posed, D, J)
        assert J.dtype == dtype
        found.append(J)
    scale = np.abs(found[0]).max(axis=(0, 1, 2))
    assert (np.abs(found[0] - found[1]).max(axis=(0, 1, 2)) / scale).max() < 1e-5


def test_a_landmark_on_a_vertex_uses_one_corner():
    model = tiny_head()
    embedding = model.landmarks["mp478"]
    bary = np.zeros_like(embedding.bary)
    bary[:, 1] = 1
    on_vertices = type(embedding)(embedding.face_idx, bary, embedding.index)
    assert build_rig(model, on_vertices).v.shape[0] == 1
    assert build_rig(model, embedding).v.shape[0] == 3


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("moving_joints", [False, True])
@pytest.mark.parametrize("pose_dirs", [False, True])
@pytest.mark.parametrize("on_vertices", [False, True])
def test_the_compiled_rows_equal_the_plain_jacobian(on_vertices, pose_dirs, moving_joints, dtype):
    model, theta, shape = _case(pose_dirs, moving_joints)
    embedding = model.landmarks["mp478"]
    if on_vertices:
        bary = np.eye(3, dtype=np.float32)[np.arange(len(embedding)) % 3]
        embedding = type(embedding)(embedding.face_idx, bary, embedding.index)
    rig = build_rig(model, embedding, dtype).with_shape(shape)
    posed = pose_points(rig, theta)
    _, D = project_points(posed.points, theta[:, 3:6], CAMERA)
    plain = np.empty((*D.shape[:3], rig.size), dtype)
    frame_jacobian(rig, theta, posed, D, plain)
    gaps = np.array([[0, 5], [7, 2]])
    weight = np.random.default_rng(0).uniform(0, 2, (3, rig.n_points + 2)).astype(dtype)
    rows = np.full((3, rig.n_points + 2, 2, rig.size), np.nan, dtype)
    weighted_rows(rig, theta, posed, D, gaps, weight, rows)
    expected = np.concatenate([plain, plain[:, gaps[:, 0]] - plain[:, gaps[:, 1]]], axis=1) * weight[..., None, None]
    scale = np.abs(expected).max(axis=(0, 1, 2))
    tolerance = {np.float64: 1e-12, np.float32: 2e-6}[dtype]  # float32 measured: 4e-7
    assert (np.abs(rows - expected).max(axis=(0, 1, 2)) <= tolerance * scale).all()
