"""Square face crops: a steady window per person, and its exact 2x3 transform.

Transforms map continuous coordinates, in the source and in the crop, whose first pixel's centre is (0.5, 0.5).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset.schema import CROP_PX

Float = NDArray[np.float64]


def steady_windows(
    box_px: NDArray[Any], seen: NDArray[Any], runs: NDArray[Any], margin: float, smooth_s: float, fps: float = 25.0
) -> Float:
    """Square windows that follow a face without shaking.

    Centre and side are smoothed by a Gaussian within each run of equal ``runs`` (a shot, a track), never across;
    unseen ticks hold the nearest seen window.

    Args:
        box_px: (T, 4) face boxes x0, y0, x1, y1.
        seen: (T,) bool.
        runs: (T,) int; borders between different values are hard.
        margin: window side over the box's longer side.
        smooth_s: standard deviation of the Gaussian, seconds.

    Returns:
        (T, 3) centre x, centre y, side; pixels. All zeros when nothing is seen.
    """
    box = np.asarray(box_px, np.float64)
    raw = np.stack([(box[:, 0] + box[:, 2]) / 2, (box[:, 1] + box[:, 3]) / 2, np.zeros(len(box))], axis=1)
    raw[:, 2] = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]) * margin
    seen = np.asarray(seen, bool)
    out = np.zeros_like(raw)
    if not seen.any():
        return np.asarray(out)
    where = np.flatnonzero(seen)
    for run in np.unique(np.asarray(runs)[seen]):
        at = where[np.asarray(runs)[where] == run]
        lag = np.subtract.outer(at, at) / (smooth_s * fps)  # (n, n) ticks over sigma
        weight = np.exp(-0.5 * lag**2)
        # sums, not a BLAS product: its rounding depends on the number of threads
        out[at] = np.stack([(weight * raw[at, c]).sum(axis=1) for c in range(3)], 1) / weight.sum(axis=1)[:, None]
    nearest = where[np.abs(np.subtract.outer(np.arange(len(box)), where)).argmin(axis=1)]
    return np.asarray(out[nearest])


def crop_matrices(windows: NDArray[Any], size_px: int = CROP_PX) -> NDArray[np.float32]:
    """Windows (T, 3) to (T, 2, 3) float32, source px -> crop px. A window without extent maps with scale 1."""
    side = np.where(windows[:, 2] > 0, windows[:, 2], size_px)
    scale = size_px / side
    out = np.zeros((len(windows), 2, 3))
    out[:, 0, 0] = out[:, 1, 1] = scale
    out[:, :, 2] = size_px / 2 - scale[:, None] * windows[:, :2]
    return out.astype(np.float32)


def apply(matrix: NDArray[Any], points_px: NDArray[Any]) -> NDArray[Any]:
    """Points (..., 2) in source px -> crop px, for one (2, 3) matrix."""
    return np.asarray(points_px @ matrix[:, :2].T + matrix[:, 2])


def warp(image: NDArray[np.uint8], matrix: NDArray[Any], size_px: int = CROP_PX) -> NDArray[np.uint8]:
    """Resample an (H, W, 3) image into the crop. Outside the source is black.

    Faces larger than the crop are sampled more finely first and averaged down, so that they do not alias.
    """
    import cv2

    scale = float(matrix[0, 0])
    finer = max(1, min(4, round(1 / scale))) if scale > 0 else 1
    m = np.asarray(matrix, np.float64) * finer
    # cv2 puts pixel centres at whole numbers: x_cv = x - 0.5 on both sides
    m[:, 2] += 0.5 * (m[:, 0] + m[:, 1]) - 0.5
    big = cv2.warpAffine(image, m, (size_px * finer, size_px * finer), flags=cv2.INTER_LINEAR)
    if finer == 1:
        return np.asarray(big, np.uint8)
    return np.asarray(cv2.resize(big, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)
