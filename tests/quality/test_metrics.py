"""Each number on data where its value is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dialogbuild.quality import metrics


def test_region_means_take_only_their_landmarks():
    errors = np.array([[1.0, 2.0, 4.0, 8.0]])
    index = np.array([10, 20, 30, 40])
    found = metrics.region_means(errors, index, {"lips": (10, 30), "ears": (99,)})
    assert found["lips"].tolist() == [2.5]
    assert found["ears"].tolist() == [0.0]


def test_gap_error_is_positive_when_the_fit_is_wider_open():
    seen = np.array([[[0.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    fitted = np.array([[[0.0, 0.0], [0.0, 7.0], [9.0, 9.0]]])
    index = np.array([13, 14, 5])
    assert metrics.gap_error_px(fitted, seen, index, ((13, 14), (82, 87))).tolist() == [3.0]
    assert metrics.gap_error_px(fitted, seen, index, ((82, 87),)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("axis_angle_deg", "expected"),
    [((0, 30, 0), (30, 0, 0)), ((20, 0, 0), (0, 20, 0)), ((0, 0, -10), (0, 0, -10))],
)
def test_euler_names_turning_left_looking_down_and_tilting(axis_angle_deg, expected):
    R = Rotation.from_rotvec(np.radians([axis_angle_deg])).as_matrix()
    np.testing.assert_allclose(metrics.euler_deg(R)[0], expected, atol=1e-9)


def test_euler_angles_rebuild_the_rotation():
    degrees = np.random.default_rng(0).uniform(-60, 60, (20, 3))  # yaw, pitch, roll
    ry, rx, rz = (Rotation.from_euler(axis, degrees[:, k : k + 1], degrees=True) for k, axis in enumerate("yxz"))
    np.testing.assert_allclose(metrics.euler_deg((ry * rx * rz).as_matrix()), degrees, atol=1e-9)


def test_acceleration_of_even_motion_is_zero_and_of_a_jump_is_its_size():
    values = np.arange(8.0)[:, None, None] * np.array([1.0, 0.0, 0.0])
    valid = np.ones(8, bool)
    assert np.abs(metrics.acceleration_rms(values, valid)).max() < 1e-12
    values[4:] += [0.0, 3.0, 0.0]
    found = metrics.acceleration_rms(values, valid)
    np.testing.assert_allclose(found, [0, 0, 0, 3, 3, 0, 0, 0])
    valid[4] = False
    assert metrics.acceleration_rms(values, valid).tolist() == [0.0] * 8


def test_two_ticks_have_no_acceleration():
    assert metrics.acceleration_rms(np.ones((2, 3, 3)), np.ones(2, bool)).tolist() == [0.0, 0.0]


def test_inside_counts_points_within_the_picture():
    points = np.array([[[0.0, 0.0], [99.9, 49.9], [100.0, 10.0], [-0.1, 10.0]]])
    assert metrics.inside_fraction(points, 100, 50).tolist() == [0.5]


def _texture(size=600):
    rng = np.random.default_rng(1)
    return np.repeat(rng.integers(0, 256, (size, size, 1), dtype=np.uint8), 3, axis=2)


def _blurred(image, passes):
    out = image.astype(float)
    for _ in range(passes):
        out = (out + np.roll(out, 1, 0) + np.roll(out, -1, 0) + np.roll(out, 1, 1) + np.roll(out, -1, 1)) / 5
    return out.astype(np.uint8)


def test_sharpness_falls_with_blur_and_ignores_contrast():
    image = _texture()
    at = (np.array([300.0, 300.0]), 56.0)
    sharp, soft, softer = (metrics.sharpness(metrics.face_patch(_blurred(image, k), *at)) for k in (0, 2, 8))
    assert sharp > 3 * soft > 6 * softer
    dim = (image.astype(float) * 0.5 + 60).astype(np.uint8)
    assert metrics.sharpness(metrics.face_patch(dim, *at)) == pytest.approx(sharp, rel=0.02)


def test_patch_of_a_constant_picture_is_its_luma_and_is_never_out_of_bounds():
    image = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    for centre, half in (((30, 20), 10.0), ((-50, -50), 30.0), ((59, 39), 200.0), ((30, 20), 0.4)):
        patch = metrics.face_patch(image, np.array(centre, float), half)
        assert patch.shape == (metrics.PATCH_PX, metrics.PATCH_PX)
        np.testing.assert_allclose(patch, 0.299 * 200 + 0.587 * 100 + 0.114 * 50, atol=1e-3)
        assert metrics.sharpness(patch) < 1e-6


def test_patch_keeps_orientation_and_place():
    image = np.zeros((200, 200, 3), np.uint8)
    image[60:100, 120:160] = 255  # upper right of the centre
    patch = metrics.face_patch(image, np.array([120.0, 100.0]), 40.0)
    quarter = metrics.PATCH_PX // 2
    assert patch[:quarter, quarter:].mean() > 250
    assert patch[quarter:, :].mean() < 5
    assert patch[:, :quarter].mean() < 5


def test_percentile_of_nothing_is_zero():
    assert metrics.percentile(np.array([1.0, 2.0]), np.zeros(2, bool), 50) == 0.0
    assert metrics.percentile(np.array([1.0, 2.0, 9.0]), np.array([True, True, False]), 50) == 1.5
