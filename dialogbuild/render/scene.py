"""Rendering a painted head into an image."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError
from dialogbuild.head.camera import Camera
from dialogbuild.head.model import HeadModel
from dialogbuild.render.appearance import Appearance
from dialogbuild.render.raster_numba import NumbaRasterizer
from dialogbuild.render.shading import GAMMA, Float32, Lighting, vertex_normals
from dialogbuild.render.window import pixel_window

_ENGINE = NumbaRasterizer()
_SHININESS = 24.0
_TEXTURE_SPAN_M = 0.34  # the texture's side, on the face


@nb.njit(cache=True, fastmath=True)
def _shade(face_id, bary, faces, normals, uv, texture, sh, directions, colours):  # type: ignore[no-untyped-def]
    height, width = face_id.shape
    size = texture.shape[0]
    out = np.zeros((height, width, 4), np.float32)
    for row in range(height):
        for column in range(width):
            t = face_id[row, column]
            if t < 0:
                continue
            nx = ny = nz = u = v = 0.0
            for corner in range(3):
                w, i = bary[row, column, corner], faces[t, corner]
                nx += w * normals[i, 0]
                ny += w * normals[i, 1]
                nz += w * normals[i, 2]
                u += w * uv[i, 0]
                v += w * uv[i, 1]
            length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
            nx, ny, nz = nx / length, ny / length, nz / length
            tx = min(max(u * size - 0.5, 0.0), size - 1.001)
            ty = min(max((1.0 - v) * size - 0.5, 0.0), size - 1.001)
            ix, iy = int(tx), int(ty)
            fx, fy = tx - ix, ty - iy
            specular = 0.0
            for k in range(directions.shape[0]):
                dx, dy, dz = directions[k, 0], directions[k, 1], directions[k, 2] - 1.0
                half = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-12
                cosine = (nx * dx + ny * dy + nz * dz) / half
                if cosine > 0.0:
                    specular += colours[k, 0] * cosine**_SHININESS
            gloss = (texture[iy, ix, 3] * (1 - fx) + texture[iy, ix + 1, 3] * fx) * (1 - fy) + (
                texture[iy + 1, ix, 3] * (1 - fx) + texture[iy + 1, ix + 1, 3] * fx
            ) * fy
            for c in range(3):
                light = (
                    0.282095 * sh[0, c]
                    + 0.488603 * (sh[1, c] * ny + sh[2, c] * nz + sh[3, c] * nx)
                    + 1.092548 * (sh[4, c] * nx * ny + sh[5, c] * ny * nz + sh[7, c] * nx * nz)
                    + 0.315392 * sh[6, c] * (3 * nz * nz - 1)
                    + 0.546274 * sh[8, c] * (nx * nx - ny * ny)
                )
                for k in range(directions.shape[0]):
                    cosine = nx * directions[k, 0] + ny * directions[k, 1] + nz * directions[k, 2]
                    if cosine > 0.0:
                        light += colours[k, c] * cosine
                albedo = (texture[iy, ix, c] * (1 - fx) + texture[iy, ix + 1, c] * fx) * (1 - fy) + (
                    texture[iy + 1, ix, c] * (1 - fx) + texture[iy + 1, ix + 1, c] * fx
                ) * fy
                out[row, column, c] = max(light, 0.0) * albedo + 0.25 * gloss * specular
            out[row, column, 3] = 1.0
    return out


@nb.njit(cache=True, fastmath=True)
def _compose(image, layer, factor, x0, y0, gamma):  # type: ignore[no-untyped-def]
    """Average ``factor`` x ``factor`` samples and lay them over an 8-bit image, in linear light, in place."""
    share = 1.0 / (factor * factor)
    for row in range(layer.shape[0] // factor):
        for column in range(layer.shape[1] // factor):
            r = g = b = cover = 0.0
            for i in range(factor):
                for j in range(factor):
                    y, x = row * factor + i, column * factor + j
                    cover += layer[y, x, 3]
                    r += layer[y, x, 0]
                    g += layer[y, x, 1]
                    b += layer[y, x, 2]
            if cover == 0.0:
                continue
            rest = 1.0 - cover * share
            for c in range(3):
                value = (r, g, b)[c] * share
                if rest > 0.0:
                    value += rest * (image[y0 + row, x0 + column, c] / 255.0) ** gamma
                encoded = min(max(value, 0.0), 1.0) ** (1.0 / gamma) * 255.0 + 0.5
                image[y0 + row, x0 + column, c] = np.uint8(encoded)


def render_head(
    model: HeadModel,
    appearance: Appearance,
    vertices_cam: NDArray[Any],
    camera: Camera,
    lighting: Lighting,
    background: NDArray[np.uint8],
    supersample: int = 2,
) -> NDArray[np.uint8]:
    """One head over a background; call again with the result as background for the next head, far one first.

    Args:
        model: the head.
        appearance: its texture and hair.
        vertices_cam: (V, 3) metres in camera axes, from ``to_camera(pose_head(...))``.
        camera: the image's camera.
        lighting: lights in camera axes.
        background: (H, W, 3) uint8 RGB of the camera's size; not modified.
        supersample: samples per pixel and axis.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ConfigError: the background has another size than the camera.
    """
    if background.shape != (camera.height_px, camera.width_px, 3) or background.dtype != np.uint8:
        raise ConfigError(
            f"the background is {background.dtype}{background.shape}, the camera {camera.height_px}x{camera.width_px}"
        )
    image = background.copy()
    vertices = np.asarray(vertices_cam, np.float32)
    normals = vertex_normals(vertices, model.faces)
    vertices = vertices + normals * appearance.hair_offset_m[:, None]
    window = pixel_window(camera.project_with_depth(vertices), (camera.height_px, camera.width_px))
    if window is None:
        return image
    x0, y0, x1, y1 = window
    view = camera.cropped(x0, y0, x1 - x0, y1 - y0).scaled(supersample)
    fragments = _ENGINE.rasterize(view.project_with_depth(vertices), model.faces, (view.height_px, view.width_px))
    texture = _level(appearance, view.focal_px / float(np.median(vertices[:, 2])))
    layer = _shade(
        fragments.face_id, fragments.bary, model.faces, normals, model.uv, texture,
        lighting.sh, lighting.directions, lighting.colours,
    )  # fmt: skip
    _compose(image, layer, supersample, x0, y0, GAMMA)
    return image


def _level(appearance: Appearance, samples_per_m: float) -> Float32:
    """The texture level with about one texel per sample on the face."""
    texels_per_sample = appearance.textures[0].shape[0] / _TEXTURE_SPAN_M / samples_per_m
    level = int(np.clip(np.floor(np.log2(max(texels_per_sample, 1.0))), 0, len(appearance.textures) - 1))
    return appearance.textures[level]
