"""The rasteriser in plain torch: batched, on any device, without a loop over triangles.

Every triangle is laid out as the samples of its bounding box; the samples of all triangles form one long list that
is worked off in pieces of fixed size. The z-buffer is one integer per pixel, ``depth bits << 32 | face id``: positive
float32 order like their bits, so that an integer minimum keeps the nearest surface and the lowest id at equal depth,
whatever the order of writes. Edge values are computed in float64 with the operations of the CPU engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dialogbuild.errors import ConfigError
from dialogbuild.render.fragments import NEAR_M, Cull, Fragments, TensorFragments
from dialogbuild.render.interpolate import pixel_barycentrics

_EMPTY = torch.iinfo(torch.int64).max
_FACE_BITS = 32
_FACE_MASK = (1 << _FACE_BITS) - 1


class TensorEngine(ABC):
    """The numpy face of an engine that works on tensors. See ``TensorRasterizer``."""

    name: str

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    @abstractmethod
    def rasterize_batch(
        self, verts_px: Tensor, faces: Tensor, size_hw: tuple[int, int], cull: Cull = "back"
    ) -> TensorFragments:
        """See ``TensorRasterizer.rasterize_batch``."""

    def rasterize(
        self, verts_px: NDArray[Any], faces: NDArray[np.int32], size_hw: tuple[int, int], cull: Cull = "back"
    ) -> Fragments:
        """See ``Rasterizer.rasterize``."""
        verts = torch.tensor(np.asarray(verts_px, np.float64)[None], device=self.device)
        return self.rasterize_batch(verts, torch.tensor(faces, device=self.device), size_hw, cull).image(0)

    def interpolate(
        self, attributes: NDArray[Any], faces: NDArray[np.int32], fragments: Fragments
    ) -> NDArray[np.float32]:
        """See ``Rasterizer.interpolate``."""
        values, corners, hit, bary = (
            torch.tensor(x, device=self.device)
            for x in (np.asarray(attributes, np.float32), faces, fragments.face_id, fragments.bary)
        )
        out = values.new_zeros((*hit.shape, values.shape[1]))
        seen = hit >= 0
        out[seen] = (bary[seen][..., None] * values[corners[hit[seen].long()].long()]).sum(1)
        return np.asarray(out.cpu().numpy())


class TorchRasterizer(TensorEngine):
    """See ``TensorRasterizer``. A batch may hold any number of images.

    Args:
        device: any device with float64 and int64.
        max_samples: samples, and triangles of all images, in work at once, about 200 bytes each (one image's
            triangles are never split). A GPU is kept busier by more. Does not change the result.
    """

    name = "torch"

    def __init__(self, device: str | torch.device = "cpu", max_samples: int = 1 << 19) -> None:
        super().__init__(device)
        self.max_samples = max_samples

    @torch.no_grad()
    def rasterize_batch(
        self, verts_px: Tensor, faces: Tensor, size_hw: tuple[int, int], cull: Cull = "back"
    ) -> TensorFragments:
        """See ``TensorRasterizer.rasterize_batch``.

        Raises:
            ConfigError: verts_px is not (B, V, 3).
        """
        if verts_px.ndim != 3 or verts_px.shape[-1] != 3:
            raise ConfigError(f"a batch of vertices is (B, V, 3), not {tuple(verts_px.shape)}")
        verts, triangles = verts_px.to(self.device, torch.float64), faces.to(self.device, torch.int64)
        keys = torch.full((len(verts), *size_hw), _EMPTY, dtype=torch.int64, device=self.device)
        images = max(1, self.max_samples // max(1, len(triangles)))
        for part, verts_of in zip(torch.split(keys, images), torch.split(verts, images), strict=True):
            table = _front_triangles(verts_of, triangles, size_hw, cull)
            for triangle, row, column in _samples(table, self.max_samples):
                _keep_nearest(part.view(-1), table, triangle, row, column, size_hw)
        return _resolve(keys, verts, triangles)


@dataclass(frozen=True, eq=False)
class _Triangles:
    """The N triangles of a batch that can be seen. Edge k lies opposite corner k, inner side positive."""

    image: Tensor  # (N,) int64
    face: Tensor  # (N,) int64
    edge: Tensor  # (3, N, 4) float64 px: start x, y, direction x, y
    owns_edge: Tensor  # (3, N) bool: a top or a left one
    inverse_depth: Tensor  # (3, N) float64
    first: Tensor  # (N, 2) int64 column, row
    size: Tensor  # (N, 2) int64 columns, rows


def _front_triangles(verts: Tensor, faces: Tensor, size_hw: tuple[int, int], cull: Cull) -> _Triangles:
    corners = verts.index_select(1, faces.flatten()).view(len(verts), len(faces), 3, 3)
    u, v = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    area = u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]
    last_px = torch.tensor([size_hw[1] - 1.0, size_hw[0] - 1.0], dtype=torch.float64, device=verts.device)
    first = torch.ceil(corners[..., :2].amin(2) - 0.5).clamp(min=0)
    last = torch.minimum(torch.floor(corners[..., :2].amax(2) - 0.5), last_px)
    seen = (area < 0) if cull == "back" else (area != 0)
    seen &= (first <= last).all(-1) & (corners[..., 2].amin(-1) >= NEAR_M) & torch.isfinite(corners.sum((-1, -2)))
    image, face = torch.nonzero(seen, as_tuple=True)
    corner, sign, ids = corners[image, face], torch.sign(area[image, face]), faces[face]
    edges = []
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        # from the lower to the higher vertex id: both triangles on an edge see exactly opposite values
        swap = ids[:, i] > ids[:, j]
        a = torch.where(swap[:, None], corner[:, j, :2], corner[:, i, :2])
        b = torch.where(swap[:, None], corner[:, i, :2], corner[:, j, :2])
        edges.append(torch.cat([a, (b - a) * torch.where(swap, -sign, sign)[:, None]], 1))
    edge = torch.stack(edges)
    owns_edge = (edge[..., 3] < 0) | ((edge[..., 3] == 0) & (edge[..., 2] > 0))
    begin = first[image, face].long()
    size = last[image, face].long() - begin + 1
    return _Triangles(image, face, edge, owns_edge, 1 / corner[:, :, 2].T, begin, size)


def _samples(table: _Triangles, at_once: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pieces of the list of all bounding boxes' samples: index into the table, row and column, each (S,)."""
    count = table.size.prod(-1)
    end = count.cumsum(0)
    total = int(end[-1]) if len(end) else 0
    for start in range(0, total, at_once):
        stop = min(start + at_once, total)
        bounds = torch.tensor([start, stop - 1], device=end.device)
        low, high = torch.searchsorted(end, bounds, right=True).tolist()
        before = end[low : high + 1] - count[low : high + 1]
        taken = end[low : high + 1].clamp(max=stop) - before.clamp(min=start)
        triangle = torch.repeat_interleave(
            torch.arange(low, high + 1, device=end.device), taken, output_size=stop - start
        )
        place = torch.arange(start, stop, device=end.device) - before[triangle - low]
        width = table.size[triangle, 0]
        row = torch.div(place, width, rounding_mode="floor")
        yield triangle, table.first[triangle, 1] + row, table.first[triangle, 0] + place - row * width


def _keep_nearest(
    keys: Tensor, table: _Triangles, triangle: Tensor, row: Tensor, column: Tensor, size_hw: tuple[int, int]
) -> None:
    """Lower each pixel's key to that of the nearest sample that lies inside its triangle, in place."""
    inner: list[Tensor] = []
    for k in range(3):
        x, y, dx, dy = table.edge[k].index_select(0, triangle).unbind(-1)
        value = dx * (row + 0.5 - y) - dy * (column + 0.5 - x)
        inside = torch.nonzero((value > 0) | ((value == 0) & table.owns_edge[k].index_select(0, triangle)))[:, 0]
        triangle, row, column = (t.index_select(0, inside) for t in (triangle, row, column))
        inner = [t.index_select(0, inside) for t in (*inner, value)]
    e0, e1, e2 = inner
    r0, r1, r2 = table.inverse_depth[:, triangle]
    depth = ((e0 + e1 + e2) / (e0 * r0 + e1 * r1 + e2 * r2)).float()
    key = (depth.view(torch.int32).long() << _FACE_BITS) | table.face[triangle]
    pixel = (table.image[triangle] * size_hw[0] + row) * size_hw[1] + column
    keys.scatter_reduce_(0, pixel, key, "amin")


def _resolve(keys: Tensor, verts: Tensor, faces: Tensor) -> TensorFragments:
    hit = keys != _EMPTY
    face_id = torch.where(hit, keys & _FACE_MASK, -1).int()
    depth = torch.where(hit, (keys >> _FACE_BITS).int().view(torch.float32), 0.0)
    bary = torch.zeros((*keys.shape, 3), dtype=torch.float32, device=keys.device)
    image, row, column = torch.nonzero(hit, as_tuple=True)
    corners = verts[image[:, None], faces[face_id[image, row, column].long()]]
    bary[image, row, column] = pixel_barycentrics(corners, column + 0.5, row + 0.5).float()
    return TensorFragments(face_id, bary, depth)
