"""Where to cut a conversation into clips: in pauses and between turns, inside the spans that show both people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dialogbuild.dialogue.pcm import Array
from dialogbuild.dialogue.turns import Interval, drop_short, intervals, to_mask


@dataclass(frozen=True)
class ClipRule:
    """Lengths in ticks; costs in ticks of clip that one would give up instead."""

    min_ticks: int
    max_ticks: int
    cut_cost: float  # of every clip: long clips before many
    hard_cost: float  # of a cut into sure speech; a clip bears half of each of its ends


def usable_spans(seen: Array, third: Array, max_absent: float, max_empty: float, max_third: float) -> list[Interval]:
    """Spans in which neither person stays away, the screen is not left empty and no third face stays.

    Args:
        seen: (T, 2) bool. third: (T,) bool. Limits in ticks: a run that is longer is no part of any span.
    """
    bad = np.zeros(len(third), dtype=bool)
    runs = ((~seen[:, 0], max_absent), (~seen[:, 1], max_absent), (~seen.any(axis=1), max_empty), (third, max_third))
    for mask, limit in runs:
        bad |= to_mask([(a, b) for a, b in intervals(mask) if b - a > limit], len(bad))
    return intervals(~bad)


def soft_cuts(states: Array, min_pause: float) -> list[int]:
    """Ticks where a cut hurts nobody: the middle of pauses, and where one person stops as the other starts.

    Args:
        states: (T,) 0 silence, 1, 2, 3 both.
    """
    middles = [(a + b) // 2 for a, b in drop_short(intervals(states == 0), min_pause)]
    change = np.flatnonzero((states[1:] != states[:-1]) & (states[1:] > 0) & (states[:-1] > 0)) + 1
    handover = [int(t) for t in change if {int(states[t - 1]), int(states[t])} == {1, 2}]
    return sorted({*middles, *handover})


def cut_span(span: Interval, cuts: list[int], p_speech: Array, rule: ClipRule) -> list[Interval]:
    """Clips within one span, chosen by dynamic programming to keep as much as possible at the least cost.

    Args:
        cuts: soft cuts of the recording. A span's own ends are edges that cost nothing. Where no soft cut lies within
            ``max_ticks``, the span may also be cut hard, at the quietest ticks of a regular grid.
        p_speech: (T,) probability of speech.

    Returns:
        Ascending intervals of ``min_ticks..max_ticks``; empty when the span is too short.
    """
    start, end = span
    if end - start < rule.min_ticks:
        return []
    cost = dict.fromkeys((start, *(c for c in cuts if start < c < end), end), 0.0)
    for t in _hard_cuts(span, p_speech, rule.max_ticks):
        cost.setdefault(t, rule.hard_cost * float(p_speech[t]))
    points = sorted(cost)
    best, step = [0.0] * len(points), [-1] * len(points)  # step: where the clip that ends here began, -1 = none
    first = 0
    for j in range(1, len(points)):
        best[j] = best[j - 1]
        while points[j] - points[first] > rule.max_ticks:
            first += 1
        for i in range(first, j):
            length = points[j] - points[i]
            if length < rule.min_ticks:
                break
            value = best[i] + length - rule.cut_cost - 0.5 * (cost[points[i]] + cost[points[j]])
            if value > best[j] + 1e-9:
                best[j], step[j] = value, i
    return _backtrack(points, step)


def _hard_cuts(span: Interval, p_speech: Array, max_ticks: int) -> list[int]:
    start, end = span
    stride = max(max_ticks // 8, 1)
    if end - start <= max_ticks:
        return []
    return [a + int(np.argmin(p_speech[a : min(a + stride, end)])) for a in range(start + stride, end, stride)]


def _backtrack(points: list[int], step: list[int]) -> list[Interval]:
    clips, j = [], len(points) - 1
    while j > 0:
        if step[j] < 0:
            j -= 1
            continue
        clips.append((points[step[j]], points[j]))
        j = step[j]
    return clips[::-1]
