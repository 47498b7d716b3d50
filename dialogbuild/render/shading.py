"""Normals and light: area-weighted vertex normals, the nine spherical-harmonic functions, lights of a scene.

Spherical harmonics: R. Ramamoorthi, P. Hanrahan, "An efficient representation for irradiance environment maps"
(SIGGRAPH 2001). Directions are in camera axes (x right, y down, z away from the camera).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dialogbuild.errors import ConfigError

Float32 = NDArray[np.float32]

GAMMA = 2.2
"""Display gamma of rendered images: light adds up in linear values, pixels store ``linear ** (1 / GAMMA)``."""


@nb.njit(cache=True)
def _normals(vertices, faces):  # type: ignore[no-untyped-def]
    out = np.zeros(vertices.shape, np.float32)
    for t in range(faces.shape[0]):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            out[i, 0] += nx
            out[i, 1] += ny
            out[i, 2] += nz
    for i in range(out.shape[0]):
        length = np.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2)
        if length > 0.0:
            for k in range(3):
                out[i, k] /= length
    return out


def vertex_normals(vertices: NDArray[Any], faces: NDArray[np.int32]) -> Float32:
    """Unit normals (V, 3) float32, weighted by triangle area; zero for a vertex without triangles.

    They point outwards for the counter-clockwise ``faces`` of a head, in head axes and in camera axes alike.
    """
    return np.asarray(_normals(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)))


def sh_basis(normals: NDArray[Any]) -> NDArray[Any]:
    """The nine real spherical harmonics up to degree 2 of unit vectors, (..., 3) -> (..., 9), same dtype.

    Order: 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2, with their normalising constants.
    """
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    rows = [
        np.full_like(x, 0.282095),
        0.488603 * y,
        0.488603 * z,
        0.488603 * x,
        1.092548 * x * y,
        1.092548 * y * z,
        0.315392 * (3 * z * z - 1),
        1.092548 * x * z,
        0.546274 * (x * x - y * y),
    ]
    return np.stack(rows, -1)


def shade_sh(normals: NDArray[Any], coefficients: NDArray[Any]) -> NDArray[Any]:
    """Irradiance (..., 3) of unit normals (..., 3) under SH light (9, 3): a linear function of the light."""
    return np.asarray(sh_basis(normals) @ coefficients)


@dataclass(frozen=True, eq=False)
class Lighting:
    """Light of a scene, in linear units: a white surface facing irradiance 1 comes out white.

    Args:
        sh: (9, 3) float32 irradiance coefficients of ``sh_basis``.
        directions: (L, 3) float32 unit vectors towards directional lights; they also make highlights.
        colours: (L, 3) float32.

    Raises:
        ConfigError: a shape is wrong.
    """

    sh: Float32
    directions: Float32 = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    colours: Float32 = field(default_factory=lambda: np.zeros((0, 3), np.float32))

    def __post_init__(self) -> None:
        if self.sh.shape != (9, 3) or self.directions.shape != self.colours.shape or self.colours.shape[1:] != (3,):
            raise ConfigError(
                f"light needs sh (9, 3) and equal (L, 3) lists, not {self.sh.shape}, {self.colours.shape}"
            )


def studio_light(
    key_direction: ArrayLike = (0.45, -0.45, -0.77),
    key: ArrayLike = (0.80, 0.77, 0.72),
    fill: ArrayLike = (0.16, 0.17, 0.20),
    ambient: ArrayLike = (0.30, 0.30, 0.31),
) -> Lighting:
    """A key light, a weaker fill from the other side, and a sky that is brighter above than below.

    Args:
        key_direction: towards the key light, camera axes (y points down).
        key, fill, ambient: linear RGB.
    """
    towards = np.asarray(key_direction, np.float64)
    towards = towards / np.linalg.norm(towards)
    opposite = np.array([-towards[0] - 0.3 * np.sign(towards[0]), -0.1, -0.6])
    opposite = opposite / np.linalg.norm(opposite)
    sh = np.zeros((9, 3))
    sh[0] = np.asarray(ambient) / 0.282095
    sh[1] = -0.25 * np.asarray(ambient) / 0.488603
    return Lighting(
        sh.astype(np.float32), np.stack([towards, opposite]).astype(np.float32), np.array([key, fill], np.float32)
    )
