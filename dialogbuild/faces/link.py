"""Faces through one shot: sightings into sure tracklets, tracklets into tracks by one global assignment.

Zhang, Li, Nevatia, "Global data association for multi-object tracking using network flows", CVPR 2008: with costs on
links alone the best set of tracks is an assignment of tracklets' ends to tracklets' starts. A link's worth is its log
likelihood ratio, the same face against a new one, from motion, size and look. A link that another assignment could
replace at nearly the same worth is not made: two tracks of one person do less harm than one track of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dialogbuild.faces.appearance import mean_look, zone_distance
from dialogbuild.faces.detect import Boxes, covered

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


@dataclass(frozen=True, eq=False)
class Track:
    """One face within one shot.

    Attributes:
        rows: (n,) its sightings, in tick order.
        sure: (n,) probability that a sighting is of the same face as the one before; 1 at the first.
    """

    rows: Rows
    sure: Floats


def link(seen: Sighted, rule: LinkRule) -> list[Track]:
    """Join the sightings of one shot.

    Returns:
        Tracks in order of their first tick, then from left to right; together they hold every sighting once.
    """
    pieces = tracklets(seen, rule)
    worth = link_worth(seen, pieces, rule)
    strong = np.flatnonzero([len(piece) >= rule.strong for piece in pieces])
    successor, sure = assign(worth[np.ix_(strong, strong)], rule.min_nats)
    chains = _chains([int(k) for k in strong], [-1 if s < 0 else int(strong[s]) for s in successor], sure)
    weak = [k for k in range(len(pieces)) if len(pieces[k]) < rule.strong]
    for piece in sorted(weak, key=lambda k: -len(pieces[k])):
        _attach(piece, chains, pieces, worth, seen.tick, rule.min_nats)
    tracks = [_track(chain, pieces) for chain in chains]
    return sorted(tracks, key=lambda t: (int(seen.tick[t.rows[0]]), float(seen.box_px[t.rows[0], 0])))


Chain = list[tuple[int, float]]
"""Tracklets in order, each with how sure it is that it continues the one before."""


def _chains(strong: list[int], successor: list[int], sure: Floats) -> list[Chain]:
    following = dict(zip(strong, zip(successor, sure.tolist(), strict=True), strict=True))
    chains = []
    for first in set(strong) - set(successor):
        chain, piece = [(first, 1.0)], first
        while following[piece][0] >= 0:
            chain.append(following[piece])
            piece = chain[-1][0]
        chains.append(chain)
    return chains


def _attach(
    piece: int, chains: list[Chain], pieces: Sequence[Rows], worth: Floats, tick: npt.NDArray[np.int32], min_nats: float
) -> None:
    """Put a weak tracklet into the chain that it surely belongs to, in place; else it is a chain of its own."""
    first, last = int(tick[pieces[piece][0]]), int(tick[pieces[piece][-1]])
    gains: list[tuple[float, int, int]] = []
    for number, chain in enumerate(chains):
        at = sum(int(tick[pieces[k][-1]]) < first for k, _ in chain)
        before, after = chain[at - 1][0] if at else None, chain[at][0] if at < len(chain) else None
        if after is not None and int(tick[pieces[after][0]]) <= last:
            continue
        gain = (worth[before, piece] if before is not None else 0.0) + (
            worth[piece, after] if after is not None else 0.0
        )
        if before is not None and after is not None:
            gain -= worth[before, after]
        gains.append((float(gain), number, at))
    gains.sort(reverse=True)
    lead = gains[0][0] - max([0.0, *(gain for gain, _, _ in gains[1:2])]) if gains else -np.inf
    if lead < min_nats:
        chains.append([(piece, 1.0)])
        return
    _, number, at = gains[0]
    chain, certain = chains[number], float(1.0 / (1.0 + np.exp(-lead)))
    if at < len(chain):
        chain[at] = (chain[at][0], min(chain[at][1], certain) if at else certain)
    chain.insert(at, (piece, certain if at else 1.0))


def _track(chain: Chain, pieces: Sequence[Rows]) -> Track:
    sure = np.concatenate([np.r_[certain, np.ones(len(pieces[piece]) - 1)] for piece, certain in chain])
    return Track(np.concatenate([pieces[piece] for piece, _ in chain]), sure)


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


def fill(
    seen: Sighted, track: Track, start: int, stop: int, max_gap: int
) -> tuple[npt.NDArray[np.int32], Boxes, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The ticks of a track from ``start`` to ``stop``: boxes on the line between sightings, held at the ends.

    Gaps of more than ``max_gap`` ticks stay holes: nobody looks for a face where none was seen for long.

    Returns:
        ticks (T,) int32, boxes (T, 4) px, scores (T,), and confidence (T,): the score, times how sure the links before
        and after are where the tick lies in a gap, halved every 0.2 s away from the nearest sighting.
    """
    at = seen.tick[track.rows]
    ticks = np.arange(start, stop, dtype=np.int32)
    following = np.searchsorted(at, ticks).clip(0, len(at) - 1)
    before = np.maximum(following - 1, 0)
    inside = (ticks > at[before]) & (ticks < at[following])
    ticks_keep = ~(inside & (at[following] - at[before] > max_gap))
    ticks, following, before = ticks[ticks_keep], following[ticks_keep], before[ticks_keep]
    boxes = np.stack([np.interp(ticks, at, column) for column in seen.box_px[track.rows].T], axis=1)
    scores = np.interp(ticks, at, seen.score[track.rows])
    away = np.minimum(np.abs(ticks - at[before]), np.abs(at[following] - ticks))
    between = (ticks > at[before]) & (ticks < at[following])
    sure = np.where(between, track.sure[following], 1.0)
    confidence = scores * sure * 0.5 ** (np.maximum(away - 1, 0) / 5.0)
    return ticks, boxes.astype(np.float32), scores.astype(np.float32), confidence.astype(np.float32)


def occluded(
    ticks: npt.NDArray[np.int32], boxes: Boxes, detected: npt.NDArray[np.bool_], min_share: float
) -> npt.NDArray[np.bool_]:
    """Rows whose face lies behind another: a nearer (larger) box covers it, or any box covers it while it is unseen.

    Args:
        ticks: (N,) of all tracks of a shot.
        boxes: (N, 4) px.
        detected: (N,) whether the face itself was seen.
        min_share: of the box that must be covered.

    Returns:
        (N,) bool.
    """
    hidden = np.zeros(len(ticks), bool)
    order = np.argsort(ticks, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(ticks[order])) + 1):
        if len(rows) < 2:
            continue
        share = covered(boxes[rows], boxes[rows])
        area = (boxes[rows, 2:] - boxes[rows, :2]).prod(-1)
        front = (area[None] > area[:, None]) | (~detected[rows][:, None] & detected[rows][None])
        np.fill_diagonal(share, 0)
        hidden[rows] = ((share >= min_share) & front).any(axis=1)
    return hidden
