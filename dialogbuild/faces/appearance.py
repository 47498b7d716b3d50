"""What a face looks like in colours: hair, skin and clothes as three histograms, to tell people of one video apart.

Lasting for the length of a video, nearly free (0.1 ms), and of use where a face is small or turned away, when its
features are not. It knows nothing of faces: two people in the same shirt with the same hair are one to it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

ZONES = ("hair", "face", "clothes")
N_BINS = 8  # per channel of CIE L*a*b*
LOOK_SIZE = len(ZONES) * 3 * N_BINS
_SIDE = 16  # px; each zone is shrunk to this, so that the time does not depend on the face's size
# x0, y0, x1, y1 in units of the detector's box, which reaches from the brows to the chin.
_PLACES = ((0.2, -0.35, 0.8, -0.08), (0.22, 0.25, 0.78, 0.8), (0.0, 1.3, 1.0, 1.8))
_MIN_INSIDE = 0.6  # of a zone's area that must lie in the picture
# 8-bit L*a*b*: skin, hair and most cloth lie within 40 of grey in a* and b*; beyond counts as the last bin.
_LOW, _HIGH = np.array([0.0, 98.0, 88.0]), np.array([255.0, 168.0, 178.0])


def describe(rgb: npt.NDArray[np.uint8], box_px: npt.NDArray[np.float32]) -> Array:
    """The look of the face in a box.

    Args:
        rgb: (H, W, 3) uint8.
        box_px: (4,) x0, y0, x1, y1.

    Returns:
        (72,): per zone 8 bins each of L*, a*, b*, the square root of a histogram with sum 1, so that the scalar
        product of two looks' zones is their Bhattacharyya coefficient. A zone outside the picture is zero.
    """
    look = np.zeros((len(ZONES), 3 * N_BINS), np.float32)
    for zone, place in enumerate(_PLACES):
        patch = _patch(rgb, box_px, place)
        if patch is not None:
            look[zone] = _histogram(patch)
    return look.reshape(-1)


def mean_look(looks: Array) -> Array:
    """The look of a face over many sightings, zones that were never seen zero. (N, 72) -> (72,)."""
    parts = np.square(looks.reshape(len(looks), len(ZONES), -1))
    seen = parts.sum(axis=(0, 2))
    mean = parts.sum(axis=0) / np.maximum(seen, 1e-9)[:, None]
    return np.asarray(np.sqrt(mean).reshape(-1), np.float32)


def zone_distance(a: Array, b: Array) -> Array:
    """Hellinger distance (0 the same colours, 1 none in common) per zone; NaN where a zone is missing from either.

    Args:
        a, b: (..., 72), broadcast against each other.

    Returns:
        (..., 3), zones as in ``ZONES``.
    """
    shape = (len(ZONES), 3 * N_BINS)
    x, y = a.reshape(*a.shape[:-1], *shape), b.reshape(*b.shape[:-1], *shape)
    common = (x * y).sum(-1)
    known = (np.square(x).sum(-1) > 0.5) & (np.square(y).sum(-1) > 0.5)
    distance: Array = np.where(known, np.sqrt(np.clip(1.0 - common, 0.0, 1.0)), np.nan).astype(np.float32)
    return distance


def _patch(
    rgb: npt.NDArray[np.uint8], box_px: npt.NDArray[np.float32], place: tuple[float, float, float, float]
) -> npt.NDArray[np.uint8] | None:
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (float(v) for v in box_px)
    u, v = x1 - x0, y1 - y0
    left, top, right, bottom = x0 + place[0] * u, y0 + place[1] * v, x0 + place[2] * u, y0 + place[3] * v
    inside_x, inside_y = min(right, width) - max(left, 0.0), min(bottom, height) - max(top, 0.0)
    if min(inside_x, inside_y) < 1 or inside_x * inside_y < _MIN_INSIDE * (right - left) * (bottom - top):
        return None
    rows = slice(int(max(top, 0)), max(int(min(bottom, height)), int(max(top, 0)) + 1))
    columns = slice(int(max(left, 0)), max(int(min(right, width)), int(max(left, 0)) + 1))
    return np.asarray(cv2.resize(rgb[rows, columns], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _histogram(patch: npt.NDArray[np.uint8]) -> Array:
    """Each pixel shared between its two nearest bins, so that a slight change of light moves little. -> (24,)."""
    lab = cv2.cvtColor(patch, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    place = np.clip((lab - _LOW) / (_HIGH - _LOW), 0.0, 1.0) * (N_BINS - 1)
    low = np.minimum(place.astype(np.int64), N_BINS - 2)
    share = place - low
    first = low + np.arange(3) * N_BINS
    count = np.bincount(first.ravel(), (1.0 - share).ravel(), 3 * N_BINS)
    count += np.bincount(first.ravel() + 1, share.ravel(), 3 * N_BINS)
    return np.asarray(np.sqrt(count / count.sum()), np.float32)
