"""Texture coordinates: the skin is a disc around the face, parts have tiles in the square's corners.

The face is partly unrolled; skull, neck and chest continue outwards ring by ring, so the skin has no seam.
"""

from __future__ import annotations

import numpy as np

from dialogbuild.head.procedural.fields import Array
from dialogbuild.head.procedural.landmarks import OVAL
from dialogbuild.head.procedural.skull import N_COLUMNS, N_RINGS
from dialogbuild.head.procedural.surface import Surface

FACE_SCALE = 1 / 34.0
"""Square sides per centimetre of the face."""
FACE_CENTRE_CM = np.array([0.0, -3.9])
_RIM = 0.49
# room per ring: near the face the texture is as fine as on it, on the chest coarse
_RING_SHARE = (1.8, 1.7, 1.3, 1.1, 1.0, 0.9, 0.8, 0.8, 0.8, 0.4, 0.4, 0.35, 0.35, 0.35, 0.35, 0.35)

# tile: left, bottom, side; outside the disc of radius _RIM about the middle
TILES = {
    "left_eye": (0.005, 0.865, 0.13),
    "right_eye": (0.865, 0.865, 0.13),
    "left_rim": (0.005, 0.80, 0.05),
    "right_rim": (0.945, 0.80, 0.05),
    "left_ear": (0.005, 0.005, 0.13),
    "right_ear": (0.865, 0.005, 0.13),
    "mouth": (0.14, 0.005, 0.06),
    "tongue": (0.80, 0.005, 0.06),
    "upper_teeth": (0.14, 0.935, 0.06),
    "lower_teeth": (0.80, 0.935, 0.06),
}


def unroll(points: Array) -> Array:
    """Points (N, 3) cm -> (N, 2) cm: half a straight projection, half a cylinder's unrolling, so that cheeks and
    temples get texture too."""
    turn = np.arctan2(points[:, 0], points[:, 2] + 9.0)
    return np.stack([0.5 * points[:, 0] + 0.5 * 9.0 * turn, points[:, 1]], 1)


def skin_uv(points: Array, surface: Surface) -> Array:
    """(V, 2) for the skin's dense vertices, v up."""
    flat = 0.5 + (unroll(points) - FACE_CENTRE_CM) * FACE_SCALE
    control = flat[: surface.n_control].copy()
    rim = flat[list(OVAL)] - 0.5
    radius = np.linalg.norm(rim, axis=1, keepdims=True)
    direction = rim / radius
    first = surface.n_control - N_RINGS * N_COLUMNS
    share = np.cumsum(_RING_SHARE) / np.sum(_RING_SHARE)
    for ring in range(N_RINGS):
        out = radius + (_RIM - radius) * share[ring]
        start = first + ring * N_COLUMNS
        control[start : start + N_COLUMNS] = 0.5 + direction * out
    dense = surface.through(control)
    is_shell = surface.shell_vertices(first)
    return np.where(is_shell[:, None], dense, flat)


def place(part: str, uv: Array) -> Array:
    """A part's own unit square in its tile of the atlas."""
    left, bottom, side = TILES[part]
    return np.asarray(np.array([left, bottom]) + uv * side)
