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
    """The tensors of a ``Rig``: M corners per point, N points, 5 joints, E expressions.

    Attributes:
        v: (M, N, 3);  w: (M, N, 5);  dirs: (M, N, 3, E), followed by 36 pose correctives if the model has them.
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
        joint_expr = None if rig.joint_expr is None else put(rig.joint_expr)
        return cls(put(rig.v), put(rig.w), dirs.contiguous(), put(rig.joints), joint_expr, int(rig.expr.shape[-1]))

    @property
    def size(self) -> int:
        """P, the length of theta that this rig takes."""
        return N_RIGID + self.n_expr

    @property
    def correctives(self) -> bool:
        """Whether joint rotations reshape the surface."""
        return self.dirs.shape[-1] > self.n_expr


@dataclass(frozen=True, eq=False)
class TorchPosed:
    """One evaluation of a rig. n = frames.

    Attributes:
        points: (n, N, 3) m, camera axes, translation applied.
        centred: (n, N, 3) m, head axes after all rotations.
        R, left, R_global: (n, 5, 3, 3) local rotations, their left Jacobians, rotations from the root down.
        joints, p: (n, 5, 3) joints at rest and posed.
        blend: (M, n, N, 3, 3) blended rotation of each corner;  v: (M, n, N, 3) unposed corners.
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
    n, (M, N, _), dtype = len(theta), rig.v.shape, rig.v.dtype
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
    v = torch.matmul(coefficients, rig.dirs.flatten(1, 2).mT).view(M, n, N, 3) + rig.v[:, None]
    offset = p - (R_global @ joints[..., None])[..., 0]
    blend = torch.matmul(rig.w[:, None], R_global.flatten(2)).view(M, n, N, 3, 3)
    moved = (blend * v[..., None, :]).sum((0, -1))
    centred = moved + torch.matmul(rig.w.sum(0), offset)
    points = _flipped(centred) + theta[:, None, TRANSL].to(dtype)
    return TorchPosed(points, centred, R, left, R_global, joints, p, blend, v)


def _flipped(x: Tensor) -> Tensor:
    """Head axes to camera axes, or a derivative by camera axes to one by head axes."""
    return torch.cat([x[..., :1], -x[..., 1:]], dim=-1)


def _chain(R: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    R_global, p = [R[:, 0]], [joints[:, 0]]
    for k in range(1, N_JOINTS):
        parent = PARENTS[k]
        bone = joints[:, k] - joints[:, parent]
        p.append(p[parent] + (R_global[parent] @ bone[..., None])[..., 0])
        R_global.append(R_global[parent] @ R[:, k])
    return torch.stack(R_global, dim=1), torch.stack(p, dim=1)


def project(points: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (n, N, 2), 1 / depth (n, N) and whether a point is in front of the camera (n, N), from camera points.

    Args:
        cameras: (n, 3) focal_px, cx_px, cy_px.
    """
    front = points[..., 2] > _NEAR_M
    inv_z = 1.0 / torch.where(front, points[..., 2], _NEAR_M)
    focal, centre = cameras[:, :1], cameras[:, None, 1:]
    return (focal * inv_z)[..., None] * points[..., :2] + centre, inv_z, front


def frame_rows(rig: TorchRig, posed: TorchPosed, D: Tensor, out: Tensor) -> None:
    """Derivative by theta of two measured numbers per point, written into ``out``.

    Args:
        D: (n, N, 2, 3) derivative of the numbers by camera coordinates.
        out: (2, N, n, >= P). Frames lie inside, so that blendshapes are one small matrix product per point.
    """
    A = _flipped(D)
    out[..., TRANSL] = D.permute(2, 1, 0, 3)
    frame = posed.left.clone()
    for k in range(1, N_JOINTS):
        frame[:, k] = posed.R_global[:, PARENTS[k]] @ posed.left[:, k]
    lever = torch.linalg.cross(_arms(rig, posed)[:, :, :, None], A[:, None])  # a . (d x arm) = d . (arm x a)
    turned = (lever.flatten(2, 3) @ frame).view_as(lever).permute(3, 2, 0, 1, 4)  # (2, N, n, 5, 3)
    out[..., :3] = turned[..., 0, :]
    out[..., 6:N_RIGID] = turned[..., 1:, :].flatten(3)
    E, by_dirs = rig.n_expr, _by_directions(rig, posed, A)
    out[..., N_RIGID : N_RIGID + E] = by_dirs[..., :E]
    if rig.correctives:
        out[..., 6:N_RIGID] += _by_frame(by_dirs[..., E:], _corrective_rates(posed))
    if rig.joint_expr is not None:
        weighted = rig.w.sum(0)[:, None, :, None] * A[..., None, :]  # (n, N, 2, 5, 3)
        rows = weighted.flatten(3).permute(2, 1, 0, 3)
        out[..., N_RIGID : N_RIGID + E] += _by_frame(rows, _joint_rates(posed.R_global, rig.joint_expr).flatten(1, 2))


def _by_directions(rig: TorchRig, posed: TorchPosed, A: Tensor) -> Tensor:
    """Derivative by the coefficients of all directions, (2, N, n, K)."""
    total = None
    for blend, dirs in zip(posed.blend, rig.dirs, strict=True):
        local = (A[..., None] * blend[:, :, None]).sum(-2)  # (n, N, 2, 3): by unposed position
        part = torch.matmul(local.permute(2, 1, 0, 3), dirs)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _by_frame(rows: Tensor, factor: Tensor) -> Tensor:
    """(2, N, n, K) times a matrix per frame (n, K, Q): (2, N, n, Q)."""
    product = torch.bmm(rows.flatten(0, 1).transpose(0, 1), factor)
    return product.transpose(0, 1).reshape(*rows.shape[:3], -1)


def _arms(rig: TorchRig, posed: TorchPosed) -> Tensor:
    """What each joint carries of each point: weighted vectors from the posed joint, (n, 5, N, 3)."""
    limbs = torch.zeros_like(posed.centred[:, None].expand(-1, N_JOINTS - 1, -1, -1))
    base = posed.p[:, 1:] - posed.p[:, 1:2]
    neck = torch.zeros_like(posed.centred)
    for v, w in zip(posed.v, rig.w, strict=True):
        local = v[:, None] - posed.joints[:, 1:, None]
        turned = w.T[1:, :, None] * (local @ posed.R_global[:, 1:].mT)
        limbs = limbs + turned
        neck = neck + torch.matmul(w[:, 1:], base)
    first = limbs.sum(1) + neck
    root = posed.centred - posed.joints[:, :1]
    return torch.cat([root[:, None], first[:, None], limbs[:, 1:]], dim=1)


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
