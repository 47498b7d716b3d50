"""Skinning against a slow float64 twin written from the paper's equations, on a little random model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dialogbuild.errors import ConfigError
from dialogbuild.head.camera import Camera
from dialogbuild.head.model import PARENTS, HeadModel
from dialogbuild.head.pose import HeadPose, neutral_pose, pose_head, to_camera

V, S, E = 40, 4, 6


@pytest.fixture(scope="module")
def model() -> HeadModel:
    rng = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32) * 0.05

    weights, regressor = rng.random((V, 5)), rng.random((5, V))
    faces = rng.integers(0, V, (30, 3)).astype(np.int32)
    return HeadModel(
        "little", "0" * 64, "none", random(V, 3), faces, random(V, 2), faces, random(V, 3, S), random(V, 3, E),
        random(V, 3, 36), (regressor / regressor.sum(1, keepdims=True)).astype(np.float32), PARENTS,
        (weights / weights.sum(1, keepdims=True)).astype(np.float32), tuple(map(str, range(S))),
        tuple(map(str, range(E))), None, {}, {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def pose() -> HeadPose:
    rng = np.random.default_rng(2)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32) * 0.5

    n = 19  # more than one block
    return HeadPose(random(S), random(n, E), random(n, 3), random(n, 3), random(n, 3), random(n, 6), random(n, 3))


def _twin(m: HeadModel, p: HeadPose, t: int) -> np.ndarray:
    shaped = m.v_template.astype(float) + m.shape_dirs.astype(float) @ p.shape + m.expr_dirs.astype(float) @ p.expr[t]
    joints = m.j_regressor.astype(float) @ shaped
    angles = np.concatenate([p.root_rad[t], p.neck_rad[t], p.jaw_rad[t], p.eyes_rad[t]]).reshape(5, 3).astype(float)
    local = Rotation.from_rotvec(angles).as_matrix()
    if m.pose_dirs is not None:
        shaped = shaped + m.pose_dirs.astype(float) @ (local[1:] - np.eye(3)).ravel()
    world = []
    for j, parent in enumerate(m.parents):
        step = np.eye(4)
        step[:3, :3], step[:3, 3] = local[j], joints[j] - (joints[parent] if parent >= 0 else 0)
        world.append(step if parent < 0 else world[parent] @ step)
    out = np.zeros((len(shaped), 3))
    for i, vertex in enumerate(shaped):
        for j in range(5):
            rest = np.append(vertex - joints[j], 1)
            out[i] += m.weights[i, j] * (world[j] @ rest)[:3]
    return out


def test_posed_vertices_equal_the_slow_twin(model: HeadModel, pose: HeadPose) -> None:
    fast = pose_head(model, pose)
    assert fast.shape == (19, V, 3)
    assert fast.dtype == np.float32
    for t in (0, 7, 18):
        np.testing.assert_allclose(fast[t], _twin(model, pose, t), atol=2e-6)


def test_a_model_without_pose_corrections_equals_the_slow_twin(model: HeadModel, pose: HeadPose) -> None:
    bare = replace(model, pose_dirs=None)
    np.testing.assert_allclose(pose_head(bare, pose)[3], _twin(bare, pose, 3), atol=2e-6)


def test_a_vertex_subset_equals_those_rows_of_the_whole(model: HeadModel, pose: HeadPose) -> None:
    rows = np.array([3, 30, 4, 3])
    np.testing.assert_allclose(pose_head(model, pose, rows), pose_head(model, pose)[:, rows], atol=1e-6)


def test_the_root_turns_about_its_joint(model: HeadModel) -> None:
    base = neutral_pose(model)
    turned = replace(base, root_rad=np.array([[0, 0.7, 0]], np.float32))
    joint = model.joint_template[0]
    rotation = Rotation.from_rotvec([0, 0.7, 0]).as_matrix()
    expected = (model.v_template - joint) @ rotation.T + joint
    np.testing.assert_allclose(pose_head(model, turned)[0], expected, atol=1e-6)


def test_a_pose_for_another_model_is_refused(model: HeadModel) -> None:
    wrong = replace(neutral_pose(model), shape=np.zeros(S + 1, np.float32))
    with pytest.raises(ConfigError, match="4 shape and 6 expression"):
        pose_head(model, wrong)


def test_a_pose_with_unequal_lengths_is_refused(pose: HeadPose) -> None:
    with pytest.raises(ConfigError, match="jaw_rad"):
        replace(pose, jaw_rad=pose.jaw_rad[:-1])


def test_camera_axes_put_the_subjects_left_on_the_right_and_up_at_the_top() -> None:
    camera = Camera.centred(1000.0, 640, 360)
    points = np.array([[[0.05, 0, 0], [0, 0.05, 0]]], np.float32)
    pixels = camera.project(to_camera(points, np.array([[0, 0, 1.0]], np.float32)))[0]
    np.testing.assert_allclose(pixels, [[370, 180], [320, 130]], atol=1e-3)


def test_crops_and_scales_of_a_camera_see_the_same_points() -> None:
    camera = Camera(900.0, 310.0, 170.0, 640, 360)
    x = np.array([[0.03, -0.02, 0.8]])
    np.testing.assert_allclose(camera.cropped(100, 50, 64, 64).project(x), camera.project(x) - [100, 50])
    np.testing.assert_allclose(camera.scaled(2).project(x), camera.project(x) * 2)


def test_a_camera_without_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive"):
        Camera(900.0, 0, 0, 0, 10)
