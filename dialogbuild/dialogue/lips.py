"""Lip motion of a face: how much the inner lips open and close, whatever the face's size on screen."""

from __future__ import annotations

import numpy as np

from dialogbuild.dialogue.pcm import Array
from dialogbuild.dialogue.turns import drop_short, intervals, merge_close

_UPPER, _LOWER = (82, 13, 312), (87, 14, 317)  # inner lips of MediaPipe's mesh, middle third
_FOREHEAD, _CHIN = 10, 152
_SYLLABLE_HZ = 4.0  # turns speed into an amplitude: syllables come at 3-8 Hz
_WINDOW_S = 0.12  # a longer one smears the ends of turns: 0.8 s moves them by 0.4 s
_BRIDGE_S = 0.16  # a face lost for less is interpolated
_MIN_RUN_S = 0.4  # a shorter appearance says nothing about motion
_FLOOR = 1e-3  # face heights: what landmarks of a 100 px face cannot resolve


def lip_aperture(lmk_px: Array) -> Array:
    """Inner-lip gap over face height. (N, 478, 2) px -> (N,) float64, unitless."""
    points = np.asarray(lmk_px, dtype=np.float64)
    gap = np.linalg.norm(points[:, _UPPER] - points[:, _LOWER], axis=2).mean(axis=1)
    height = np.linalg.norm(points[:, _FOREHEAD] - points[:, _CHIN], axis=1)
    ratio: Array = gap / np.maximum(height, 1e-6)
    return ratio


def lip_motion(aperture: Array, fps: float) -> Array:
    """Log amplitude of the lips' opening and closing, from their speed over 0.12 s.

    Speed, not deviation: a slow change of posture hardly counts, and the answer is local in time.

    Args:
        aperture: (T,) face heights; NaN where the face is not seen.

    Returns:
        (T,) float64, NaN where the face is not seen or not seen for long enough.
    """
    out = np.full(len(aperture), np.nan)
    seen = np.isfinite(aperture)
    runs = drop_short(merge_close(intervals(seen), _BRIDGE_S * fps + 1e-9), _MIN_RUN_S * fps)
    for start, end in runs:
        here = np.arange(start, end)
        known = here[seen[start:end]]
        curve = np.interp(here, known, aperture[known])
        swing = np.gradient(curve) * (fps / (2.0 * np.pi * _SYLLABLE_HZ))
        power = _local_mean(swing**2, max(3, round(_WINDOW_S * fps)))
        out[start:end] = np.log(np.sqrt(power) + _FLOOR)
    out[~seen] = np.nan
    return out


def _local_mean(values: Array, window: int) -> Array:
    """Centred moving mean; at the ends over what is there."""
    half = window // 2
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    mean: Array = (total[high] - total[low]) / (high - low)
    return mean
