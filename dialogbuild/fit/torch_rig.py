"""A rig on tensors: points of n frames at once with all their derivatives, on any device.

The same functions as ``rig`` and ``jacobian``. Rotations are computed in float64 and then rounded, as they are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dialogbuild.errors import ConfigError
from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.rig import N_JOINTS, ROTATIONS, TRANSL, Rig
from dialogbuild.head.model import PARENTS

_NEAR_M = 1e-3
_SMALL_RAD = 1e-2


def resolve_device(name: str) -> torch.device:
    """The device of ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: the name is another one, or torch finds no such device.
    """
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise ConfigError(f"device is auto, cpu, cuda or cuda:N, not {name!r}")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= count:
        raise ConfigError(
            f"device {name!r}: torch {torch.__version__} finds {count} CUDA devices; use cpu or auto, or install a"
            " CUDA build of torch"
        )
    if kind == "auto":
        kind = "cuda" if count else "cpu"
    return torch.device(f"{kind}:{number}" if number else kind)


@dataclass(frozen=True, eq=False)
class TorchRig:
    """The tensors of a ``Rig``: M corners per point, N points, 5 joints, E expressions. Points are the last axis.

    Attributes:
        v: (M, 3, N);  w: (M, 5, N);  dirs: (M, K, 3, N), E expressions, then 36 pose correctives if the model has them.
        joints: (5, 3);  joint_expr: (5, 3, E) or None.
    """

    v: Tensor
    w: Tensor
    dirs: Tensor
    joints: Tensor
    joint_expr: Tensor | None
    n_expr: int

    @classmethod
    def from_rig(cls, rig: Rig, device: torch.device, dtype: torch.dtype) -> TorchRig:
        """Copy a rig to a device."""

        def put(array: object) -> Tensor:
            return torch.as_tensor(array).to(device=device, dtype=dtype)

        dirs = put(rig.expr) if rig.pose is None else torch.cat([put(rig.expr), put(rig.pose)], dim=-1)
        return cls(
            v=put(rig.v).mT.contiguous(),
            w=put(rig.w).mT.contiguous(),
            dirs=dirs.permute(0, 3, 2, 1).contiguous(),
            joints=put(rig.joints),
            joint_expr=None if rig.joint_expr is None else put(rig.joint_expr),
            n_expr=int(rig.expr.shape[-1]),
        )

    @property
    def size(self) -> int:
        """P, the length of theta that this rig takes."""
        return N_RIGID + self.n_expr

    @property
    def correctives(self) -> bool:
        """Whether joint rotations reshape the surface."""
        return self.dirs.shape[1] > self.n_expr


@dataclass(frozen=True, eq=False)
class TorchPosed:
    """One evaluation of a rig. n = frames.

    Attributes:
        points: (n, 3, N) m, camera axes, translation applied.
        centred: (n, 3, N) m, head axes after all rotations.
        R, left, R_global: (n, 5, 3, 3) local rotations, their left Jacobians, rotations from the root down.
        joints, p: (n, 5, 3) joints at rest and posed.
        blend: (M, n, 3, 3, N) blended rotation of each corner;  v: (M, n, 3, N) unposed corners.
    """

    points: Tensor
    centred: Tensor
    R: Tensor
    left: Tensor
    R_global: Tensor
    joints: Tensor
    p: Tensor
    blend: Tensor
    v: Tensor


def rotations(axis_angle: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation matrices and left Jacobians (..., 3, 3) of axis-angles (..., 3) float64 (``head.rotation``)."""
    square = (axis_angle * axis_angle).sum(-1)
    small = square < _SMALL_RAD**2
    safe = torch.where(small, 1.0, square)
    angle = torch.sqrt(safe)
    sinc = torch.where(small, 1 - square / 6 * (1 - square / 20 * (1 - square / 42)), torch.sin(angle) / angle)
    half = torch.where(
        small, 0.5 - square / 24 * (1 - square / 30 * (1 - square / 56)), 2 * torch.sin(angle / 2) ** 2 / safe
    )
    third = torch.where(
        small, 1 / 6 - square / 120 * (1 - square / 42 * (1 - square / 72)), (angle - torch.sin(angle)) / (safe * angle)
    )
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(*x.shape, 3, 3)
    k2, eye = k @ k, torch.eye(3, dtype=k.dtype, device=k.device)
    sinc, half, third = (c[..., None, None] for c in (sinc, half, third))
    return eye + sinc * k + half * k2, eye + half * k + third * k2


def pose(rig: TorchRig, theta: Tensor) -> TorchPosed:
    """Evaluate the points at theta (n, P) float64."""
    n, (M, _, N), dtype = len(theta), rig.v.shape, rig.v.dtype
    R64, left64 = rotations(torch.stack([theta[:, a:b] for a, b in ROTATIONS], dim=1))
    R, left, psi = R64.to(dtype), left64.to(dtype), theta[:, N_RIGID:].to(dtype)
    joints = rig.joints.expand(n, -1, -1)
    coefficients = psi
    if rig.joint_expr is not None:
        joints = joints + (psi @ rig.joint_expr.flatten(0, 1).T).view(n, N_JOINTS, 3)
    if rig.correctives:
        eye = torch.eye(3, dtype=dtype, device=R.device)
        coefficients = torch.cat([psi, (R[:, 1:] - eye).flatten(1)], dim=1)
    R_global, p = _chain(R, joints)
    v = torch.matmul(coefficients, rig.dirs.flatten(2)).view(M, n, 3, N) + rig.v[:, None]
    blend = torch.matmul(R_global.flatten(2).mT, rig.w[:, None]).view(M, n, 3, 3, N)
    offset = p - (R_global @ joints[..., None])[..., 0]
    centred = (blend * v[:, :, None]).sum((0, 3)) + torch.matmul(offset.mT, rig.w.sum(0))
    points = _flipped(centred, 1) + theta[:, TRANSL, None].to(dtype)
    return TorchPosed(points, centred, R, left, R_global, joints, p, blend, v)


def _flipped(x: Tensor, axis: int) -> Tensor:
    """Head axes to camera axes, or a derivative by camera axes to one by head axes."""
    return torch.cat([x.narrow(axis, 0, 1), -x.narrow(axis, 1, 2)], dim=axis)


def _chain(R: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    R_global, p = [R[:, 0]], [joints[:, 0]]
    for k in range(1, N_JOINTS):
        parent = PARENTS[k]
        bone = joints[:, k] - joints[:, parent]
        p.append(p[parent] + (R_global[parent] @ bone[..., None])[..., 0])
        R_global.append(R_global[parent] @ R[:, k])
    return torch.stack(R_global, dim=1), torch.stack(p, dim=1)


def project(points: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (n, 2, N), 1 / depth (n, N) and whether a point is in front of the camera (n, N), from (n, 3, N).

    Args:
        cameras: (n, 3) focal_px, cx_px, cy_px.
    """
    front = points[:, 2] > _NEAR_M
    inv_z = 1.0 / torch.where(front, points[:, 2], _NEAR_M)
    return (cameras[:, :1] * inv_z)[:, None] * points[:, :2] + cameras[:, 1:, None], inv_z, front


def frame_rows(rig: TorchRig, posed: TorchPosed, D: Tensor, out: Tensor) -> None:
    """Derivative by theta of two measured numbers per point, written into ``out``.

    Args:
        D: (n, 2, 3, N) derivative of the numbers by camera coordinates.
        out: (n, >= P, 2, N), the transposed Jacobian.
    """
    A, n, N = _flipped(D, 2), len(D), D.shape[-1]
    out[:, TRANSL] = D.transpose(1, 2)
    above = torch.stack([posed.R_global[:, PARENTS[k]] for k in range(1, N_JOINTS)], dim=1)
    frame = torch.cat([posed.left[:, :1], above @ posed.left[:, 1:]], dim=1)
    x, y, z = _arms(rig, posed)[:, :, :, None].unbind(2)  # (n, 5, 1, N)
    a, b, c = A[:, None].unbind(3)  # (n, 1, 2, N)
    lever = torch.stack([y * c - z * b, z * a - x * c, x * b - y * a], dim=2)  # a . (d x arm) = d . (arm x a)
    turned = (frame.mT @ lever.flatten(3)).view(n, 3 * N_JOINTS, 2, N)
    out[:, :3], out[:, 6:N_RIGID] = turned[:, :3], turned[:, 3:]
    E = rig.n_expr
    by_expr = out[:, N_RIGID : N_RIGID + E]
    local = [(A[:, :, :, None] * blend[:, None]).sum(2) for blend in posed.blend]  # (n, 2, 3, N): by unposed position
    _by_directions(local, rig.dirs[:, :E], by_expr)
    if rig.correctives:
        by_coefficient = D.new_empty((n, 36, 2, N))
        _by_directions(local, rig.dirs[:, E:], by_coefficient)
        out[:, 6:N_RIGID] += (_corrective_rates(posed).mT @ by_coefficient.flatten(2)).view(n, 12, 2, N)
    if rig.joint_expr is not None:
        weighted = rig.w.sum(0)[:, None, None] * A.transpose(1, 2)[:, None]  # (n, 5, 3, 2, N)
        rates = _joint_rates(posed.R_global, rig.joint_expr).flatten(1, 2)
        by_expr += (rates.mT @ weighted.flatten(1, 2).flatten(2)).view(n, E, 2, N)


def _by_directions(local: list[Tensor], dirs: Tensor, out: Tensor) -> None:
    """Derivative by the coefficients of directions (M, K, 3, N) into (n, K, 2, N)."""
    for m, (by_position, corner) in enumerate(zip(local, dirs[:, None, :, None], strict=True)):
        for axis in range(3):
            a, b = by_position[:, None, :, axis], corner[..., axis, :]
            if m == axis == 0:
                torch.mul(a, b, out=out)
            else:
                out.addcmul_(a, b)


def _arms(rig: TorchRig, posed: TorchPosed) -> Tensor:
    """What each joint carries of each point: weighted vectors from the posed joint, (n, 5, 3, N)."""
    limbs = torch.zeros_like(posed.centred[:, None])
    for v, w in zip(posed.v, rig.w, strict=True):
        local = v[:, None] - posed.joints[:, 1:, :, None]
        limbs = limbs + w[1:, None] * (posed.R_global[:, 1:] @ local)
    base = (posed.p[:, 1:] - posed.p[:, 1:2]).mT @ rig.w.sum(0)[1:]
    neck = limbs.sum(1) + base
    root = posed.centred - posed.joints[:, 0, :, None]
    return torch.cat([root[:, None], neck[:, None], limbs[:, 1:]], dim=1)


def _corrective_rates(posed: TorchPosed) -> Tensor:
    """How the 36 corrective coefficients follow the rotations of neck, jaw and eyes, (n, 36, 12), block diagonal."""
    R, left = posed.R[:, 1:], posed.left[:, 1:]
    # d R[:, column] by axis i is left[:, i] x R[:, column]
    rate = torch.linalg.cross(left.mT[:, :, :, None], R.mT[:, :, None])  # (n, 4, i, column, row)
    out = R.new_zeros(len(R), 4, 9, 4, 3)
    for k in range(4):
        out[:, k, :, k] = rate[:, k].permute(0, 3, 2, 1).flatten(1, 2)
    return out.flatten(3).flatten(1, 2)


def _joint_rates(R_global: Tensor, dirs: Tensor) -> Tensor:
    """How the offset p - R j of each joint's transform follows the expressions, (n, 5, 3, E)."""
    dp = [dirs[0].expand(len(R_global), -1, -1)]
    for k in range(1, N_JOINTS):
        parent = PARENTS[k]
        dp.append(dp[parent] + R_global[:, parent] @ (dirs[k] - dirs[parent]))
    return torch.stack(dp, dim=1) - R_global @ dirs
