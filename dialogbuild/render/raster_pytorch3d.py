"""pytorch3d behind our conventions: a second opinion on the rasteriser, for those who have it built.

There is no wheel for current torch (docs/packages.md has the build). Its CPU path tests every pixel against every
triangle, seconds per frame at 256 px: use it up to about 128 px there.

What differs from the rules of ``Rasterizer`` and cannot be set:

- A sample exactly on an edge belongs to no triangle, so that a shared edge through a pixel centre leaves a gap.
- Everything is computed in float32, and triangles below 1e-8 of area in its own units (half the shorter image side)
  are dropped.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dialogbuild.errors import MissingPart
from dialogbuild.render.fragments import NEAR_M, Cull, TensorFragments
from dialogbuild.render.raster_torch import TensorEngine

BUILD = (
    "PYTORCH3D_FORCE_NO_CUDA=1 pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/pytorch3d.git' (no wheel exists for this torch; see docs/packages.md)"
)


def ndc_from_pixels(verts_px: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Pixels to pytorch3d's screen coordinates: x left, y up, -1..1 along the shorter image side, depth unchanged.

    Args:
        verts_px: (..., 3) x px right, y px down, depth m.
        size_hw: image height and width.

    Returns:
        (..., 3) of the same dtype; both sides share one scale, so that pixels stay square.
    """
    height, width = size_hw
    half = min(height, width) / 2
    x, y, depth = verts_px.unbind(-1)
    return torch.stack([(width / 2 - x) / half, (height / 2 - y) / half, depth], -1)


class Pytorch3dRasterizer(TensorEngine):
    """See ``TensorRasterizer``.

    Raises:
        MissingPart: pytorch3d is not installed or was built for another torch.
    """

    name = "pytorch3d"

    def __init__(self, device: str | torch.device = "cpu") -> None:
        super().__init__(device)
        try:
            self._rasterize: Any = import_module("pytorch3d.renderer.mesh.rasterize_meshes").rasterize_meshes
            self._meshes: Any = import_module("pytorch3d.structures").Meshes
        except ImportError as error:
            raise MissingPart(f"the pytorch3d rasteriser cannot be loaded ({error}): {BUILD}") from error

    @torch.no_grad()
    def rasterize_batch(
        self, verts_px: Tensor, faces: Tensor, size_hw: tuple[int, int], cull: Cull = "back"
    ) -> TensorFragments:
        """See ``TensorRasterizer.rasterize_batch``."""
        verts, triangles = verts_px.to(self.device), faces.to(self.device, torch.int64)
        corners = verts[:, triangles]
        usable = (corners[..., 2] >= NEAR_M).all(-1) & torch.isfinite(corners).all(-1).all(-1)
        kept = [torch.nonzero(row)[:, 0] for row in usable]  # (B) lists of face ids
        shape = (len(verts), *size_hw)
        if not any(len(ids) for ids in kept):
            blank = torch.zeros(shape, device=self.device)
            return TensorFragments(
                torch.full_like(blank, -1, dtype=torch.int32), blank[..., None].repeat(1, 1, 1, 3), blank
            )
        ndc = torch.nan_to_num(ndc_from_pixels(verts, size_hw)).float()
        packed, depth, bary, _ = self._rasterize(
            self._meshes(list(ndc), [triangles[ids] for ids in kept]),
            image_size=size_hw,
            blur_radius=0.0,
            faces_per_pixel=1,
            perspective_correct=True,
            cull_backfaces=cull == "back",
        )
        hit = packed[..., 0] >= 0
        ids = torch.cat(kept)[packed[..., 0].clamp(min=0)]  # ids count through the batch's kept triangles
        return TensorFragments(torch.where(hit, ids, -1).int(), bary[..., 0, :] * hit[..., None], depth[..., 0] * hit)
