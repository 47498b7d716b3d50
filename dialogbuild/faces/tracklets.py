"""Sightings of one shot joined to tracklets: from look to look, as long as there is no doubt whose face it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dialogbuild.faces.appearance import mean_look, zone_distance
from dialogbuild.faces.detect import Boxes

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Sighted:
    """All sightings of one shot, N of them, in tick order.

    Attributes:
        tick: (N,) int.
        box_px: (N, 4);  score: (N,);  look: (N, 72), ``appearance.describe``.
    """

    tick: npt.NDArray[np.int32]
    box_px: Boxes
    score: npt.NDArray[np.float32]
    look: npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinkRule:
    """When two sightings are of one face.

    Attributes:
        step_ticks: ticks between looks; one may fail within a tracklet.
        max_cost: ``match_cost`` of neighbouring looks above which they are not the same face.
        strong: sightings of a tracklet that is surely a face; shorter ones are linked after these.
        margin: by which the next best partner must cost more.
        reach_ticks: after this long out of sight a face is a new one.
        min_nats: by which the best assignment must beat the best without a link; 3 is odds of 20 to 1.
        area_px: of the picture, where new faces may appear.
        speed: faces' own widths per tick (sigma) by which a head that is not seen strays from its course.
    """

    step_ticks: int
    max_cost: float = 0.8
    margin: float = 0.4
    strong: int = 5
    reach_ticks: int = 750
    min_nats: float = 3.0
    area_px: float = 1280.0 * 720.0
    speed: float = 0.03


def match_cost(predicted: Boxes, seen: Boxes) -> Floats:
    """Distance between boxes in units of their size. (N, 4), (M, 4) px -> (N, M); 0 = the same box.

    Centre distance over mean side plus the log ratio of the sides: unlike overlap it still tells near from far
    when a small face has moved by more than its width between two detections.
    """
    centres = [(x[:, :2] + x[:, 2:]) / 2 for x in (predicted, seen)]
    sides = [np.sqrt(np.maximum((x[:, 2:] - x[:, :2]).prod(-1), 1e-6)) for x in (predicted, seen)]
    gap = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    mean = (sides[0][:, None] + sides[1][None]) / 2
    return np.asarray(gap / mean + np.abs(np.log(sides[0][:, None] / sides[1][None])), np.float64)


def tracklets(seen: Sighted, rule: LinkRule) -> list[Rows]:
    """Runs of neighbouring looks in which each sighting has one clear successor.

    Where two faces come so near that either could be either, both runs end: what happened there is decided later,
    with both sides in view.
    """
    open_: list[list[int]] = []
    done: list[list[int]] = []
    for tick in np.unique(seen.tick):
        here = np.flatnonzero(seen.tick == tick)
        reach = 2 * rule.step_ticks
        done += [run for run in open_ if tick - seen.tick[run[-1]] > reach]
        runs = [run for run in open_ if tick - seen.tick[run[-1]] <= reach]
        pairs, doubtful = _clear_pairs(seen, runs, here, int(tick), rule)
        for k, j in pairs.items():
            runs[k].append(int(here[j]))
        done += [run for k, run in enumerate(runs) if k in doubtful]
        open_ = [run for k, run in enumerate(runs) if k not in doubtful]
        open_ += [[int(row)] for j, row in enumerate(here) if j not in pairs.values()]
    return [np.array(run, np.intp) for run in sorted(done + open_, key=lambda run: run[0])]


def _clear_pairs(
    seen: Sighted, runs: list[list[int]], here: Rows, tick: int, rule: LinkRule
) -> tuple[dict[int, int], set[int]]:
    """Run -> sighting where there is no doubt; and the runs that end because there is."""
    if not runs or not len(here):
        return {}, set()
    predicted = np.stack([_ahead(seen, run, tick) for run in runs])
    changed = np.stack([_look_change(seen, run, here) for run in runs])
    cost = match_cost(predicted, seen.box_px[here]) + changed
    pairs, doubtful = {}, set()
    for k, j in zip(*linear_sum_assignment(np.minimum(cost, 10 * rule.max_cost)), strict=True):
        if cost[k, j] > rule.max_cost:
            doubtful |= {int(k)} if cost[k, j] - changed[k, j] <= rule.max_cost else set()
            continue
        others = np.concatenate([np.delete(cost[k], j), np.delete(cost[:, j], k), [np.inf]])
        if others.min() - cost[k, j] >= rule.margin:
            pairs[int(k)] = int(j)
        else:
            doubtful.add(int(k))
    return pairs, doubtful


def _look_change(seen: Sighted, run: list[int], here: Rows) -> Floats:
    """What a sudden change of colours adds to the cost: another face has come before this one. (len(here),)."""
    zones = zone_distance(mean_look(seen.look[run[-5:]])[None], seen.look[here])
    known = np.isfinite(zones)
    mean = np.where(known, zones, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    return np.asarray(np.clip(6.0 * (mean - 0.2), 0.0, 1.5), np.float64)


def _ahead(seen: Sighted, run: list[int], tick: int) -> npt.NDArray[np.float32]:
    """Where a run's box should be: constant velocity over its last sightings, damped. (4,) px."""
    last = seen.box_px[run[-1]]
    if len(run) < 2:
        return np.asarray(last)
    tail = run[-3:]
    velocity = (last - seen.box_px[tail[0]]) / float(seen.tick[tail[-1]] - seen.tick[tail[0]])
    return np.asarray(last + 0.7 * float(tick - seen.tick[run[-1]]) * velocity, np.float32)
