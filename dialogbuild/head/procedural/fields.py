"""The control points and the smooth bumps that shapes are modelled with. Centimetres; origin on the nose bridge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dialogbuild.errors import MissingPart
from dialogbuild.head.generate import CORE_PATH
from dialogbuild.head.procedural.landmarks import INNER_LIPS, LEFT_EYE_LOOP, RIGHT_EYE_LOOP

Array = NDArray[np.float64]

EYE_RADIUS = 1.2
LID_OPEN, LID_CLOSED = 0.07, 0.17
"""Height of the lid margin above the eyeball: a closed lid stands higher, so that the straight path of a blendshape
between the two stays outside the ball."""


@dataclass(frozen=True, eq=False)
class Core:
    """The frozen constants with the lid margins laid around the eyeballs and the lips closed."""

    neutral: Array
    mirror: NDArray[np.int64]
    triangles: NDArray[np.int64]
    deltas: dict[str, Array]
    eye_centres: Array
    """(2, 3), the subject's left then right."""


@lru_cache(maxsize=1)
def load_core() -> Core:
    """Read ``procedural_core.npz``.

    Raises:
        MissingPart: the file is not there.
    """
    if not CORE_PATH.is_file():
        raise MissingPart(f"{CORE_PATH.name} is missing: python -m dialogbuild.head.generate")
    with np.load(CORE_PATH, allow_pickle=False) as stored:
        neutral = stored["neutral_cm"].astype(np.float64)
        mirror, triangles = stored["mirror"].astype(np.int64), stored["triangles"].astype(np.int64)
        names = [n for n in stored.files if n.startswith("delta_")]
        deltas = {n[len("delta_") : -len("_cm")]: stored[n].astype(np.float64) for n in names}
    neutral = _close_lips(neutral)
    centres = np.stack([_eye_centre(neutral, loop) for loop in (LEFT_EYE_LOOP, RIGHT_EYE_LOOP)])
    for centre in centres:
        neutral = _wrap_eye(neutral, centre)
    return Core((neutral + neutral[mirror] * [-1, 1, 1]) / 2, mirror, triangles, deltas, centres)


def _close_lips(p: Array) -> Array:
    """Bring the inner lips together: the cartoon's mouth is a line, the detector leaves a fraction of a millimetre."""
    p = p.copy()
    for upper, lower in zip(INNER_LIPS[1:10], INNER_LIPS[:10:-1], strict=True):
        p[[upper, lower], :2] = (p[upper, :2] + p[lower, :2]) / 2
        p[upper, 1] += 0.005
        p[lower, 1] -= 0.005
    return p


def _eye_centre(p: Array, loop: Sequence[int]) -> Array:
    """The centre that puts the middle of both lid margins ``LID_OPEN`` above the ball."""
    middle = p[[loop[4], loop[12]]].mean(0)
    corners = p[[loop[0], loop[8]]].mean(0)
    half_gap = abs(p[loop[4], 1] - p[loop[12], 1]) / 2
    depth = np.sqrt((EYE_RADIUS + LID_OPEN) ** 2 - half_gap**2)
    return np.array([0.6 * middle[0] + 0.4 * corners[0], middle[1], middle[2] - depth])


def _wrap_eye(p: Array, centre: Array) -> Array:
    """Push the points around one eye out of its ball, forwards."""
    p = p.copy()
    lateral = np.linalg.norm((p - centre)[:, :2], axis=1)
    radius = EYE_RADIUS + LID_OPEN
    height = centre[2] + np.sqrt(np.maximum(radius**2 - lateral**2, 0))
    inside = (lateral < radius) & (p[:, 2] < height)
    p[inside, 2] = height[inside]
    loop = LEFT_EYE_LOOP if centre[0] > 0 else RIGHT_EYE_LOOP
    margin = [i for i in loop if lateral[i] < 0.95 * radius]
    p[margin, 2] = height[margin]
    return p


def smoothstep(value: ArrayLike, start: Any, stop: Any) -> Array:
    """0 before ``start``, 1 after ``stop``, smooth between; ``start > stop`` falls instead of rising."""
    t = np.clip((np.asarray(value, np.float64) - start) / (np.asarray(stop) - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def bump(p: Array, centre: ArrayLike, width: float | Sequence[float]) -> Array:
    """Gaussian of standard deviation ``width`` cm (one, or one per axis) around a point, (N,)."""
    return np.asarray(np.exp(-0.5 * (((p - np.asarray(centre)) / np.asarray(width)) ** 2).sum(1)))


def along(weight: Array, direction: ArrayLike) -> Array:
    """(N,) weights times one direction, (N, 3)."""
    return np.asarray(weight[:, None] * np.asarray(direction, np.float64))
