"""The tracker's energy in torch, for optimisers that need no more than its gradient.

Same points, same targets, same robust costs and the same factors of independence as the compiled blocks of
``dialogbuild.fit``; a test holds both equal. ``PixelEnergy`` compares pixels instead of points and has no such twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.normal import PriorBlock
from dialogbuild.fit.params import N_RIGID
from dialogbuild.fit.photometric import PhotometricBlock
from dialogbuild.fit.rig import ROTATIONS, Rig
from dialogbuild.render.interpolate import pixel_barycentrics
from dialogbuild.render.raster_numba import NumbaRasterizer

Array = npt.NDArray[Any]
_ENGINE = NumbaRasterizer()
_BORDER_LOW_PX, _BORDER_HIGH_PX = 1.5, 2.5  # a point this close to the window's edge is not compared


class TorchRig:
    """Linear blend skinning of a rig's points, differentiable in theta. Coordinates are planes: faster than rows."""

    def __init__(self, rig: Rig) -> None:
        M, N, _ = rig.v.shape
        self.v = _tensor(rig.v.reshape(M * N, 3).T)
        self.w = _tensor(rig.w.reshape(M * N, 5).T)
        self.expr = _tensor(rig.expr.reshape(M * N, 3, -1).transpose(2, 1, 0).reshape(-1, 3 * M * N))
        pose = rig.pose
        self.pose = None if pose is None else _tensor(pose.reshape(M * N, 3, 36).transpose(2, 1, 0).reshape(36, -1))
        self.joints = _tensor(rig.joints)
        self.joint_expr = None if rig.joint_expr is None else _tensor(rig.joint_expr.reshape(15, -1).T)
        self.corners, self.n_points = M, N

    def camera_points(self, theta: Tensor) -> Tensor:
        """(n, P) -> (n, 3, N) m, camera axes."""
        n = len(theta)
        R = rotations(theta)
        psi = theta[:, N_RIGID:]
        u = psi @ self.expr
        if self.pose is not None:
            u = u + (R[:, 1:] - torch.eye(3, dtype=R.dtype)).reshape(n, 36) @ self.pose
        u = u.view(n, 3, -1) + self.v
        joints = self.joints.expand(n, 5, 3)
        if self.joint_expr is not None:
            joints = joints + (psi @ self.joint_expr).view(n, 5, 3)
        R_global, p = chain(R, joints)
        offset = p - (R_global @ joints[..., None])[..., 0]
        affine = torch.cat([R_global.reshape(n, 5, 9), offset], 2).transpose(1, 2) @ self.w  # (n, 12, MN)
        (bx, by, bz), (ux, uy, uz) = affine[:, :9].view(n, 3, 3, -1).unbind(2), u[:, None].unbind(2)
        points = affine[:, 9:] + bx * ux + by * uy + bz * uz
        if self.corners > 1:
            points = points.view(n, 3, self.corners, self.n_points).sum(2)
        return points * points.new_tensor([[1.0], [-1.0], [-1.0]]) + theta[:, 3:6, None]


def _tensor(a: Array) -> Tensor:
    return torch.from_numpy(np.array(a, np.float32, order="C"))


def rotations(theta: Tensor) -> Tensor:
    """Local rotations (n, 5, 3, 3) of root, neck, jaw and eyes."""
    v = torch.stack([theta[:, a:b] for a, b in ROTATIONS], 1)
    angle_sq = (v * v).sum(-1, keepdim=True)[..., None] + 1e-12
    angle = angle_sq.sqrt()
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    K = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).view(*v.shape[:2], 3, 3)
    half = 2 * (angle / 2).sin() ** 2 / angle_sq
    return torch.eye(3, dtype=v.dtype) + angle.sin() / angle * K + half * (K @ K)


def chain(R: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Global rotations (n, 5, 3, 3) and posed joints (n, 5, 3) of the tree root - neck - (jaw, eyes)."""
    root, neck = R[:, 0], R[:, 0] @ R[:, 1]
    R_global = torch.cat([root[:, None], neck[:, None], neck[:, None] @ R[:, 2:]], 1)
    p0 = joints[:, 0]
    p1 = p0 + (root @ (joints[:, 1] - p0)[..., None])[..., 0]
    rest = p1[:, None] + (neck[:, None] @ (joints[:, 2:] - joints[:, 1:2])[..., None])[..., 0]
    return R_global, torch.cat([p0[:, None], p1[:, None], rest], 1)


def project(points: Tensor, cameras: Tensor) -> Tensor:
    """(n, 3, N) m and (n, 3) cameras -> (n, 2, N) px."""
    return cameras[:, :1, None] * points[:, :2] / points[:, 2:].clamp(min=1e-3) + cameras[:, 1:, None]


def student(s2: Tensor, dof: float, dim: int) -> Tensor:
    """Robust cost of squared, whitened residuals."""
    return 0.5 * (dof + dim) * torch.log1p(s2 / dof)


class PriorEnergy:
    """``PriorBlock`` in torch."""

    def __init__(self, block: PriorBlock) -> None:
        self.mean, self.information, self.lower = (
            torch.from_numpy(np.asarray(a, np.float32)) for a in (block.mean, block.information, block.lower)
        )
        self.sigma = block.lower_sigma

    def __call__(self, theta: Tensor) -> Tensor:
        """(n, P) -> (n,)."""
        d, below = theta - self.mean, (theta - self.lower).clamp(max=0.0) / self.sigma
        return 0.5 * ((d @ self.information * d).sum(1) + (below * below).sum(1))


class LandmarkEnergy:
    """Some frames of a ``LandmarkBlock`` in torch. Of robust costs it knows Student's."""

    def __init__(self, block: LandmarkBlock, frames: Array) -> None:
        assert block.robust.kind == "student"
        self.rig, self.block = TorchRig(block.rig), block
        self.camera = torch.tensor([block.camera], dtype=torch.float32)
        self.target = _tensor(block.target_px[frames].transpose(0, 2, 1))
        self.gaps = torch.from_numpy(block.gaps)
        inv_sigma = np.concatenate([block.inv_sigma[frames], block.gap_inv_sigma[frames]], axis=1)
        self.inv_sigma_sq = torch.from_numpy(inv_sigma.astype(np.float32) ** 2)

    def __call__(self, theta: Tensor) -> Tensor:
        """(n, P) -> (n,)."""
        r = project(self.rig.camera_points(theta), self.camera) - self.target
        r = torch.cat([r, r[..., self.gaps[:, 0]] - r[..., self.gaps[:, 1]]], 2)
        s2 = (r * r).sum(1) * self.inv_sigma_sq
        return self.block.information * student(s2, self.block.robust.scale, 2).sum(1)


class PointEnergy:
    """Some frames of a ``PhotometricBlock`` in torch."""

    def __init__(self, block: PhotometricBlock, frames: Array) -> None:
        keep = np.flatnonzero((block.weight[frames] > 0).any(axis=0))  # points that no frame of the batch sees
        self.rig, self.dof = TorchRig(block.rig.subset(keep)), block.dof
        self.cameras = torch.from_numpy(block.cameras[frames].astype(np.float32))
        images = torch.from_numpy(block.images[frames].astype(np.float32) / 255)
        self.images = images.permute(0, 3, 1, 2).contiguous()
        self.scale = 0.5**block.level
        self.share = torch.from_numpy(block.independence * block.weight[frames][:, keep])
        self.target = torch.from_numpy(block.target[frames][:, keep]).permute(0, 2, 1).contiguous()
        self.inv_sigma_sq = torch.from_numpy(block.sigma[keep] ** -2.0)

    def __call__(self, theta: Tensor) -> Tensor:
        """(n, P) -> (n,)."""
        pixels = project(self.rig.camera_points(theta), self.cameras) * self.scale
        side = self.images.shape[3]
        with torch.no_grad():
            inside = ((pixels >= _BORDER_LOW_PX) & (pixels < side - _BORDER_HIGH_PX)).all(1)
        grid = (pixels * (2 / side) - 1).transpose(1, 2)[:, None]
        colour = grid_sample(self.images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        r = colour[:, :, 0] - self.target
        s2 = (r * r).sum(1) * self.inv_sigma_sq
        return (student(s2, self.dof, 3) * self.share * inside).sum(1)


@dataclass(frozen=True, eq=False)
class PixelScene:
    """One frame's picture and painted mesh.

    Attributes:
        rig: V vertices, shape applied;  faces: (F, 3) int32;  colour: (V, 3) float32 display values.
        camera: (3,) of the window;  image: (R, R, 3) float32 display values.
        weight: (R, R) float32, 0 = not compared;  inv_sigma_sq: (F,) float32 by triangle, 0 = not compared.
        total: what the weights of all compared pixels add up to, times the share that is independent.
    """

    rig: Rig
    faces: Array
    colour: Array
    camera: Array
    image: Array
    weight: Array
    inv_sigma_sq: Array
    total: float
    dof: float


class PixelEnergy:
    """Rendered minus seen over the pixels of one frame. Visibility is found anew in every call.

    Vertex colours are shaded before and held, as the points' are.
    """

    def __init__(self, scene: PixelScene) -> None:
        self.scene, self.rig = scene, TorchRig(scene.rig)
        self.camera = torch.from_numpy(scene.camera[None].astype(np.float32))
        self.colour = torch.from_numpy(scene.colour)
        self.faces = torch.from_numpy(scene.faces.astype(np.int64))
        self.image, self.weight = torch.from_numpy(scene.image).view(-1, 3), torch.from_numpy(scene.weight).view(-1)
        self.inv_sigma_sq, self.compared = torch.from_numpy(scene.inv_sigma_sq), scene.inv_sigma_sq > 0

    def __call__(self, theta: Tensor) -> Tensor:
        """(n, P) -> (n,)."""
        points = self.rig.camera_points(theta)
        verts = torch.cat([project(points, self.camera), points[:, 2:]], 1).transpose(1, 2)
        shown = _ENGINE.rasterize(verts[0].detach().numpy(), self.scene.faces, self.scene.image.shape[:2]).face_id
        row, column = np.nonzero((shown >= 0) & self.compared[shown] & (self.scene.weight > 0))
        face_id = torch.from_numpy(shown[row, column].astype(np.int64))
        at = torch.from_numpy(row * shown.shape[1] + column)
        triangle = self.faces[face_id]
        corners = verts[0].double()[triangle]  # as in ``render.interpolate``: in float32 a sliver can lose its area
        x_px, y_px = torch.from_numpy(column + 0.5), torch.from_numpy(row + 0.5)
        bary = pixel_barycentrics(corners, x_px, y_px).float()
        drawn = (bary[..., None] * self.colour[triangle]).sum(1)
        r = drawn - self.image[at]
        inv_sigma_sq = self.inv_sigma_sq[face_id]
        s2 = (r * r).sum(1) * inv_sigma_sq
        weight = self.weight[at]
        return (student(s2, self.scene.dof, 3) * weight).sum()[None] * (self.scene.total / weight.sum())
