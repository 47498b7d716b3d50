"""The rasteriser's rules in plain numpy, one triangle at a time: slow, and the check on the fast engines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.render.fragments import NEAR_M, Cull, Fragments


class ReferenceRasterizer:
    """See ``Rasterizer``. Seconds per frame of a head: for tests."""

    name = "reference"

    def rasterize(
        self, verts_px: NDArray[Any], faces: NDArray[np.int32], size_hw: tuple[int, int], cull: Cull = "back"
    ) -> Fragments:
        """See ``Rasterizer.rasterize``."""
        face_id = np.full(size_hw, -1, np.int32)
        bary = np.zeros((*size_hw, 3), np.float32)
        depth = np.full(size_hw, np.inf, np.float32)
        for t, triangle in enumerate(faces):
            corners = np.asarray(verts_px[triangle], np.float64)
            if not np.isfinite(corners).all() or (corners[:, 2] < NEAR_M).any():
                continue
            area = _cross(corners[1] - corners[0], corners[2] - corners[0])
            if area == 0 or (cull == "back" and area > 0):
                continue
            box = _around(corners, size_hw)
            y, x = np.mgrid[box] + 0.5
            edges = _edge_values(triangle, corners, float(np.sign(area)), x, y)
            inside = np.logical_and.reduce([accepted for _, accepted in edges])
            value = np.stack([v for v, _ in edges], -1)
            weight = value / corners[:, 2]
            total = weight.sum(-1)
            with np.errstate(divide="ignore", invalid="ignore"):
                z = ((value[..., 0] + value[..., 1] + value[..., 2]) / total).astype(np.float32)
                share = (weight / total[..., None]).astype(np.float32)
            win = inside & (z < depth[box])
            face_id[box][win], depth[box][win], bary[box][win] = t, z[win], share[win]
        depth[face_id < 0] = 0
        return Fragments(face_id, bary, depth)

    def interpolate(
        self, attributes: NDArray[Any], faces: NDArray[np.int32], fragments: Fragments
    ) -> NDArray[np.float32]:
        """See ``Rasterizer.interpolate``."""
        corners = np.asarray(attributes, np.float32)[faces[np.maximum(fragments.face_id, 0)]]
        return np.asarray(np.einsum("hwcd,hwc->hwd", corners, fragments.bary))


def _cross(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(a[0] * b[1] - a[1] * b[0])


def _around(corners: NDArray[Any], size_hw: tuple[int, int]) -> tuple[slice, slice]:
    """The rows and columns of the image that a triangle can touch, with a pixel to spare."""
    low = np.clip(np.floor(corners[:, 1::-1].min(0)) - 1, 0, size_hw).astype(int)
    high = np.clip(np.ceil(corners[:, 1::-1].max(0)) + 1, 0, size_hw).astype(int)
    return slice(low[0], high[0]), slice(low[1], high[1])


def _edge_values(
    triangle: NDArray[Any], corners: NDArray[Any], sign: float, x: NDArray[Any], y: NDArray[Any]
) -> list[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Per corner, the value of the opposite edge at every sample, and where the sample is on its inner side."""
    out = []
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        along = sign * (corners[j, :2] - corners[i, :2])
        a, b = (i, j) if triangle[i] < triangle[j] else (j, i)
        value = (corners[b, 0] - corners[a, 0]) * (y - corners[a, 1])
        value = value - (corners[b, 1] - corners[a, 1]) * (x - corners[a, 0])
        value = sign * (value if a == i else -value)
        top_or_left = (along[1] == 0 and along[0] > 0) or along[1] < 0
        out.append((value, (value > 0) | ((value == 0) & top_or_left)))
    return out
