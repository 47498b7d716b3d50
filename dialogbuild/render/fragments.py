"""What a rasteriser gives, and the face that every engine has: numpy for one image, tensors for a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Cull = Literal["back", "none"]

NEAR_M = 0.01
"""A triangle with a vertex nearer than this is dropped whole: heads are never cut by the image plane."""


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nearest surface per pixel of an (H, W) image.

    Args:
        face_id: (H, W) int32, -1 where nothing is hit.
        bary: (H, W, 3) float32, perspective-correct, sum 1 where hit and 0 elsewhere.
        depth: (H, W) float32, metres along the optical axis, 0 where nothing is hit.
    """

    face_id: NDArray[np.int32]
    bary: NDArray[np.float32]
    depth: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TensorFragments:
    """``Fragments`` of B images on a device; no gradients (see ``interpolate.interpolate`` for those).

    Args:
        face_id: (B, H, W) int32.
        bary: (B, H, W, 3) float32.
        depth: (B, H, W) float32, metres.
    """

    face_id: Tensor
    bary: Tensor
    depth: Tensor

    def image(self, b: int) -> Fragments:
        """Image b as numpy arrays."""
        return Fragments(*(x[b].cpu().numpy() for x in (self.face_id, self.bary, self.depth)))


class Rasterizer(Protocol):
    """An engine. Vertices are (V, 3): x px right, y px down, depth m; pixel (row i, column j) samples (j + .5, i + .5).

    Rules that every engine keeps, so that they can be compared pixel by pixel:

    - ``cull="back"`` drops triangles that are clockwise seen from outside; ``faces`` are counter-clockwise.
    - A sample on an edge belongs to the triangle for which the edge is a top or left one, so that triangles
      that share an edge neither overlap nor leave a crack.
    - At equal float32 depth the lowest face id wins.
    - Triangles with a vertex at depth < ``NEAR_M`` or a coordinate that is not finite are dropped.
    """

    name: str

    def rasterize(
        self, verts_px: NDArray[Any], faces: NDArray[np.int32], size_hw: tuple[int, int], cull: Cull = "back"
    ) -> Fragments:
        """The nearest triangle under each pixel centre."""
        ...

    def interpolate(
        self, attributes: NDArray[Any], faces: NDArray[np.int32], fragments: Fragments
    ) -> NDArray[np.float32]:
        """Vertex attributes (V, D) at the fragments, (H, W, D) float32, 0 where nothing is hit."""
        ...


class TensorRasterizer(Rasterizer, Protocol):
    """An engine that also takes a batch of meshes of one topology as tensors, on its own device."""

    def rasterize_batch(
        self, verts_px: Tensor, faces: Tensor, size_hw: tuple[int, int], cull: Cull = "back"
    ) -> TensorFragments:
        """``rasterize`` for verts_px (B, V, 3) and shared faces (F, 3) of integers."""
        ...
