"""The texture's geometry: which point of the template each texel shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.head.model import HeadModel
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.shading import Float32

SIZE_PX = 1024


def hairline(p: NDArray[Any]) -> NDArray[np.float64]:
    """0 below the hairline, 1 above it, from template positions (..., 3) in centimetres."""
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    # forehead, then down past the temples in front of the ear, over the ear, and to the nape
    depth = np.array([-18.0, -14.0, -10.5, -9.6, -8.4, -7.2, -6.2, -5.0, -3.5, -2.0, 0.0])
    height = np.array([-8.2, -7.6, -5.5, -1.5, -2.0, -2.2, -0.2, 2.4, 4.4, 5.3, 5.6])
    line = np.interp(z, depth, height) - 0.25 * np.cos(x * 0.9) * (z > -5)
    return np.asarray(np.clip((y - line) / 0.9, 0, 1))


class Canvas:
    """The texture's geometry: template position and region of every texel."""

    def __init__(self, model: HeadModel) -> None:
        self.model = model
        self.position, self.region = _texel_geometry(model)
        self.uv_px = np.stack([model.uv[:, 0], 1 - model.uv[:, 1]], 1).astype(np.float64) * SIZE_PX

    def points(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """Texture pixels (n, 2) of vertices."""
        return np.asarray(self.uv_px[list(ids)])

    def is_region(self, *names: str) -> NDArray[np.bool_]:
        """(T, T) texels of some regions."""
        return np.isin(self.region, [_REGIONS.index(n) + 1 for n in names])

    def hair_alpha(self) -> Float32:
        """(T, T) hair coverage."""
        alpha = hairline(self.position) * self.is_region("scalp", "neck", "face")
        return np.asarray(alpha, np.float32)


_REGIONS = (
    "face", "scalp", "neck", "torso", "left_eye", "right_eye", "left_rim", "right_rim", "teeth", "mouth", "tongue",
    "ears",
)  # fmt: skip


@lru_cache(maxsize=2)
def _texel_geometry(model: HeadModel) -> tuple[Float32, NDArray[np.int8]]:
    """Template position (T, T, 3) in cm and region (T, T), 0 outside every triangle."""
    flat = np.stack([model.uv[:, 0] * SIZE_PX, (1 - model.uv[:, 1]) * SIZE_PX, np.ones(len(model.uv))], 1)
    engine = NumbaRasterizer()
    fragments = engine.rasterize(flat, model.uv_faces, (SIZE_PX, SIZE_PX), cull="none")
    position = engine.interpolate(model.v_template * 100, model.faces, fragments)
    label = np.zeros(model.n_vertices, np.int8)
    for k, name in enumerate(_REGIONS):
        label[model.masks[name]] = k + 1
    corner = label[model.faces[np.maximum(fragments.face_id, 0)]]
    region = np.take_along_axis(corner, fragments.bary.argmax(-1)[..., None], -1)[..., 0]
    return position, np.where(fragments.face_id >= 0, region, 0).astype(np.int8)
