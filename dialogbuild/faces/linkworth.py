"""What a link of two tracklets is worth, and the best set of links with how sure each is.

Worth: log likelihood ratio of the same face against a new one, from motion, size and look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dialogbuild.faces.appearance import mean_look, zone_distance
from dialogbuild.faces.tracklets import Floats, LinkRule, Rows, Sighted


def link_worth(seen: Sighted, pieces: Sequence[Rows], rule: LinkRule) -> Floats:
    """Nats for one tracklet to be continued by another against the second being a new face. (K, K), -inf impossible."""
    first, last = (np.array([piece[end] for piece in pieces], np.intp) for end in (0, -1))
    gap = (seen.tick[first][None, :] - seen.tick[last][:, None]).astype(np.float64)
    possible = (gap > 0) & (gap <= rule.reach_ticks)
    looks = np.stack([mean_look(seen.look[piece]) for piece in pieces]) if pieces else np.zeros((0, 72), np.float32)
    worth = np.full(gap.shape, -np.inf)
    for i in range(len(pieces)):
        js = np.flatnonzero(possible[i])
        if len(js):
            ends = _Motion.of(seen, pieces[i], forward=True)
            begins = [_Motion.of(seen, pieces[j], forward=False) for j in js]
            moved = [_motion_nats(ends, start, gap[i, j], rule) for start, j in zip(begins, js, strict=True)]
            worth[i, js] = np.array(moved) + look_nats(looks[i], looks[js])
    return worth


@dataclass(frozen=True, eq=False)
class _Motion:
    """How a tracklet ends or starts: middle (2,) px, velocity (2,) px per tick, side px."""

    middle: Floats
    velocity: Floats
    side: float

    @staticmethod
    def of(seen: Sighted, piece: Rows, forward: bool, reach_ticks: int = 12) -> _Motion:
        edge = piece[-1] if forward else piece[0]
        near = piece[np.abs(seen.tick[piece] - seen.tick[edge]) <= reach_ticks]
        box = seen.box_px[near].astype(np.float64)
        middles, at = (box[:, :2] + box[:, 2:]) / 2, seen.tick[near].astype(np.float64)
        side = float(np.median(np.sqrt(np.maximum((box[:, 2:] - box[:, :2]).prod(-1), 1.0))))
        edge_box = seen.box_px[edge].astype(np.float64)
        spread = np.square(at - at.mean()).sum()
        slope = ((at - at.mean())[:, None] * middles).sum(0) / (spread + 8.0)  # a few sightings say little of speed
        return _Motion((edge_box[:2] + edge_box[2:]) / 2, slope, side)


def _motion_nats(end: _Motion, start: _Motion, gap: float, rule: LinkRule) -> float:
    """Place and size where the face should be, against anywhere in the picture and any size from 20 to 400 px."""
    coast = 12.0 * (1.0 - np.exp(-gap / 12.0))  # ticks; heads do not keep their speed for more than half a second
    ahead = end.middle + 0.5 * coast * (end.velocity + start.velocity)
    # In the end a face is "somewhere in the picture, of some size": being near then counts for nothing.
    sigma = min(0.5 * (end.side + start.side) * (0.1 + rule.speed * gap), np.sqrt(rule.area_px / (2 * np.pi)))
    sigma_size = min(0.1 + 0.004 * gap, 0.5)
    away = float(np.square(start.middle - ahead).sum())
    # Student's t with 3 degrees of freedom: somebody who walks on unseen is far from where heads usually stay.
    place = -2.5 * np.log1p(away / (3.0 * sigma**2)) - np.log(2 * np.pi * sigma**2 / rule.area_px)
    size = -0.5 * (np.log(start.side / end.side) / sigma_size) ** 2 - np.log(sigma_size * np.sqrt(2 * np.pi) / 3.0)
    return float(place + size)


def look_nats(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Floats:
    """Nats for two looks of one shot being one face's. (72,), (M, 72) -> (M,).

    Zones of one face in plain view lie 0.02 to 0.1 apart on renders and in an interview (0.08 to 0.19 when it turns by
    up to 90 degrees), those of two people 0.1 to 0.65.
    """
    nats = np.clip(12.0 * (0.18 - zone_distance(a[None], b)), -3.0, 1.2)
    return np.asarray(np.where(np.isfinite(nats), nats, 0.0).sum(axis=1), np.float64)


def assign(worth: Floats, min_nats: float) -> tuple[list[int], Floats]:
    """The links whose sum of worth is the largest, less those that are not sure.

    Args:
        worth: (K, K) nats of "row is continued by column"; no link is worth 0.
        min_nats: by which the whole must lose when a link is exchanged or left out.

    Returns:
        successor of each tracklet, -1 none; and how sure each is, (K,), odds of the best against the next best
        assignment as a probability.
    """
    count = len(worth)
    successor, sure = [-1] * count, np.ones(count)
    if not count:
        return successor, sure
    gain = np.maximum(np.where(np.isfinite(worth), worth, 0.0), 0.0)
    ends, starts = linear_sum_assignment(-gain)
    made = gain[ends, starts] > 0
    ends, starts = ends[made], starts[made]
    made_gain = gain[ends, starts]
    free_ends, free_starts = np.ones(count, bool), np.ones(count, bool)
    free_ends[ends], free_starts[starts] = False, False
    for i, j in zip(ends.tolist(), starts.tolist(), strict=True):
        exchanged = np.where(ends == i, 0.0, gain[i, starts] + gain[ends, j] - made_gain)
        others = (exchanged, gain[i, free_starts], gain[free_ends, j], np.zeros(1))
        lost = gain[i, j] - max(float(other.max(initial=0.0)) for other in others)
        if lost >= min_nats:
            successor[i], sure[i] = j, 1.0 / (1.0 + np.exp(-lost))
    return successor, sure
