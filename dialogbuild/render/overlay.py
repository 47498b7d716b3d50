"""Drawing fitted heads over video frames, for reports."""

from __future__ import annotations

from typing import Any, Literal

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dialogbuild.head.camera import Camera
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.shading import vertex_normals

_ENGINE = NumbaRasterizer()


def overlay_mesh(
    rgb: NDArray[np.uint8],
    verts_cam: NDArray[Any],
    faces: NDArray[np.int32],
    camera: Camera,
    colour: ArrayLike = (0.35, 0.65, 0.95),
    alpha: float = 0.55,
    style: Literal["shaded", "wireframe"] = "shaded",
) -> NDArray[np.uint8]:
    """A mesh laid over an image.

    Args:
        rgb: (H, W, 3) uint8; not modified.
        verts_cam: (V, 3) metres in camera axes.
        faces: (F, 3) int32.
        camera: the image's camera.
        colour: RGB in 0..1.
        alpha: opacity in 0..1.
        style: lit from the camera, or only the visible triangles' edges.

    Returns:
        (H, W, 3) uint8.
    """
    points = camera.project_with_depth(np.asarray(verts_cam, np.float64))
    fragments = _ENGINE.rasterize(points, faces, (rgb.shape[0], rgb.shape[1]))
    hit = fragments.face_id >= 0
    if style == "shaded":
        normal = _ENGINE.interpolate(vertex_normals(verts_cam, faces), faces, fragments)
        light = 0.25 + 0.75 * np.clip(-normal[..., 2], 0, 1)
        strength = alpha * hit
    else:
        light = np.ones(hit.shape, np.float32)
        corners = points[faces[np.maximum(fragments.face_id, 0)]][..., :2]
        strength = alpha * hit * np.clip(1.3 - _edge_distance_px(corners), 0, 1)
    paint = np.clip(light[..., None] * np.asarray(colour, np.float32) * 255, 0, 255)
    out = rgb + strength[..., None] * (paint - rgb)
    return np.asarray(np.clip(out + 0.5, 0, 255), np.uint8)


def _edge_distance_px(corners: NDArray[Any]) -> NDArray[Any]:
    """(H, W) distance of each pixel centre to the nearest edge line of its triangle (H, W, 3, 2)."""
    height, width = corners.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    nearest = np.full((height, width), np.inf)
    for k in range(3):
        a, b = corners[..., k, :], corners[..., (k + 1) % 3, :]
        d = b - a
        area = d[..., 0] * (y - a[..., 1]) - d[..., 1] * (x - a[..., 0])
        nearest = np.minimum(nearest, np.abs(area) / np.maximum(np.hypot(d[..., 0], d[..., 1]), 1e-9))
    return nearest


@nb.njit(cache=True)
def _discs(image, points, colours, radius):  # type: ignore[no-untyped-def]
    height, width = image.shape[:2]
    reach = int(np.ceil(radius)) + 1
    for n in range(points.shape[0]):
        x, y = points[n, 0], points[n, 1]
        if not (np.isfinite(x) and np.isfinite(y)) or abs(x) > 1e6 or abs(y) > 1e6:
            continue
        for row in range(max(0, int(y) - reach), min(height, int(y) + reach + 1)):
            for column in range(max(0, int(x) - reach), min(width, int(x) + reach + 1)):
                distance = np.hypot(column + 0.5 - x, row + 0.5 - y)
                cover = min(max(radius + 0.5 - distance, 0.0), 1.0)
                for c in range(3):
                    value = image[row, column, c] * (1 - cover) + colours[n, c] * cover
                    image[row, column, c] = np.uint8(value + 0.5)


def draw_landmarks(
    rgb: NDArray[np.uint8], points_px: NDArray[Any], colour: ArrayLike = (0.2, 1.0, 0.3), radius_px: float = 1.5
) -> NDArray[np.uint8]:
    """Dots on an image.

    Args:
        rgb: (H, W, 3) uint8; not modified.
        points_px: (N, 2) pixels; points that are not finite or outside are left out.
        colour: RGB in 0..1, one or (N, 3).
        radius_px: of each dot.

    Returns:
        (H, W, 3) uint8.
    """
    out = np.ascontiguousarray(rgb).copy()
    points = np.ascontiguousarray(points_px, np.float64)
    colours = np.broadcast_to(np.asarray(colour, np.float64) * 255, (len(points), 3))
    _discs(out, points, np.ascontiguousarray(colours), float(radius_px))
    return out
