"""The compiled heart of the photometric term: pose a point, look at its pixel, write its two rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np

from dialogbuild.fit.jacobian import _joint_motion, pose_corrective
from dialogbuild.fit.kernel import _arms, _blendshapes
from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.rig import ROTATIONS, Rig, pose_points
from dialogbuild.head.model import PARENTS
from dialogbuild.head.rotation import left_jacobian

if TYPE_CHECKING:
    from dialogbuild.fit.photometric import PhotometricBlock

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class PosedPoints:
    """What n frames' parameters make of a surface, up to skinning.

    Attributes:
        u: (n, N, 3) points before skinning;  transl: (n, 3).
        R: (n, 5, 3, 3) and p, joints, offset: (n, 5, 3) of the joints.
        frame_of: (n, 5, 3, 3) turns a parameter's change into a rotation vector.
        motion: (n, 5, 3, E or 0) of the joints by expression.
        corrective: (n, 4 or 0, N, 3, 3) of the points by the joints' angles.
    """

    u: Array
    R: Array
    p: Array
    joints: Array
    offset: Array
    transl: Array
    frame_of: Array
    motion: Array
    corrective: Array


def pose_surface(rig: Rig, theta: Array, derivatives: bool = True) -> PosedPoints:
    """Pose n frames, theta (n, P), in a few matrix products."""
    n, count = len(theta), rig.n_points
    joints = pose_points(rig.subset(np.arange(1)), theta)
    u: Array = theta[:, N_RIGID:].astype(np.float32) @ rig.expr[0].reshape(count * 3, -1).T
    if rig.pose is not None:
        feature: Array = (joints.R[:, 1:] - np.eye(3, dtype=joints.R.dtype)).reshape(n, -1)
        u += feature.astype(np.float32) @ rig.pose[0].reshape(count * 3, -1).T
    u = u.reshape(n, count, 3) + rig.v[0]
    offset = joints.p - np.einsum("njab,njb->nja", joints.R_global, joints.joints)
    frame_of = np.zeros((n, 5, 3, 3), np.float32)
    motion, corrective = np.zeros((n, 5, 3, 0), np.float32), np.zeros((n, 0, 1, 3, 3), np.float32)
    if derivatives:
        left = [left_jacobian(theta[:, a:b]).astype(np.float32) for a, b in ROTATIONS]
        frame_of = np.stack([left[0]] + [joints.R_global[:, PARENTS[k]] @ left[k] for k in range(1, 5)], axis=1)
        if rig.joint_expr is not None:
            motion = _joint_motion(joints.R_global, rig.joint_expr).astype(np.float32)
        if rig.pose is not None:
            moved = [pose_corrective(rig, joints, k, left[k])[0] for k in range(1, 5)]
            corrective = np.stack(moved, axis=1).astype(np.float32)
    return PosedPoints(
        u.astype(np.float32), joints.R_global, joints.p, np.ascontiguousarray(joints.joints), offset.astype(np.float32),
        theta[:, 3:6].astype(np.float32), frame_of, motion, corrective,
    )  # fmt: skip


def point_rows(
    block: PhotometricBlock, posed: PosedPoints, k: int, frame: int, J: Array | None, r: Array | None
) -> tuple[int, float]:
    """Write the compressed rows of frame ``k`` of posed points; return how many there are and the robust cost.

    Args:
        frame: which of the block's windows it is compared with.
        J, r: (2 N, P) and (2 N,) float32 to write into; None = only the cost.
    """
    none, no_r = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    rows, cost = _compare(
        posed.u[k], block.rig.w[0], block.rig.expr[0], posed.R[k], posed.p[k], posed.joints[k], posed.offset[k],
        posed.transl[k], posed.frame_of[k], posed.motion[k], posed.corrective[k],
        block.cameras[frame].astype(np.float32), block.images[frame], np.float32(0.5**block.level), block.weight[frame],
        block.target[frame], block.sigma, np.float32(block.dof), np.float32(block.independence),
        none if J is None else J, no_r if r is None else r,
    )  # fmt: skip
    return int(rows), float(cost)


def point_colours(block: PhotometricBlock, posed: PosedPoints, k: int, frame: int, out: Array) -> None:
    """Display values of frame ``k``'s points in a window, into (N, 3); -1 outside."""
    _colours(
        posed.u[k], block.rig.w[0], posed.R[k], posed.offset[k], posed.transl[k],
        block.cameras[frame].astype(np.float32), block.images[frame], np.float32(0.5**block.level), out,
    )  # fmt: skip


@nb.njit(cache=True, nogil=True, fastmath=True)
def _value(image, y, x, c):  # type: ignore[no-untyped-def]
    return np.float32(image[y, x, c])


@nb.njit(cache=True, nogil=True, fastmath=True)
def sample_gradient(image, x, y, out):  # type: ignore[no-untyped-def]
    """Bilinear value and central-difference gradient of three channels at (x, y) px: out (3, 3) = value, d/dx, d/dy.

    False when the point is too close to the border.
    """
    u, v = x - np.float32(0.5), y - np.float32(0.5)
    if not (u >= 1 and v >= 1 and u < image.shape[1] - 3 and v < image.shape[0] - 3):
        return False
    i, j = int(u), int(v)
    a, b = u - i, v - j
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    half = np.float32(0.5)
    for c in range(3):
        p00, p01 = _value(image, j, i, c), _value(image, j, i + 1, c)
        p10, p11 = _value(image, j + 1, i, c), _value(image, j + 1, i + 1, c)
        out[c, 0] = w00 * p00 + w01 * p01 + w10 * p10 + w11 * p11
        left0, left1 = _value(image, j, i - 1, c), _value(image, j + 1, i - 1, c)
        right0, right1 = _value(image, j, i + 2, c), _value(image, j + 1, i + 2, c)
        up0, up1 = _value(image, j - 1, i, c), _value(image, j - 1, i + 1, c)
        down0, down1 = _value(image, j + 2, i, c), _value(image, j + 2, i + 1, c)
        out[c, 1] = half * (w00 * (p01 - left0) + w01 * (right0 - p00) + w10 * (p11 - left1) + w11 * (right1 - p10))
        out[c, 2] = half * (w00 * (p10 - up0) + w01 * (p11 - up1) + w10 * (down0 - p00) + w11 * (down1 - p01))
    return True


@nb.njit(cache=True, nogil=True, fastmath=True)
def _compare(  # type: ignore[no-untyped-def]
    u, w, expr, R, p, joints, offset, transl, frame_of, motion, corrective, camera, image, scale, weight, target,
    sigma, dof, independence, J, r,
):  # fmt: skip
    n_points, wanted = u.shape[0], J.shape[0] > 0
    arm, B, look = np.zeros((5, 3), np.float32), np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)
    point, v1, w1, e1 = np.zeros(3, np.float32), np.zeros((1, 3), np.float32), np.zeros((1, 5), np.float32), expr[None]
    none, B1 = np.zeros((0, 1, 3, 3), np.float32), np.zeros((1, 3, 3), np.float32)
    rows, cost = 0, 0.0
    for k in range(n_points):
        if weight[k] <= 0:
            continue
        B[:] = 0
        point[:] = 0
        for j in range(5):
            if w[k, j] != 0:
                for x in range(3):
                    point[x] += w[k, j] * offset[j, x]
                    for y in range(3):
                        B[x, y] += w[k, j] * R[j, x, y]
        for x in range(3):
            point[x] += B[x, 0] * u[k, 0] + B[x, 1] * u[k, 1] + B[x, 2] * u[k, 2]
        X, Y, Z = point[0] + transl[0], -point[1] + transl[1], -point[2] + transl[2]
        if np.float32(1e-3) >= Z:
            continue
        iz = np.float32(1) / Z
        fz = camera[0] * iz
        if not sample_gradient(image, (fz * X + camera[1]) * scale, (fz * Y + camera[2]) * scale, look):
            continue
        unit = np.float32(1 / 255.0)
        inv2 = np.float32(1) / (sigma[k] * sigma[k])
        s2 = np.float32(0)
        for c in range(3):
            residual = look[c, 0] * unit - target[k, c]
            s2 += residual * residual * inv2
        share = independence * weight[k]
        cost += share * 0.5 * (dof + 3) * np.log1p(s2 / dof)
        if not wanted:
            continue
        factor = share * (dof + 3) / (dof + s2) * inv2
        m00, m01, m11, g0, g1 = np.float32(1e-12), np.float32(0), np.float32(1e-12), np.float32(0), np.float32(0)
        for c in range(3):
            residual = look[c, 0] * unit - target[k, c]
            gx, gy = look[c, 1] * unit * scale, look[c, 2] * unit * scale
            m00 += factor * gx * gx
            m01 += factor * gx * gy
            m11 += factor * gy * gy
            g0 += factor * gx * residual
            g1 += factor * gy * residual
        l00 = np.sqrt(m00)
        l10 = m01 / l00
        l11 = np.sqrt(max(m11 - l10 * l10, np.float32(1e-12)))
        q0 = g0 / l00
        r[rows], r[rows + 1] = q0, (g1 - l10 * q0) / l11
        for x in range(3):
            v1[0, x] = u[k, x]
            for y in range(3):
                B1[0, x, y] = B[x, y]
        for j in range(5):
            w1[0, j] = w[k, j]
        _arms(arm, point, v1, w1, R, p, joints)
        for side in range(2):
            row = J[rows + side]
            if side == 0:
                d0, d1, d2 = l00 * fz, l10 * fz, -(l00 * X + l10 * Y) * fz * iz
            else:
                d0, d1, d2 = np.float32(0), l11 * fz, -l11 * Y * fz * iz
            row[3], row[4], row[5] = d0, d1, d2
            a0, a1, a2 = d0, -d1, -d2
            for q in range(5):
                l0 = arm[q, 1] * a2 - arm[q, 2] * a1
                l1 = arm[q, 2] * a0 - arm[q, 0] * a2
                l2 = arm[q, 0] * a1 - arm[q, 1] * a0
                at = 0 if q == 0 else 3 + 3 * q
                for x in range(3):
                    row[at + x] = l0 * frame_of[q, 0, x] + l1 * frame_of[q, 1, x] + l2 * frame_of[q, 2, x]
            row[18:] = 0
            if corrective.shape[0]:
                _blendshapes(row, a0, a1, a2, B1, e1[:, k], corrective[:, k : k + 1])
            else:
                _blendshapes(row, a0, a1, a2, B1, e1[:, k], none)
            for j in range(5):
                if motion.shape[2] and w[k, j] != 0:
                    for e in range(motion.shape[2]):
                        row[18 + e] += w[k, j] * (a0 * motion[j, 0, e] + a1 * motion[j, 1, e] + a2 * motion[j, 2, e])
        rows += 2
    return rows, cost


@nb.njit(cache=True, nogil=True)
def sample_points(image, pixels, scale, out):  # type: ignore[no-untyped-def]
    """Values and gradients (N, 3 channels, 3 = value, d/dx, d/dy) in display units at window pixels (N, 2).

    ``image`` is the window in 0..255, halved until it has ``scale`` times the window's size. Values are -1 where a
    point is too close to the border.
    """
    look = np.zeros((3, 3), np.float32)
    for k in range(pixels.shape[0]):
        if sample_gradient(image, pixels[k, 0] * scale, pixels[k, 1] * scale, look):
            out[k] = look * np.float32(1 / 255.0)
        else:
            out[k] = 0
            out[k, :, 0] = -1


@nb.njit(cache=True, nogil=True, fastmath=True)
def _colours(u, w, R, offset, transl, camera, image, scale, out):  # type: ignore[no-untyped-def]
    look, point = np.zeros((3, 3), np.float32), np.zeros(3, np.float32)
    for k in range(u.shape[0]):
        point[:] = 0
        for j in range(5):
            if w[k, j] != 0:
                for x in range(3):
                    turned = R[j, x, 0] * u[k, 0] + R[j, x, 1] * u[k, 1] + R[j, x, 2] * u[k, 2]
                    point[x] += w[k, j] * (turned + offset[j, x])
        X, Y, Z = point[0] + transl[0], -point[1] + transl[1], -point[2] + transl[2]
        out[k] = -1
        if np.float32(1e-3) >= Z:
            continue
        fz = camera[0] / Z
        if sample_gradient(image, (fz * X + camera[1]) * scale, (fz * Y + camera[2]) * scale, look):
            for c in range(3):
                out[k, c] = look[c, 0] * np.float32(1 / 255.0)
