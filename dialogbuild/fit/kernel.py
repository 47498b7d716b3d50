"""The fast twin of ``jacobian.frame_jacobian``: one compiled pass over the landmarks, a test holds both equal."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dialogbuild.fit.jacobian import expr_through_joints, pose_corrective
from dialogbuild.fit.rig import ROTATIONS, Posed, Rig
from dialogbuild.head.model import PARENTS
from dialogbuild.head.rotation import left_jacobian

Array = np.ndarray[Any, np.dtype[Any]]


def weighted_rows(rig: Rig, theta: Array, posed: Posed, D: Array, gaps: Array, weight: Array, out: Array) -> None:
    """Jacobian rows of landmarks and gaps, each times its weight, written into ``out``.

    Args:
        D: (n, N, 2, 3) pixels by camera coordinates;  gaps: (G, 2) rows;  weight: (n, N + G).
        out: (n, N + G, 2, P).
    """
    dtype = rig.v.dtype
    left = [left_jacobian(theta[:, a:b]).astype(dtype) for a, b in ROTATIONS]
    frame = np.stack([left[0]] + [posed.R_global[:, PARENTS[k]] @ left[k] for k in range(1, 5)], axis=1)
    none = np.zeros((len(theta), 0, 0, 0), dtype)
    through = none if rig.joint_expr is None else expr_through_joints(rig, posed)
    corrective = np.zeros((0, *posed.v.shape, 3), dtype)
    if rig.pose is not None:
        corrective = np.stack([pose_corrective(rig, posed, k, left[k]) for k in range(1, 5)])
    _rows(
        D, posed.points, posed.v, posed.blend, rig.w, posed.R_global, posed.p, posed.joints,
        frame, rig.expr, through, corrective, gaps, weight, out,
    )  # fmt: skip


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _rows(  # type: ignore[no-untyped-def]
    D, points, v, blend, w, R_global, p, joints, frame, expr, through, corrective, gaps, weight, out
) -> None:
    n_frames, n_points = points.shape[:2]
    arm = np.zeros((5, 3), points.dtype)
    for f in range(n_frames):
        for i in range(n_points):
            _arms(arm, points[f, i], v[:, f, i], w[:, i], R_global[f], p[f], joints[f])
            for c in range(2):
                row = out[f, i, c]
                d = D[f, i, c]
                row[3], row[4], row[5] = d[0], d[1], d[2]
                a0, a1, a2 = d[0], -d[1], -d[2]
                for k in range(5):
                    l0 = arm[k, 1] * a2 - arm[k, 2] * a1
                    l1 = arm[k, 2] * a0 - arm[k, 0] * a2
                    l2 = arm[k, 0] * a1 - arm[k, 1] * a0
                    at = 0 if k == 0 else 3 + 3 * k
                    for x in range(3):
                        row[at + x] = l0 * frame[f, k, 0, x] + l1 * frame[f, k, 1, x] + l2 * frame[f, k, 2, x]
                row[18:] = 0
                _blendshapes(row, a0, a1, a2, blend[:, f, i], expr[:, i], corrective[:, :, f, i])
                if through.shape[1]:
                    for e in range(row.shape[0] - 18):
                        t = through[f, i]
                        row[18 + e] += a0 * t[0, e] + a1 * t[1, e] + a2 * t[2, e]
        for g in range(len(gaps)):
            for c in range(2):
                a, b = out[f, gaps[g, 0], c], out[f, gaps[g, 1], c]
                for q in range(len(a)):
                    out[f, n_points + g, c, q] = weight[f, n_points + g] * (a[q] - b[q])
        for i in range(n_points):
            for c in range(2):
                for q in range(out.shape[3]):
                    out[f, i, c, q] *= weight[f, i]


@numba.njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _arms(arm, point, v, w, R_global, p, joints) -> None:  # type: ignore[no-untyped-def]
    """What each joint carries of one landmark: weighted vectors from the posed joint."""
    arm[1:] = 0
    for x in range(3):
        arm[0, x] = point[x] - joints[0, x]
    for m in range(v.shape[0]):
        for j in range(1, 5):
            if w[m, j] == 0:
                continue
            q0, q1, q2 = v[m, 0] - joints[j, 0], v[m, 1] - joints[j, 1], v[m, 2] - joints[j, 2]
            for x in range(3):
                turned = R_global[j, x, 0] * q0 + R_global[j, x, 1] * q1 + R_global[j, x, 2] * q2
                arm[1, x] += w[m, j] * (turned + p[j, x] - p[1, x])
                if j > 1:
                    arm[j, x] += w[m, j] * turned


@numba.njit(cache=True, nogil=True, fastmath=True)  # type: ignore[untyped-decorator]
def _blendshapes(row, a0, a1, a2, blend, expr, corrective) -> None:  # type: ignore[no-untyped-def]
    for m in range(blend.shape[0]):
        B = blend[m]
        t0 = a0 * B[0, 0] + a1 * B[1, 0] + a2 * B[2, 0]
        t1 = a0 * B[0, 1] + a1 * B[1, 1] + a2 * B[2, 1]
        t2 = a0 * B[0, 2] + a1 * B[1, 2] + a2 * B[2, 2]
        e0, e1, e2 = expr[m, 0], expr[m, 1], expr[m, 2]
        for e in range(row.shape[0] - 18):
            row[18 + e] += t0 * e0[e] + t1 * e1[e] + t2 * e2[e]
        for k in range(corrective.shape[0]):
            C = corrective[k, m]
            for x in range(3):
                row[6 + 3 * k + x] += t0 * C[0, x] + t1 * C[1, x] + t2 * C[2, x]
