"""Whether a tracked face is alive or a picture of one, and whether two tracked faces are one person shown twice.

A photograph may be moved, turned and zoomed, but its landmarks then all move together: what is left after a similarity
is the detector's noise. A person who listens moves more, and blinks, if one waits for it. Measured: residual in radii
of the face, and range of the lids' opening:

    photographs made of real clips (moved, zoomed, H.264), faces of 70 to 230 px       0.003-0.006   0.012-0.026
    a real listener, the stillest 3 s; 4 s; 5 s; 6 s of 17 s      0.005 0.024;  0.007 0.034;  0.008 0.046;  0.012 0.18

So nothing shorter than 6 s is called a photograph, and both must speak for it all the time. Unsure is alive.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

POINTS = np.array([33, 133, 159, 145, 362, 263, 386, 374, 1, 105, 334, 61, 291, 13, 14, 152])
"""Of the mesh: both eyes (corners, upper and lower lid), nose tip, brows, mouth (corners, inner lips), chin."""

_EYES = ((0, 1, 2, 3), (4, 5, 6, 7))  # within POINTS: two corners, upper and lower lid
_STILL_S = 6.0
_MAX_RESIDUAL, _MAX_LID_RANGE = 0.0075, 0.035
_MIN_FACE_PX = 60.0  # the detector's noise of a smaller face is as large as a listener's motion
_TOGETHER_S = 2.0
_MAX_LAG_S = 0.2  # through a mixing desk
_ALIKE = 0.8


def residual_motion(points_px: Array) -> Array:
    """What a similarity to the median face does not explain, over the face's radius. (T, 16, 2) px -> (T, 16) complex.

    Every point's median is taken off, so that a still face is zero whatever its shape.
    """
    z = points_px[..., 0].astype(np.float64) + 1j * points_px[..., 1]
    z = z - z.mean(axis=1, keepdims=True)
    middle = _median(z / np.maximum(np.sqrt((np.abs(z) ** 2).mean(axis=1, keepdims=True)), 1e-9))
    scale = (z.conj() * middle).sum(axis=1) / np.maximum((np.abs(z) ** 2).sum(axis=1), 1e-12)
    rest = scale[:, None] * z - middle
    radius = np.sqrt((np.abs(middle) ** 2).mean())
    out: Array = (rest - _median(rest)) / max(float(radius), 1e-9)
    return out


def lid_opening(points_px: Array) -> Array:
    """Mean opening of both eyes over their width. (T, 16, 2) px -> (T,)."""
    eyes = []
    for outer, inner, upper, lower in _EYES:
        gap = np.linalg.norm(points_px[:, upper] - points_px[:, lower], axis=1)
        eyes.append(gap / np.maximum(np.linalg.norm(points_px[:, outer] - points_px[:, inner], axis=1), 1e-6))
    opening: Array = np.mean(eyes, axis=0)
    return opening


def is_photograph(points_px: Array, face_px: float, fps: float) -> bool:
    """Whether a track shows a picture: still for as long as it lasts, and that for at least 6 s.

    Args:
        points_px: (T, 16, 2) ``POINTS`` of the track's ticks that have landmarks.
        face_px: the face's size.
        fps: ticks per second.
    """
    length = round(_STILL_S * fps)
    if len(points_px) < length or face_px < _MIN_FACE_PX:
        return False
    starts = [*range(0, len(points_px) - length, length), len(points_px) - length]
    return all(_still(points_px[start : start + length]) for start in starts)


def moves_alike(a_px: Array, b_px: Array, fps: float) -> bool:
    """Whether two faces in view at once do the very same: one person, shown twice.

    Args:
        a_px, b_px: (T, 16, 2) ``POINTS`` of both at the same ticks.
    """
    if len(a_px) < round(_TOGETHER_S * fps):
        return False
    a, b = residual_motion(a_px), residual_motion(b_px)
    if min(_size(a), _size(b)) < _MAX_RESIDUAL:
        return False  # two photographs, or hardly any motion
    return likeness_of_motion(a, b, round(_MAX_LAG_S * fps)) > _ALIKE


def likeness_of_motion(a: Array, b: Array, max_lag: int) -> float:
    """Highest correlation of two residual motions over lags of up to ``max_lag`` ticks. (T, 16) complex -> -1..1."""
    best = -1.0
    for lag in range(-max_lag, max_lag + 1):
        x, y = a[max(lag, 0) : len(a) + min(lag, 0)], b[max(-lag, 0) : len(b) + min(-lag, 0)]
        scale = np.sqrt((np.abs(x) ** 2).sum() * (np.abs(y) ** 2).sum())
        best = max(best, float((x.conj() * y).sum().real / max(float(scale), 1e-12)))
    return best


def _still(points_px: Array) -> bool:
    opening = lid_opening(points_px)
    lids = float(np.quantile(opening, 0.98) - np.quantile(opening, 0.02))
    return _size(residual_motion(points_px)) < _MAX_RESIDUAL and lids < _MAX_LID_RANGE


def _size(rest: Array) -> float:
    """Root mean square over the points, median over time."""
    return float(np.median(np.sqrt((np.abs(rest) ** 2).mean(axis=1))))


def _median(z: Array) -> Array:
    middle: Array = np.median(z.real, axis=0) + 1j * np.median(z.imag, axis=0)
    return middle
