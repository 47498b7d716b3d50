"""Drawing fitted heads over video frames, for reports."""

from __future__ import annotations

from typing import Any, Literal

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dialogbuild.head.camera import Camera
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.shading import vertex_normals
from dialogbuild.render.window import pixel_window

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
    """A mesh laid over an image. Work follows the mesh's size in pixels, beyond one copy of the image.

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
    out = np.array(rgb, np.uint8, order="C")
    points = camera.project_with_depth(np.asarray(verts_cam, np.float64))
    window = pixel_window(points, (rgb.shape[0], rgb.shape[1]))
    if window is None:
        return out
    x0, y0, x1, y1 = window
    points[:, :2] -= (x0, y0)
    fragments = _ENGINE.rasterize(points, faces, (y1 - y0, x1 - x0))
    paint = np.asarray(colour, np.float64) * 255
    triangles = np.ascontiguousarray(faces, np.int32)
    if style == "shaded":
        _shade(
            out[y0:y1, x0:x1],
            fragments.face_id,
            fragments.bary,
            triangles,
            vertex_normals(verts_cam, faces),
            paint,
            alpha,
        )
    else:
        _outline(out[y0:y1, x0:x1], fragments.face_id, triangles, points, paint, alpha)
    return out


@nb.njit(cache=True)
def _blend(image, row, column, paint, light, strength):  # type: ignore[no-untyped-def]
    for c in range(3):
        below = image[row, column, c]
        value = below + strength * (min(max(light * paint[c], 0.0), 255.0) - below)
        image[row, column, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))


@nb.njit(cache=True)
def _shade(image, face_id, bary, faces, normals, paint, alpha):  # type: ignore[no-untyped-def]
    """Triangles lit from the camera, in place."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            t = face_id[row, column]
            if t < 0:
                continue
            towards = 0.0
            for corner in range(3):
                towards -= bary[row, column, corner] * normals[faces[t, corner], 2]
            _blend(image, row, column, paint, 0.25 + 0.75 * min(max(towards, 0.0), 1.0), alpha)


@nb.njit(cache=True)
def _outline(image, face_id, faces, points, paint, alpha):  # type: ignore[no-untyped-def]
    """Edges of the visible triangles, about a pixel wide, in place."""
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            t = face_id[row, column]
            if t < 0:
                continue
            nearest = np.inf
            for k in range(3):
                a, b = faces[t, k], faces[t, (k + 1) % 3]
                dx, dy = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1]
                area = dx * (row + 0.5 - points[a, 1]) - dy * (column + 0.5 - points[a, 0])
                nearest = min(nearest, abs(area) / max(np.hypot(dx, dy), 1e-9))
            strength = alpha * min(max(1.3 - nearest, 0.0), 1.0)
            if strength > 0.0:
                _blend(image, row, column, paint, 1.0, strength)


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
