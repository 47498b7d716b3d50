"""The part of an image that a projected mesh can touch, so that work follows the head's size and not the image's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pixel_window(points_px: NDArray[Any], size_hw: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The half-open box x0, y0, x1, y1 of whole pixels around points, within the image.

    Args:
        points_px: (V, 2 or more) x right, y down; points that are not finite are left out.
        size_hw: image height and width.

    Returns:
        None when no pixel is left.
    """
    seen = points_px[np.isfinite(points_px[:, :2]).all(1), :2]
    if not len(seen):
        return None
    size = np.array(size_hw[::-1])
    low = np.clip(np.floor(seen.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(seen.max(0)), 0, size).astype(int)
    if (low >= high).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
