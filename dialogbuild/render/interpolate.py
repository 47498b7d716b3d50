"""Perspective-correct interpolation with gradients at fixed visibility, in plain torch, on any device.

The rasteriser decides which triangle a pixel shows; that choice is held fixed. What is differentiated is where on
that triangle the pixel's ray lands, so that a gradient reaches the vertex positions as well as the attributes. There
is none from silhouettes: a pixel that would change its triangle does not know it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pixel_barycentrics(corners_px: Tensor, x_px: Tensor, y_px: Tensor) -> Tensor:
    """Perspective-correct weights of points on the planes of triangles.

    A screen-space weight over its corner's depth is proportional to the weight in space (J. Blinn, "Hyperbolic
    interpolation", IEEE CG&A 12(4), 1992).

    Args:
        corners_px: (P, 3, 3) per corner x px, y px, depth m; the triangle has an area and positive depths.
        x_px, y_px: (P,) the points.

    Returns:
        (P, 3), sum 1; differentiable in all arguments.
    """
    x, y, z = corners_px.unbind(-1)
    weights = []
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        twice_area = (x[:, j] - x[:, i]) * (y_px - y[:, i]) - (y[:, j] - y[:, i]) * (x_px - x[:, i])
        weights.append(twice_area / z[:, k])
    weight = torch.stack(weights, -1)
    return weight / weight.sum(-1, keepdim=True)


def interpolate(attributes: Tensor, verts_px: Tensor, faces: Tensor, face_id: Tensor) -> Tensor:
    """Vertex attributes at pixel centres, differentiable in the attributes and the vertices.

    Args:
        attributes: (B, V, D) floating point.
        verts_px: (B, V, 3) x px, y px, depth m. Weights are computed in float64 whatever its dtype: in float32 a
            sliver can lose its area, and one such pixel would make every gradient NaN.
        faces: (F, 3) integers.
        face_id: (B, H, W) integers, -1 where nothing is hit; from a rasteriser that saw these or nearby vertices.

    Returns:
        (B, H, W, D) of the attributes' dtype, 0 where nothing is hit. Work is proportional to the pixels hit.
    """
    b, row, column = torch.nonzero(face_id >= 0, as_tuple=True)
    triangle = faces.long()[face_id[b, row, column].long()] + b[:, None] * verts_px.shape[1]  # (P, 3) of all vertices
    # indexed, not index_select: its gradient adds up in a fixed order on every device
    corners = verts_px.flatten(0, 1)[triangle].double()
    weight = pixel_barycentrics(corners, column + 0.5, row + 0.5).to(attributes.dtype)
    values = (weight[..., None] * attributes.flatten(0, 1)[triangle]).sum(1)
    out = attributes.new_zeros((*face_id.shape, attributes.shape[-1]))
    return out.index_put((b, row, column), values)
