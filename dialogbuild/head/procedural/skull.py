"""Skull, neck and shoulders: one skin that runs from the face's outline over the head down to the chest.

Five guide curves on the subject's left start at points of the outline and end on the neck's base; the other columns
are interpolated between them. As neck and face are one surface, no pose can open a gap.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from dialogbuild.head.procedural.fields import Array, smoothstep
from dialogbuild.head.procedural.landmarks import N_FACE, OVAL
from dialogbuild.head.procedural.surface import Ids

N_COLUMNS = len(OVAL)
N_NECK_RINGS, N_TORSO_RINGS = 9, 7
N_RINGS = N_NECK_RINGS + N_TORSO_RINGS

# Outline column -> waypoints (cm) after the outline itself; head length 20 cm, breadth 15.4 cm.
_GUIDES: dict[int, list[tuple[float, float, float]]] = {
    0: [(0, 6.2, -1.4), (0, 9.0, -4.2), (0, 10.6, -9), (0, 9.2, -14), (0, 5, -17.2), (0, 0, -17.8), (0, -4.6, -16.2),
        (0, -9, -15.0), (0, -15.6, -14.9)],
    4: [(6.1, 4.2, -4.3), (6.3, 6.6, -7.2), (5.9, 7.4, -10.5), (5.3, 5.8, -14), (4.6, 2, -16.2), (4.2, -2, -16.2),
        (4.1, -5.8, -14.9), (3.9, -10, -13.9), (4.0, -15.6, -13.8)],
    7: [(7.55, -0.3, -8.6), (7.65, 0.5, -10.2), (7.4, 0.3, -12.2), (6.8, -1.2, -13.8), (6.1, -3.6, -14.2),
        (5.5, -6.3, -13.4), (5.3, -9.0, -12.6), (5.3, -12, -12.2), (5.5, -15.6, -12.2)],
    9: [(7.1, -4.6, -8.6), (6.8, -5.2, -9.8), (6.4, -6.3, -10.6), (6.0, -7.8, -11), (5.7, -9.3, -11),
        (5.5, -10.8, -10.9), (5.5, -12.4, -10.8), (5.5, -13.9, -10.8), (5.6, -15.6, -10.8)],
    12: [(5.4, -9.1, -6.9), (5.3, -9.6, -8), (5.3, -10.2, -8.6), (5.3, -11, -8.9), (5.3, -11.9, -9), (5.3, -12.9, -9),
         (5.3, -13.8, -9), (5.3, -14.7, -9), (5.4, -15.7, -9)],
    18: [(0, -12.1, -2.5), (0, -12.2, -3.8), (0, -12.4, -5.0), (0, -12.9, -6.0), (0, -13.6, -6.5), (0, -14.2, -6.7),
         (0, -14.8, -6.8), (0, -15.4, -6.8), (0, -16.1, -6.9)],
}  # fmt: skip

# Below the neck: height, half breadth, half depth, centre z of the front half; shoulders slope outwards.
_TORSO = [
    (-16.9, 6.3, 4.6, -10.6), (-18.0, 8.4, 5.3, -10.7), (-19.0, 11.4, 6.2, -10.8), (-20.2, 15.0, 7.2, -10.9),
    (-22.0, 17.8, 8.2, -11.0), (-25.5, 19.4, 9.2, -11.0), (-34.0, 20.2, 10.0, -11.0),
]  # fmt: skip


def shell_controls(face: Array) -> Array:
    """Control points of skull, neck and chest, (N_RINGS * 36, 3) cm, ring by ring outwards from the face."""
    half = N_COLUMNS // 2
    knots = sorted(_GUIDES)
    stack = np.array([[face[OVAL[k]], *_GUIDES[k]] for k in knots], np.float64)  # guide, ring, xyz
    columns = PchipInterpolator(knots, stack, axis=0)(np.arange(half + 1))
    start_error = face[list(OVAL[: half + 1])] - columns[:, 0]
    fade = (1 - smoothstep(np.arange(N_NECK_RINGS + 1), 0, 4))[None, :, None]
    columns = (columns + start_error[:, None] * fade)[:, 1:]
    neck = np.concatenate([columns, (columns[1:half] * [-1, 1, 1])[::-1]])
    return np.asarray(np.concatenate([neck.transpose(1, 0, 2), _torso(neck[:, -1])]).reshape(-1, 3))


def _torso(base: Array) -> Array:
    """Rings (4, 36, 3) under the neck's base ring, by the same azimuths."""
    azimuth = np.arctan2(base[:, 2] + 10.5, base[:, 0])
    rings = []
    for y, breadth, depth, z in _TORSO:
        drop = 1.6 * np.cos(azimuth) ** 4 * smoothstep(-y, 16.5, 20.0) * smoothstep(y, -34.0, -26.0)
        power = 1 - 0.2 * float(smoothstep(-y, 16.5, 20.0))  # a rounded box in plan
        c, s = np.cos(azimuth), np.sin(azimuth)
        x = breadth * np.sign(c) * np.abs(c) ** power
        rings.append(np.stack([x, np.full_like(x, y) - drop, z + depth * np.sign(s) * np.abs(s) ** power], 1))
    return np.array(rings)


def shell_triangles() -> Ids:
    """Triangles between the outline and the rings, in control numbering, counter-clockwise from outside."""
    ids = np.concatenate([[OVAL], N_FACE + np.arange(N_RINGS * N_COLUMNS).reshape(N_RINGS, N_COLUMNS)])
    a, b = ids[:-1], np.roll(ids[:-1], -1, 1)
    c, d = ids[1:], np.roll(ids[1:], -1, 1)
    return np.asarray(np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)]).reshape(-1, 3))


def spread(face_values: Array, reach: float) -> Array:
    """Continue values at the face's control points (468, ...) onto the shell: the outline's value, fading out over
    ``reach`` rings. (468 + shell, ...)."""
    fade = 1 - smoothstep(np.arange(1, N_RINGS + 1), 0, reach)
    rim = face_values[list(OVAL)]
    shell = fade.reshape(-1, 1, *[1] * (face_values.ndim - 1)) * rim[None]
    return np.concatenate([face_values, shell.reshape(-1, *face_values.shape[1:])])


def ring_of(n_rings: int = N_RINGS) -> Array:
    """Ring number, 1 next to the face, per shell control point."""
    return np.repeat(np.arange(1, n_rings + 1), N_COLUMNS).astype(np.float64)
