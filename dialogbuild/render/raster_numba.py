"""The CPU rasteriser: a z-buffer in numba, single thread, compiled once to the disk cache.

Edge values are computed in float64 from the lower to the higher vertex id, so that two triangles see exactly
opposite values on a shared edge; with the top-left rule no sample is counted twice or missed.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from dialogbuild.render.fragments import NEAR_M, Cull, Fragments


@nb.njit(cache=True)
def _edge(ia, ib, ax, ay, bx, by, px, py):  # type: ignore[no-untyped-def]
    """Twice the area of (a, b, p); exactly antisymmetric in a and b."""
    if ia < ib:
        return (bx - ax) * (py - ay) - (by - ay) * (px - ax)
    return -((ax - bx) * (py - by) - (ay - by) * (px - bx))


@nb.njit(cache=True)
def _accepts_zero(dx, dy):  # type: ignore[no-untyped-def]
    """Whether a positively oriented (image axes, y down) edge with this direction is a top or a left one."""
    return (dy == 0.0 and dx > 0.0) or dy < 0.0


@nb.njit(cache=True)
def _raster(verts, faces, height, width, cull, near):  # type: ignore[no-untyped-def]
    face_id = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 3), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    for t in range(faces.shape[0]):
        i0, i1, i2 = faces[t, 0], faces[t, 1], faces[t, 2]
        z0, z1, z2 = verts[i0, 2], verts[i1, 2], verts[i2, 2]
        if not (z0 >= near and z1 >= near and z2 >= near):
            continue
        x0, y0, x1, y1, x2, y2 = verts[i0, 0], verts[i0, 1], verts[i1, 0], verts[i1, 1], verts[i2, 0], verts[i2, 1]
        if not np.isfinite(x0 + y0 + x1 + y1 + x2 + y2 + z0 + z1 + z2):
            continue
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        # y points down: a triangle that is counter-clockwise seen from outside has a negative area here
        if area == 0.0 or (cull and area > 0.0):
            continue
        sign = 1.0 if area > 0.0 else -1.0
        first_x, last_x = max(0.0, np.ceil(min(x0, x1, x2) - 0.5)), min(width - 1.0, np.floor(max(x0, x1, x2) - 0.5))
        first_y, last_y = max(0.0, np.ceil(min(y0, y1, y2) - 0.5)), min(height - 1.0, np.floor(max(y0, y1, y2) - 0.5))
        if first_x > last_x or first_y > last_y:
            continue
        keep0 = _accepts_zero(sign * (x2 - x1), sign * (y2 - y1))
        keep1 = _accepts_zero(sign * (x0 - x2), sign * (y0 - y2))
        keep2 = _accepts_zero(sign * (x1 - x0), sign * (y1 - y0))
        r0, r1, r2 = 1.0 / z0, 1.0 / z1, 1.0 / z2
        for row in range(int(first_y), int(last_y) + 1):
            py = row + 0.5
            for column in range(int(first_x), int(last_x) + 1):
                px = column + 0.5
                e0 = sign * _edge(i1, i2, x1, y1, x2, y2, px, py)
                if e0 < 0.0 or (e0 == 0.0 and not keep0):
                    continue
                e1 = sign * _edge(i2, i0, x2, y2, x0, y0, px, py)
                if e1 < 0.0 or (e1 == 0.0 and not keep1):
                    continue
                e2 = sign * _edge(i0, i1, x0, y0, x1, y1, px, py)
                if e2 < 0.0 or (e2 == 0.0 and not keep2):
                    continue
                w0, w1, w2 = e0 * r0, e1 * r1, e2 * r2
                total = w0 + w1 + w2
                z = np.float32((e0 + e1 + e2) / total)
                if z < depth[row, column]:
                    depth[row, column] = z
                    face_id[row, column] = t
                    bary[row, column, 0] = w0 / total
                    bary[row, column, 1] = w1 / total
                    bary[row, column, 2] = w2 / total
    for row in range(height):
        for column in range(width):
            if face_id[row, column] < 0:
                depth[row, column] = 0.0
    return face_id, bary, depth


@nb.njit(cache=True)
def _interpolate(attributes, faces, face_id, bary):  # type: ignore[no-untyped-def]
    height, width = face_id.shape
    n = attributes.shape[1]
    out = np.zeros((height, width, n), np.float32)
    for row in range(height):
        for column in range(width):
            t = face_id[row, column]
            if t < 0:
                continue
            for corner in range(3):
                w, v = bary[row, column, corner], faces[t, corner]
                for k in range(n):
                    out[row, column, k] += w * attributes[v, k]
    return out


class NumbaRasterizer:
    """See ``Rasterizer``. About 1 ms for a 10k-triangle head at 256 px on one core."""

    name = "numba"

    def rasterize(
        self, verts_px: NDArray[Any], faces: NDArray[np.int32], size_hw: tuple[int, int], cull: Cull = "back"
    ) -> Fragments:
        """See ``Rasterizer.rasterize``."""
        verts = np.ascontiguousarray(verts_px, np.float64)
        triangles = np.ascontiguousarray(faces, np.int32)
        return Fragments(*_raster(verts, triangles, size_hw[0], size_hw[1], cull == "back", NEAR_M))

    def interpolate(
        self, attributes: NDArray[Any], faces: NDArray[np.int32], fragments: Fragments
    ) -> NDArray[np.float32]:
        """See ``Rasterizer.interpolate``."""
        values = np.ascontiguousarray(attributes, np.float32)
        triangles = np.ascontiguousarray(faces, np.int32)
        return np.asarray(_interpolate(values, triangles, fragments.face_id, fragments.bary))
