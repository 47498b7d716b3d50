from __future__ import annotations

import numpy as np
import pytest

from dialogbuild.head.rotation import left_jacobian, log_so3, right_jacobian, rodrigues, rodrigues_jacobian, skew

ANGLES_RAD = [0.0, 1e-12, 1e-5, 0.00999, 0.01001, 0.5, 2.0, 3.1]


def _axis_angle(angle_rad: float) -> np.ndarray:
    axis = np.random.default_rng(4).normal(size=3)
    return angle_rad * axis / np.linalg.norm(axis)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_rodrigues_is_the_matrix_exponential(angle_rad: float) -> None:
    from scipy.linalg import expm

    w = _axis_angle(angle_rad)
    np.testing.assert_allclose(rodrigues(w), expm(skew(w)), atol=1e-14)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_derivative_of_rodrigues_agrees_with_finite_differences(angle_rad: float) -> None:
    w, step = _axis_angle(angle_rad), 1e-5
    numeric = [(rodrigues(w + step * e) - rodrigues(w - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(rodrigues_jacobian(w), np.stack(numeric, -1), atol=1e-9)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_left_and_right_jacobians_perturb_on_their_own_side(angle_rad: float) -> None:
    w, d = _axis_angle(angle_rad), np.array([1e-6, -2e-6, 1.5e-6])
    np.testing.assert_allclose(rodrigues(left_jacobian(w) @ d) @ rodrigues(w), rodrigues(w + d), atol=1e-11)
    np.testing.assert_allclose(rodrigues(w) @ rodrigues(right_jacobian(w) @ d), rodrigues(w + d), atol=1e-11)


@pytest.mark.parametrize("angle_rad", [*ANGLES_RAD, 3.14159, np.pi])
def test_log_undoes_exp_up_to_half_a_turn(angle_rad: float) -> None:
    w = _axis_angle(angle_rad)
    recovered = log_so3(rodrigues(w))
    np.testing.assert_allclose(rodrigues(recovered), rodrigues(w), atol=1e-12)
    assert np.linalg.norm(recovered) == pytest.approx(angle_rad, abs=1e-8)


def test_batches_of_any_shape_equal_single_calls() -> None:
    w = np.random.default_rng(0).normal(size=(2, 5, 3))
    w[0, 0] = 0
    assert rodrigues(w).shape == (2, 5, 3, 3)
    assert rodrigues_jacobian(w).shape == (2, 5, 3, 3, 3)
    np.testing.assert_allclose(rodrigues(w)[1, 3], rodrigues(w[1, 3]), atol=1e-15)
    np.testing.assert_allclose(log_so3(rodrigues(w))[0, 0], 0, atol=0)
