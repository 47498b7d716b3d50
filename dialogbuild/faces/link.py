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

from dialogbuild.faces.detect import Boxes, covered
from dialogbuild.faces.linkworth import assign, link_worth
from dialogbuild.faces.tracklets import Floats, LinkRule, Rows, Sighted, tracklets


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
