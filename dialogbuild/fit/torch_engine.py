"""The normal equations of landmarks, pixels and priors on tensors: all frames of a batch at once, on any device.

The same evidence and the same definitions as ``landmarks`` and ``photometric``, which are the fast ones on a CPU; tests
hold both equal. Every shape is fixed by the data, no result is looked at from the host, so that a GPU is never waited
for and a solver can be captured in a CUDA graph. Matrix products of float32 stay float32 unless the caller allows TF32
(``torch.backends.cuda.matmul``; torch's default does not).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dialogbuild.fit.landmarks import LandmarkBlock
from dialogbuild.fit.normal import NormalEquations, PriorBlock, Robust
from dialogbuild.fit.photometric import PhotometricBlock
from dialogbuild.fit.torch_rig import TorchRig, frame_rows, pose, project
from dialogbuild.fit.torch_sample import Sampler

Array = np.ndarray[Any, np.dtype[Any]]
# A frame's Jacobian (4,000 points, 118 parameters) takes 4 MB in float32: few frames for a CPU's caches, many for a GPU
CHUNK_FRAMES = {"cpu": 8, "cuda": 64}
_FLOOR = 1e-12  # added to both diagonal entries of a point's 2 x 2 information, as in the compiled kernel


class TorchEquations(NamedTuple):
    """Normal equations on a device: H (n, P, P), g (n, P), cost (n,), float64."""

    H: Tensor
    g: Tensor
    cost: Tensor


class TorchBlock(ABC):
    """One source of evidence on a device. Its numpy face is a ``normal.ResidualBlock``."""

    device: torch.device

    @abstractmethod
    def equations(self, theta: Tensor, frames: Tensor) -> TorchEquations:
        """Normal equations at theta (n, P) float64 for the clip's frames (n,) int64, both on the device."""

    @abstractmethod
    def costs(self, theta: Tensor, frames: Tensor) -> Tensor:
        """Cost (n,) float64; arguments as of ``equations``."""

    def cost(self, theta: Array, frames: Array) -> Array:
        """See ``normal.ResidualBlock``."""
        return np.concatenate([self.costs(*part).cpu().numpy() for part in self._parts(theta, frames)])

    def assemble(self, theta: Array, frames: Array) -> NormalEquations:
        """See ``normal.ResidualBlock``."""
        found = [self.equations(*part) for part in self._parts(theta, frames)]
        return NormalEquations(*(torch.cat(field).cpu().numpy() for field in zip(*found, strict=True)))

    def _parts(self, theta: Array, frames: Array) -> list[tuple[Tensor, Tensor]]:
        t = torch.as_tensor(np.ascontiguousarray(theta, np.float64)).to(self.device)
        f = torch.as_tensor(np.ascontiguousarray(frames, np.int64)).to(self.device)
        size = CHUNK_FRAMES[self.device.type]
        return list(zip(torch.split(t, size), torch.split(f, size), strict=True))


@dataclass(frozen=True, eq=False)
class TorchPhotometric(TorchBlock):
    """``photometric.PhotometricBlock`` on a device. F windows, N points; ``inv_sigma2``: (N,) of display units."""

    device: torch.device
    rig: TorchRig
    cameras: Tensor
    sampler: Sampler
    weight: Tensor
    target: Tensor
    inv_sigma2: Tensor
    dof: float

    @classmethod
    def from_block(
        cls, block: PhotometricBlock, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> TorchPhotometric:
        """Copy a block to a device.

        Args:
            dtype: float32, or float64 for the reference.
        """
        put = _putter(device, dtype)
        return cls(
            device=device,
            rig=TorchRig.from_rig(block.rig, device, dtype),
            cameras=put(block.cameras),
            sampler=Sampler.from_images(block.images, block.level, device, dtype),
            weight=block.independence * put(block.weight),
            target=put(block.target).mT.contiguous(),
            inv_sigma2=put(block.sigma) ** -2,
            dof=block.dof,
        )

    def costs(self, theta: Tensor, frames: Tensor) -> Tensor:
        """See ``TorchBlock``."""
        cameras = self.cameras[frames]
        pixels, _, front = project(pose(self.rig, theta).points, cameras)
        value, inside = self.sampler.values(pixels, frames)
        _, share, s2 = self._compare(value, inside & front, frames)
        return self._cost(share, s2)

    def equations(self, theta: Tensor, frames: Tensor) -> TorchEquations:
        """See ``TorchBlock``."""
        cameras, posed = self.cameras[frames], pose(self.rig, theta)
        pixels, inv_z, front = project(posed.points, cameras)
        value, gx, gy, inside = self.sampler.gradients(pixels, frames)
        residual, share, s2 = self._compare(value, inside & front, frames)
        factor = share * (self.dof + 3) / (self.dof + s2) * self.inv_sigma2
        l00, l10, l11, r0, r1 = _compressed(factor, gx, gy, residual)
        on = share > 0
        l00, l10, l11 = (torch.where(on, a, 0.0) for a in (l00, l10, l11))
        fz = cameras[:, :1] * inv_z
        x, y = posed.points[:, 0] * inv_z, posed.points[:, 1] * inv_z
        first = torch.stack([l00, l10, -(l00 * x + l10 * y)], dim=1)
        second = torch.stack([torch.zeros_like(l11), l11, -l11 * y], dim=1)
        rows = _empty_rows(theta, self.rig, on.shape[1])
        frame_rows(self.rig, posed, torch.stack([first, second], dim=1) * fz[:, None, None], rows)
        rows[:, -1, 0], rows[:, -1, 1] = r0, r1
        return TorchEquations(*_normal(rows), self._cost(share, s2))

    def _compare(self, value: Tensor, on: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals (n, 3, N), information shares (n, N) and squared, whitened residuals (n, N)."""
        residual = value - self.target[frames]
        share = torch.where(on, self.weight[frames], 0.0).clamp_min(0.0)
        return residual, share, (residual * residual).sum(1) * self.inv_sigma2

    def _cost(self, share: Tensor, s2: Tensor) -> Tensor:
        return (0.5 * (self.dof + 3) * share * torch.log1p(s2 / self.dof)).sum(1, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class TorchLandmarks(TorchBlock):
    """``landmarks.LandmarkBlock`` on a device; ``inv_sigma``: (T, N + G), gaps after points."""

    device: torch.device
    rig: TorchRig
    camera: Tensor
    target: Tensor
    inv_sigma: Tensor
    upper: Tensor
    lower: Tensor
    robust: Robust
    information: float

    @classmethod
    def from_block(
        cls, block: LandmarkBlock, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> TorchLandmarks:
        """Copy a block to a device; dtype as in ``TorchPhotometric.from_block``."""
        put = _putter(device, dtype)
        upper, lower = (torch.as_tensor(np.ascontiguousarray(rows, np.int64)).to(device) for rows in block.gaps.T)
        return cls(
            device=device,
            rig=TorchRig.from_rig(block.rig, device, dtype),
            camera=put(np.asarray(block.camera, np.float64)[None]),
            target=put(block.target_px).mT.contiguous(),
            inv_sigma=torch.cat([put(block.inv_sigma), put(block.gap_inv_sigma)], dim=1),
            upper=upper,
            lower=lower,
            robust=block.robust,
            information=block.information,
        )

    def costs(self, theta: Tensor, frames: Tensor) -> Tensor:
        """See ``TorchBlock``."""
        pixels, _, _ = project(pose(self.rig, theta).points, self.camera)
        _, _, s2 = self._compare(pixels, frames)
        return self._cost(s2)

    def equations(self, theta: Tensor, frames: Tensor) -> TorchEquations:
        """See ``TorchBlock``."""
        posed = pose(self.rig, theta)
        pixels, inv_z, _ = project(posed.points, self.camera)
        residual, s, s2 = self._compare(pixels, frames)
        weight = s * torch.sqrt(self.information * _weight(self.robust, s2))
        fz = self.camera[0, 0] * inv_z
        x, y, zero = posed.points[:, 0] * inv_z, posed.points[:, 1] * inv_z, torch.zeros_like(fz)
        D = torch.stack([fz, zero, -fz * x, zero, fz, -fz * y], dim=1).view(len(theta), 2, 3, -1)
        N = D.shape[-1]
        rows = _empty_rows(theta, self.rig, s.shape[1])
        frame_rows(self.rig, posed, D, rows[..., :N])
        rows[:, -1, :, :N] = residual[..., :N]
        rows[..., N:] = rows[..., self.upper] - rows[..., self.lower]
        rows *= weight[:, None, None]
        return TorchEquations(*_normal(rows), self._cost(s2))

    def _compare(self, pixels: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Residuals (n, 2, N + G) px, their inverse sigmas, and squared, whitened residuals (n, N + G)."""
        r = pixels - self.target[frames]
        r = torch.cat([r, r[..., self.upper] - r[..., self.lower]], dim=-1)
        s = self.inv_sigma[frames]
        return r, s, (r * r).sum(1) * s * s

    def _cost(self, s2: Tensor) -> Tensor:
        return self.information * _robust_cost(self.robust, s2.double()).sum(1)


@dataclass(frozen=True, eq=False)
class TorchPrior(TorchBlock):
    """``normal.PriorBlock`` on a device, float64."""

    device: torch.device
    mean: Tensor
    information: Tensor
    lower: Tensor
    lower_sigma: float

    @classmethod
    def from_block(cls, block: PriorBlock, device: torch.device) -> TorchPrior:
        """Copy a prior to a device."""
        put = _putter(device, torch.float64)
        return cls(device, put(block.mean), put(block.information), put(block.lower), block.lower_sigma)

    def costs(self, theta: Tensor, frames: Tensor) -> Tensor:
        """See ``TorchBlock``."""
        del frames
        d, below = theta - self.mean, self._below(theta)
        return 0.5 * (((d @ self.information) * d).sum(1) + (below * below).sum(1))

    def equations(self, theta: Tensor, frames: Tensor) -> TorchEquations:
        """See ``TorchBlock``."""
        below = self._below(theta)
        H = self.information + torch.diag_embed((below < 0).double() / self.lower_sigma**2)
        g = (theta - self.mean) @ self.information + below / self.lower_sigma
        return TorchEquations(H, g, self.costs(theta, frames))

    def _below(self, theta: Tensor) -> Tensor:
        return (theta - self.lower).clamp_max(0.0) / self.lower_sigma


def _putter(device: torch.device, dtype: torch.dtype) -> Any:
    return lambda array: torch.as_tensor(np.ascontiguousarray(array)).to(device=device, dtype=dtype)


def _compressed(factor: Tensor, gx: Tensor, gy: Tensor, residual: Tensor) -> tuple[Tensor, ...]:
    """L and L^-1 sum_c w g_c r_c of each point's M = sum_c w g_c g_c^T = L L^T: l00, l10, l11, r0, r1, each (n, N)."""
    m00 = factor * (gx * gx).sum(1) + _FLOOR
    m10 = factor * (gx * gy).sum(1)
    m11 = factor * (gy * gy).sum(1) + _FLOOR
    l00 = torch.sqrt(m00)
    l10 = m10 / l00
    l11 = torch.sqrt((m11 - l10 * l10).clamp_min(_FLOOR))
    r0 = factor * (gx * residual).sum(1) / l00
    r1 = (factor * (gy * residual).sum(1) - l10 * r0) / l11
    return l00, l10, l11, r0, r1


def _empty_rows(theta: Tensor, rig: TorchRig, count: int) -> Tensor:
    """Room for the transposed rows of ``frame_rows``, the residual behind them: (n, P + 1, 2, count)."""
    return torch.empty((len(theta), rig.size + 1, 2, count), dtype=rig.v.dtype, device=theta.device)


def _normal(rows: Tensor) -> tuple[Tensor, Tensor]:
    """H and g, float64, in one product from transposed rows (n, P + 1, 2, count) with the residual last."""
    J = rows.flatten(2)
    product = torch.bmm(J, J.mT).double()
    return product[:, :-1, :-1], product[:, :-1, -1]


def _robust_cost(robust: Robust, s2: Tensor) -> Tensor:
    """``Robust.cost`` of two-dimensional residuals."""
    if robust.kind == "student":
        return 0.5 * (robust.scale + 2) * torch.log1p(s2 / robust.scale)
    if robust.kind == "huber":
        s = torch.sqrt(s2)
        return torch.where(s <= robust.scale, 0.5 * s2, robust.scale * (s - 0.5 * robust.scale))
    return 0.5 * s2


def _weight(robust: Robust, s2: Tensor) -> Tensor:
    """``Robust.weight`` of two-dimensional residuals."""
    if robust.kind == "student":
        return (robust.scale + 2) / (robust.scale + s2)
    if robust.kind == "huber":
        return robust.scale / torch.sqrt(s2).clamp_min(robust.scale)
    return torch.ones_like(s2)
