"""Panes of a split picture: where several cameras' pictures stand side by side in one shot.

A border between two pictures is a straight line that runs from edge to edge of the region it divides, lies in the same
pixel column in every row, is sharp, and stays put while what it parts moves. Things in a scene (door frames, shelves)
have long straight edges too, but these lean by a pixel somewhere, are hidden by people, or are blurred. A line that
could be either is not taken: then the region is one pane, and its confidence says how near the decision was.

The picture is cut by such lines again and again, as grids of video calls are made. ``media.insets`` finds pictures
within pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dialogbuild.media.probe import U8Image

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[int, int, int, int]

_BANDS = 12  # parts of a line that are judged apart: an edge of the scene is missing where people sit
_STEP = 4.0  # grey levels; codecs leave one or two where there is nothing
_SHARP = 1.5  # a border's step exceeds those 3 and 4 px beside it by this factor
_MOVING = 6.0  # grey levels, deviation over time of what moves
# Measured (docs/decisions/013): borders of split screens are unbroken in 0.97 to 1.00 of their rows, and something
# moves beside 0.03 to 0.40 of them; edges of scenes reach 0.35 in real clips, 0.74 (and no motion) in rendered ones.
# A line unbroken in this share of its rows is even odds: where something moves beside it, and where nothing does.
_UNBROKEN, _STILL = 0.80, 0.95
_SLOPE = 0.03
_FEW_MOVING = 0.02
_WANDER_PX, _DOUBT = 0.6, 0.3
_LEAST = 0.5  # lines below are not looked at
_DEPTH = 4  # cuts within cuts


@dataclass(frozen=True)
class PaneRule:
    """What counts as a border and as a pane.

    Attributes:
        min_confidence: of a line to be a border.
        min_side: of a pane, as a fraction of the picture's width or height; what is narrower between two borders is a
            bar or a graphic beside the panes.
        flat: grey levels; a region whose pixels deviate less from their common mean is a bar.
    """

    min_confidence: float = 0.5
    min_side: float = 0.15
    flat: float = 3.0


@dataclass(frozen=True)
class Pane:
    """``box_px`` x0, y0, x1, y1 half-open; ``confidence`` in [0, 1] that this, and no other division, is right."""

    box_px: Box
    confidence: float


@dataclass(frozen=True, eq=False)
class PictureStats:
    """Pictures (H, W) of one shot over time, in grey levels, float32.

    Attributes:
        step_x: mean absolute difference to the pixel on the left, the greatest of the channels; 0 in column 0.
        step_y: to the pixel above;  mean, change: mean and standard deviation of the green channel over time.
    """

    step_x: Array
    step_y: Array
    mean: Array
    change: Array

    def part(self, box: Box) -> PictureStats:
        """Of the pixels inside x0, y0, x1, y1."""
        x0, y0, x1, y1 = box
        return PictureStats(*(values[y0:y1, x0:x1] for values in vars(self).values()))

    def transposed(self) -> PictureStats:
        """Rows and columns exchanged."""
        return PictureStats(self.step_y.T, self.step_x.T, self.mean.T, self.change.T)


@dataclass(frozen=True)
class _Line:
    """A border at ``at``: pixel ``at - 1`` lies on one side, ``at`` on the other."""

    at: int
    confidence: float


def picture_stats(pictures: Iterable[U8Image]) -> PictureStats:
    """Sums over the pictures (H, W, 3) of one shot; they are looked at one by one.

    Raises:
        ValueError: there are none.
    """
    n, sums = 0, None
    for rgb in pictures:
        if sums is None:
            sums = np.zeros((4, *rgb.shape[:2]), np.float32)
        sums[0, :, 1:] += _difference(rgb[:, 1:], rgb[:, :-1])
        sums[1, 1:] += _difference(rgb[1:], rgb[:-1])
        green = rgb[..., 1].astype(np.float32)
        sums[2] += green
        sums[3] += green * green
        n += 1
    if sums is None:
        raise ValueError("no pictures to look for panes in")
    sums /= n
    return PictureStats(sums[0], sums[1], sums[2], np.sqrt(np.maximum(sums[3] - sums[2] ** 2, 0)))


def _difference(a: U8Image, b: U8Image) -> Array:
    apart = np.maximum(a, b) - np.minimum(a, b)
    # nine times as fast as max(axis=2)
    return np.asarray(np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2]))


def find_panes(stats: PictureStats, rule: PaneRule | None = None) -> list[Pane]:
    """The panes of one shot, top to bottom, then left to right; at least one.

    Bars and graphics around and between them are left out. A picture without borders is one pane of its full size,
    whose confidence is that of there being none.
    """
    rule = rule or PaneRule()
    height, width = stats.mean.shape
    whole = Pane((0, 0, width, height), 1.0)
    return sorted(_divide(stats, whole, rule, _DEPTH), key=lambda p: (p.box_px[1], p.box_px[0]))


def _divide(stats: PictureStats, pane: Pane, rule: PaneRule, depth: int) -> list[Pane]:
    """Cut a region along the direction of its most certain border, then its parts."""
    cuts = [_cut(stats, pane.box_px, rule, across) for across in (True, False)]
    boxes, sure = max(cuts, key=lambda cut: (bool(cut[0]), cut[1]))
    if depth == 0 or not boxes:
        return [replace(pane, confidence=min(pane.confidence, 1 - sure))]
    parts = [Pane(box, min(pane.confidence, sure)) for box in boxes]
    return [p for part in parts for p in _divide(stats, part, rule, depth - 1)]


def _cut(stats: PictureStats, box: Box, rule: PaneRule, across: bool) -> tuple[list[Box], float]:
    """The parts of a region between upright (``across``) or level borders, bars and graphics left out.

    Returns:
        the parts, none if there is no border; the confidence of the least certain border, or of the best line that was
        not taken.
    """
    x0, y0, x1, y1 = box
    part = stats.part(box)
    # Tables, stripes and horizons run across a narrow pane: a level line is held to be of the scene sooner.
    lines = _lines(part, _UNBROKEN) if across else _lines(part.transposed(), _STILL)
    taken = [line for line in lines if line.confidence >= rule.min_confidence]
    if not taken:
        return [], max((line.confidence for line in lines), default=0.0)
    start, stop = (x0, x1) if across else (y0, y1)
    edges = [start, *(start + line.at for line in taken), stop]
    boxes = [(a, y0, b, y1) if across else (x0, a, x1, b) for a, b in pairwise(edges)]
    if not across:
        boxes = _without_banners(stats, boxes, rule)
    least = rule.min_side * stats.mean.shape[1 if across else 0]
    kept = [b for b in boxes if (b[2] - b[0] if across else b[3] - b[1]) >= least and not _is_bar(stats, b, rule)]
    if not kept or kept == [box]:
        return [], 0.0
    return kept, min(line.confidence for line in taken)


def _without_banners(stats: PictureStats, boxes: list[Box], rule: PaneRule) -> list[Box]:
    """Low strips at the top and bottom, unless bars, are graphics laid over the picture, which goes on below them."""
    low = 2 * rule.min_side * stats.mean.shape[0]
    out = list(boxes)
    for end, beside in ((0, 1), (-1, -2)):
        while len(out) > 1 and out[end][3] - out[end][1] < low and not _is_bar(stats, out[end], rule):
            x0, y0, x1, y1 = out[beside]
            out[beside] = (x0, min(out[end][1], y0), x1, max(out[end][3], y1))
            del out[end]
    return out


def _is_bar(stats: PictureStats, box: Box, rule: PaneRule) -> bool:
    part = stats.part(box)
    inner = part.mean[2:-2, 2:-2] if min(part.mean.shape) > 8 else part.mean
    return bool(inner.std() < rule.flat and part.change.mean() < rule.flat)


def _lines(stats: PictureStats, unbroken_moving: float) -> list[_Line]:
    """Upright lines with their confidence, left to right; of lines within 4 px of each other the best.

    Args:
        unbroken_moving: share of unbroken rows at which a line is even odds if something moves beside it.
    """
    unbroken, moving = line_features(stats)
    sharpness = stats.step_x.mean(axis=0)
    out: list[_Line] = []
    for at in np.lexsort((-sharpness, -unbroken)):
        if unbroken[at] < _LEAST:
            break
        if all(abs(int(at) - line.at) > 4 for line in out):
            still = moving[at] < _FEW_MOVING
            needed = _STILL if still else unbroken_moving
            confidence = float(1 / (1 + np.exp((needed - unbroken[at]) / _SLOPE)))
            if still and _wander_px(stats.step_x, int(at)) > _WANDER_PX:
                confidence = min(confidence, _DOUBT)
            out.append(_Line(int(at), confidence))
    return sorted(out, key=lambda line: line.at)


def line_features(stats: PictureStats) -> tuple[Array, Array]:
    """What speaks for a border at each column of a region (H, W).

    Returns:
        unbroken: (W,) share of rows with a sharp step at the column or the next, as the mean over the region's bands
            without the worst sixth of them, which a banner may cover; moving: (W,) share of rows with such a step
            beside which something moves.
    """
    height, width = stats.step_x.shape
    if width < 16 or height < 2 * _BANDS:
        return np.zeros(width), np.zeros(width)
    hit, moving = sharp_steps(stats)
    bands = np.sort([band.mean(axis=0) for band in np.array_split(hit, _BANDS)], axis=0)
    return bands[_BANDS // 6 :].mean(axis=0), moving.mean(axis=0)


def sharp_steps(stats: PictureStats) -> tuple[Array, Array]:
    """Where a pixel or the next differs sharply from its left, and where something moves beside that. (H, W) bool each.

    None within 6 px of the region's own sides.
    """
    step = stats.step_x
    width = step.shape[1]
    padded = np.pad(step, ((0, 0), (4, 4)))
    beside = np.max([padded[:, 4 + k : 4 + k + width] for k in (-4, -3, 3, 4)], axis=0)
    hit = (step > _STEP) & (step > _SHARP * beside)
    hit[:, :6] = hit[:, max(width - 5, 0) :] = False
    hit[:, :-1] |= hit[:, 1:]
    change = np.pad(stats.change, ((0, 0), (5, 5)), mode="edge")
    near = np.max([change[:, 5 + k : 5 + k + width] for k in (-5, -4, -3, 3, 4)], axis=0)
    return hit, hit & (near > _MOVING)


def _wander_px(step: Array, at: int) -> float:
    """How far a line's place differs between bands of rows, px: an edge of the scene leans, or bends with the lens."""
    profiles = np.stack([band[:, at - 3 : at + 5].mean(axis=0) for band in np.array_split(step, _BANDS)])
    above = np.maximum(profiles - np.minimum(profiles[:, :1], profiles[:, -1:]), 0)
    total = above.sum(axis=1)
    place = (above * np.arange(8)).sum(axis=1)[total > _STEP] / total[total > _STEP]
    return float(np.ptp(np.percentile(place, (10, 90)))) if len(place) else np.inf
