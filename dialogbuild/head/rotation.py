"""Rotations as axis-angle vectors: exponential and log maps of SO(3) and their Jacobians, batched.

Formulas: J. Sola, J. Deray, D. Atchuthan, "A micro Lie theory for state estimation in robotics" (2018),
appendix on SO(3). All functions take any leading shape, compute in float64 and are exact at zero: below
``_SMALL_RAD`` the coefficients switch to their Taylor series.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]

# At 1e-2 rad the truncated series and the closed forms agree to 1e-15.
_SMALL_RAD = 1e-2


def skew(vector: ArrayLike) -> Float64:
    """Cross-product matrix ``[v]x`` with ``[v]x @ w = cross(v, w)``. (..., 3) -> (..., 3, 3)."""
    v = np.asarray(vector, np.float64)
    out = np.zeros((*v.shape, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def _coefficients(angle_sq: Float64) -> tuple[Float64, Float64, Float64]:
    """``sin(a)/a``, ``(1 - cos a)/a^2`` and ``(a - sin a)/a^3`` from a^2."""
    small = angle_sq < _SMALL_RAD**2
    safe = np.where(small, 1.0, angle_sq)
    angle = np.sqrt(safe)
    sinc = np.where(small, 1 - angle_sq / 6 * (1 - angle_sq / 20 * (1 - angle_sq / 42)), np.sin(angle) / angle)
    half = np.where(
        small, 0.5 - angle_sq / 24 * (1 - angle_sq / 30 * (1 - angle_sq / 56)), 2 * np.sin(angle / 2) ** 2 / safe
    )
    third = np.where(
        small,
        1 / 6 - angle_sq / 120 * (1 - angle_sq / 42 * (1 - angle_sq / 72)),
        (angle - np.sin(angle)) / (safe * angle),
    )
    return sinc, half, third


def _series(axis_angle: ArrayLike, first: int, sign: float) -> Float64:
    v = np.asarray(axis_angle, np.float64)
    coefficients = _coefficients(np.sum(v * v, axis=-1))
    k = skew(v)
    a, b = coefficients[first][..., None, None], coefficients[first + 1][..., None, None]
    return np.asarray(np.eye(3) + sign * a * k + b * (k @ k))


def rodrigues(axis_angle: ArrayLike) -> Float64:
    """Exponential map. Axis-angle (..., 3) in radians -> rotation matrices (..., 3, 3)."""
    return _series(axis_angle, 0, 1.0)


def left_jacobian(axis_angle: ArrayLike) -> Float64:
    """``J_l`` with ``exp(w + d) ~ exp(J_l d) exp(w)``. (..., 3) -> (..., 3, 3)."""
    return _series(axis_angle, 1, 1.0)


def right_jacobian(axis_angle: ArrayLike) -> Float64:
    """``J_r`` with ``exp(w + d) ~ exp(w) exp(J_r d)``. (..., 3) -> (..., 3, 3)."""
    return _series(axis_angle, 1, -1.0)


def rodrigues_jacobian(axis_angle: ArrayLike) -> Float64:
    """Derivative of the rotation matrix. (..., 3) -> (..., 3, 3, 3), the last axis is the axis-angle component."""
    jacobian = left_jacobian(axis_angle)
    columns = skew(np.swapaxes(jacobian, -1, -2))  # (..., k, 3, 3)
    product = columns @ rodrigues(axis_angle)[..., None, :, :]
    return np.moveaxis(product, -3, -1)


def log_so3(rotation: ArrayLike) -> Float64:
    """Log map. Rotation matrices (..., 3, 3) -> axis-angle (..., 3) with an angle in [0, pi].

    Goes through the quaternion whose largest component is divided by (Shepperd 1978), so it is accurate at 0 and pi.
    """
    r = np.asarray(rotation, np.float64)
    quaternion = _quaternion(r)
    w, xyz = quaternion[..., 0], quaternion[..., 1:]
    sine = np.linalg.norm(xyz, axis=-1)
    angle = 2 * np.arctan2(sine, w)
    scale = np.where(sine > 1e-9, angle / np.where(sine > 1e-9, sine, 1.0), 2.0)
    return np.asarray(xyz * scale[..., None])


def _quaternion(r: Float64) -> Float64:
    """Unit quaternions (w, x, y, z) with w >= 0."""
    trace = np.trace(r, axis1=-2, axis2=-1)
    diagonal = np.stack([r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]], -1)
    squares = np.concatenate([1 + trace[..., None], 1 + 2 * diagonal - trace[..., None]], -1)  # 4 q_i^2
    x, y, z = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    rows = np.stack(
        [
            np.stack([squares[..., 0], x, y, z], -1),
            np.stack([x, squares[..., 1], xy, xz], -1),
            np.stack([y, xy, squares[..., 2], yz], -1),
            np.stack([z, xz, yz, squares[..., 3]], -1),
        ],
        -2,
    )
    best = np.argmax(squares, -1)
    q: NDArray[Any] = np.take_along_axis(rows, best[..., None, None], -2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)
