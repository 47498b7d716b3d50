"""Analytic derivatives of a rig's projected points: by a frame's parameters, and by shape and focal length."""

from __future__ import annotations

import numpy as np

from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.rig import FLIP, N_JOINTS, ROTATIONS, TRANSL, Array, Posed, Rig
from dialogbuild.head.model import PARENTS
from dialogbuild.head.rotation import left_jacobian


def frame_jacobian(rig: Rig, theta: Array, posed: Posed, D: Array, out: Array) -> None:
    """Derivative of projected points by theta, (n, N, C, P), written into ``out``.

    Args:
        D: (n, N, C, 3) derivative of C measured numbers by camera coordinates: of pixels (``project_points``), or the
            unit matrix for the camera coordinates themselves.
    """
    A = D * FLIP.astype(D.dtype)  # by head axes
    out[..., TRANSL] = D
    _rotation_columns(rig, theta, posed, A, out)
    for m in range(len(rig.v)):
        AT = A @ posed.blend[m]  # (n, N, 2, 3): pixels by unposed corner position
        term = AT[..., 0, None] * rig.expr[m][:, None, 0]
        term += AT[..., 1, None] * rig.expr[m][:, None, 1]
        term += AT[..., 2, None] * rig.expr[m][:, None, 2]
        if m:
            out[..., N_RIGID:] += term
        else:
            out[..., N_RIGID:] = term
    if rig.joint_expr is not None:
        out[..., N_RIGID:] += A @ expr_through_joints(rig, posed)


def expr_through_joints(rig: Rig, posed: Posed) -> Array:
    """How expression moves the points by moving the joints that they turn about, (n, N, 3, E)."""
    assert rig.joint_expr is not None
    moved = np.tensordot(rig.w.sum(axis=0), _joint_motion(posed.R_global, rig.joint_expr), (1, 1))
    return np.ascontiguousarray(moved.transpose(1, 0, 2, 3))


def _joint_motion(R_global: Array, dirs: Array) -> Array:
    """How the offset p_k - R_k j_k of each joint's transform follows coefficients that move the joints.

    Args:
        R_global: (n, J, 3, 3);  dirs: (J, 3, S).

    Returns:
        (n, J, 3, S).
    """
    dp = np.empty((len(R_global), *dirs.shape), R_global.dtype)
    dp[:, 0] = dirs[0]
    for k in range(1, N_JOINTS):
        parent = PARENTS[k]
        dp[:, k] = dp[:, parent] + R_global[:, parent] @ (dirs[k] - dirs[parent])
    return np.asarray(dp - R_global @ dirs)


def _rotation_columns(rig: Rig, theta: Array, posed: Posed, A: Array, out: Array) -> None:
    jacobians = [left_jacobian(theta[:, a:b]).astype(A.dtype) for a, b in ROTATIONS]
    for k, (a, b) in enumerate(ROTATIONS):
        out[..., a:b] = 0
        arm, rows = _arm(rig, posed, k)
        lever = np.cross(arm[:, :, None], A[:, rows])  # a . (d x arm) = d . (arm x a)
        frame = jacobians[k] if k == 0 else posed.R_global[:, PARENTS[k]] @ jacobians[k]
        out[:, rows, :, a:b] = lever @ frame[:, None]
        if rig.pose is not None and k > 0:
            moved = pose_corrective(rig, posed, k, jacobians[k])
            for m in range(len(rig.v)):
                out[..., a:b] += (A @ posed.blend[m]) @ moved[m]


def _arm(rig: Rig, posed: Posed, k: int) -> tuple[Array, Array]:
    """What joint k carries: weighted vectors from the joint to the points (n, rows, 3), and which points those are."""
    if k == 0:
        return posed.points - posed.joints[:, :1], np.arange(rig.n_points)
    joints = range(k, N_JOINTS) if k == 1 else (k,)
    rows = np.flatnonzero(np.abs(rig.w[:, :, list(joints)]).sum(axis=(0, 2)) > 0)
    arm = np.zeros((len(posed.points), len(rows), 3), posed.points.dtype)
    for j in joints:
        local = posed.v[:, :, rows] - posed.joints[:, None, j]  # (M, n, rows, 3)
        moved = local @ posed.R_global[:, j].transpose(0, 2, 1) + (posed.p[:, j] - posed.p[:, k])[:, None]
        arm += np.einsum("mr,mnrc->nrc", rig.w[:, rows, j], moved)
    return arm, rows


def pose_corrective(rig: Rig, posed: Posed, k: int, left: Array) -> Array:
    """How the unposed corners follow joint k's rotation through the pose-corrective shapes, (M, n, N, 3, 3).

    Args:
        left: (n, 3, 3) left Jacobian of the joint's axis-angle.
    """
    assert rig.pose is not None
    dR = np.cross(left.transpose(0, 2, 1)[:, :, None], posed.R[:, k].transpose(0, 2, 1)[:, None])  # (n, i, column, row)
    by_axis = dR.transpose(0, 3, 2, 1).reshape(len(dR), 1, 9, 3)
    return np.asarray(rig.pose[:, None, ..., 9 * (k - 1) : 9 * k] @ by_axis)


def shared_jacobian(rig: Rig, posed: Posed, D: Array, transl_m: Array) -> Array:
    """Derivative of projected points by shape and log focal length, (n, N, 2, S + 1)."""
    A = D * FLIP.astype(D.dtype)
    S = rig.joint_dirs.shape[-1]
    offset = _joint_motion(posed.R_global, rig.joint_dirs)
    moved = np.tensordot(rig.w.sum(axis=0), offset, axes=(1, 1)).transpose(1, 0, 2, 3)  # (n, N, 3, S)
    for m in range(len(rig.v)):
        moved = moved + posed.blend[m] @ rig.shape_dirs[m]
    out = np.empty((*A.shape[:3], S + 1), A.dtype)
    out[..., :S] = A @ moved
    x = posed.points * FLIP.astype(A.dtype) + transl_m[:, None].astype(A.dtype)
    # pixels by focal is x/z, which is (pixels by x) * x / focal, so by log focal:
    out[..., S] = np.stack([D[..., 0, 0] * x[..., 0], D[..., 1, 1] * x[..., 1]], axis=-1)
    return out
