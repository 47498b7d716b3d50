"""Boxes through time: detections of one shot joined into tracks, gaps bridged, flicker dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dialogbuild.faces.detect import Boxes


@dataclass
class Track:
    """One face within one shot: what was detected, tick by tick."""

    ticks: list[int] = field(default_factory=list)
    boxes: list[npt.NDArray[np.float32]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def predict(self, tick: int) -> npt.NDArray[np.float32]:
        """Where the box should be at ``tick``: constant velocity over the last two sightings, damped. (4,) px."""
        last = self.boxes[-1]
        if len(self.ticks) < 2:
            return last
        velocity = (last - self.boxes[-2]) / (self.ticks[-1] - self.ticks[-2])
        ahead = min(tick - self.ticks[-1], 5)  # a head does not keep its speed for longer than 0.2 s
        return (last + 0.5 * ahead * velocity).astype(np.float32)


def match_cost(predicted: Boxes, seen: Boxes) -> npt.NDArray[np.float64]:
    """Distance between boxes in units of their size. (N, 4), (M, 4) px -> (N, M); 0 = the same box.

    Centre distance over mean side plus the log ratio of the sides: unlike overlap it still tells near from far
    when a small face has moved by more than its width between two detections.
    """
    centres = [(x[:, :2] + x[:, 2:]) / 2 for x in (predicted, seen)]
    sides = [np.sqrt(np.maximum((x[:, 2:] - x[:, :2]).prod(-1), 1e-6)) for x in (predicted, seen)]
    gap = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    mean = (sides[0][:, None] + sides[1][None]) / 2
    return np.asarray(gap / mean + np.abs(np.log(sides[0][:, None] / sides[1][None])), np.float64)


def link(
    detections: Sequence[tuple[int, Boxes, npt.NDArray[np.float32]]], max_gap: int, max_cost: float = 0.8
) -> list[Track]:
    """Join the detections of one shot, each step by the cheapest one-to-one matching (Hungarian method).

    Args:
        detections: (tick, boxes (N, 4) px, scores (N,)) in tick order.
        max_gap: ticks that a face may go undetected and still be the same track.
        max_cost: ``match_cost`` above which two boxes are never the same face.

    Returns:
        Tracks in order of their first tick, then from left to right.
    """
    alive: list[Track] = []
    finished: list[Track] = []
    for tick, boxes, scores in detections:
        finished += [t for t in alive if tick - t.ticks[-1] > max_gap]
        alive = [t for t in alive if tick - t.ticks[-1] <= max_gap]
        taken: set[int] = set()
        if alive and len(boxes):
            cost = match_cost(np.stack([t.predict(tick) for t in alive]), boxes)
            for i, j in zip(*linear_sum_assignment(np.minimum(cost, 10 * max_cost)), strict=True):
                if cost[i, j] <= max_cost:
                    _extend(alive[i], tick, boxes[j], float(scores[j]))
                    taken.add(int(j))
        for j in range(len(boxes)):
            if j not in taken:
                alive.append(Track())
                _extend(alive[-1], tick, boxes[j], float(scores[j]))
    return sorted(finished + alive, key=lambda t: (t.ticks[0], float(t.boxes[0][0])))


def _extend(track: Track, tick: int, box: npt.NDArray[np.float32], score: float) -> None:
    track.ticks.append(tick)
    track.boxes.append(box)
    track.scores.append(score)


def fill(track: Track, start: int, stop: int) -> tuple[npt.NDArray[np.int32], Boxes, npt.NDArray[np.float32]]:
    """Every tick from ``start`` to ``stop``: boxes interpolated linearly between sightings, held at the ends.

    Returns:
        ticks (T,) int32, boxes (T, 4) px, scores (T,).
    """
    ticks = np.arange(start, stop, dtype=np.int32)
    boxes = np.stack([np.interp(ticks, track.ticks, column) for column in np.array(track.boxes).T], axis=1)
    scores = np.interp(ticks, track.ticks, track.scores)
    return ticks, boxes.astype(np.float32), scores.astype(np.float32)
