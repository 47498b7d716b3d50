"""Insets: a camera's picture laid over another's, as a rectangle with four straight sides that last while things move.

Picture frames, windows and screens of a scene are rectangles too. They are told apart as borders of panes are
(``media.panes``): all four sides are sharp along nearly their whole length, and something moves beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from dialogbuild.media.panes import Box, Pane, PictureStats, sharp_steps

Array = np.ndarray[Any, np.dtype[Any]]
_GAP = 5  # px of a side that may be missing at a time: what lies on both sides of it may be alike
_CORNER = 6  # px by which sides may miss the corner
_MIN_SIDE, _MAX_SIDE = 0.10, 0.60  # of the picture's
_SIDE, _MEAN, _SLOPE = 0.7, 0.85, 0.03  # share of a side that is sharp; all four at even odds
_FEW_MOVING = 0.02
_MOST = 64  # candidate sides in a direction


def find_insets(stats: PictureStats, panes: Sequence[Pane], min_confidence: float = 0.5) -> list[Pane]:
    """Rectangles inside the panes of a shot, top to bottom; none overlap. Their panes go on behind them.

    Args:
        panes: from ``panes.find_panes``. Insets that touch a pane's edge are not found.
    """
    height, width = stats.mean.shape
    out = []
    for pane in panes:
        x0, y0, _, _ = pane.box_px
        found: list[Pane] = []
        for inset in sorted(_rectangles(stats.part(pane.box_px), (width, height)), key=lambda p: -p.confidence):
            if inset.confidence >= min_confidence and not any(_overlap(inset.box_px, f.box_px) for f in found):
                found.append(inset)
        for inset in found:
            a, b, c, d = inset.box_px
            out.append(Pane((a + x0, b + y0, c + x0, d + y0), min(inset.confidence, pane.confidence)))
    return sorted(out, key=lambda p: (p.box_px[1], p.box_px[0]))


def _rectangles(stats: PictureStats, picture_px: tuple[int, int]) -> list[Pane]:
    upright, moving = sharp_steps(stats)
    level, moving_level = (values.T for values in sharp_steps(stats.transposed()))
    low, high = (np.multiply(picture_px, share) for share in (_MIN_SIDE, _MAX_SIDE))
    sides = [s for s in _segments(upright, low[1]) if s[2] - s[1] <= high[1]]
    found = []
    for (xa, top_a, end_a), (xb, top_b, end_b) in combinations(sorted(sides), 2):
        if not low[0] <= xb - xa <= high[0] or max(abs(top_a - top_b), abs(end_a - end_b)) > 2 * _CORNER:
            continue
        top = _best_row(level, xa, xb, (top_a + top_b) // 2)
        end = _best_row(level, xa, xb, (end_a + end_b) // 2)
        if end - top < low[1]:
            continue
        edges = [upright[top:end, xa], upright[top:end, xb], level[top, xa:xb], level[end, xa:xb]]
        moved = [moving[top:end, xa], moving[top:end, xb], moving_level[top, xa:xb], moving_level[end, xa:xb]]
        share = np.array([edge.mean() for edge in edges])
        if share.min() >= _SIDE and np.concatenate(moved).mean() >= _FEW_MOVING:
            found.append(Pane((xa, top, xb, end), float(1 / (1 + np.exp((_MEAN - share.mean()) / _SLOPE)))))
    return found


def _segments(hit: Array, least: float) -> list[tuple[int, int, int]]:
    """The longest unbroken stretch of each column: (column, first row, last row + 1); the longest, one per 3 px."""
    out: list[tuple[int, int, int]] = []
    for x in np.flatnonzero(hit.sum(axis=0) >= _SIDE * least):
        rows = np.flatnonzero(hit[:, x])
        parts = np.split(rows, np.flatnonzero(np.diff(rows) > _GAP) + 1)
        longest = max(parts, key=len)
        if longest[-1] + 1 - longest[0] >= least:
            out.append((int(x), int(longest[0]), int(longest[-1]) + 1))
    kept: list[tuple[int, int, int]] = []
    for segment in sorted(out, key=lambda s: (-hit[s[1] : s[2], s[0]].sum(), s[0])):
        if all(abs(segment[0] - k[0]) > 3 for k in kept):
            kept.append(segment)
    return kept[:_MOST]


def _best_row(level: Array, xa: int, xb: int, near: int) -> int:
    first = max(near - 2 * _CORNER, 0)
    share = level[first : near + 2 * _CORNER + 1, xa:xb].mean(axis=1)
    return min(first + int(share.argmax()), len(level) - 1)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
