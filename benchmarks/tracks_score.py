"""How well tracks agree with the truth of a crowd scene: MOT figures, merges, and the links to the dialogue's people.

Which faces count: at least 30 % visible, turned by at most 75 degrees, 40 px high and more. Every other face that is
shown (smaller, covered, in profile, at the edge) is an ignore region as in MOT16 (Milan et al., arXiv:1603.00831): a
hypothesis there is neither a hit nor a false positive. Per tick all truth is matched with all hypotheses one to one at
IoU >= 0.3 (the detector's box runs from the brows to the chin, the truth is tight around 468 landmarks; IoU 0.83 in
the middle); hypotheses matched with an ignored face, and unmatched ones whose centre lies in one, are left out. What
remains goes to motmetrics. Boxes are clipped to the picture. Tracks never cross cuts: a truth identity is a person in
a shot. A photograph of a face is a face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from dialogbuild.faces.detect import iou
from dialogbuild.synth.crowd import ABSENT
from dialogbuild.synth.crowd_film import CrowdTruth
from dialogbuild.tables import Columns

MIN_VISIBLE, MAX_YAW_RAD, MIN_FACE_PX, MIN_IOU = 0.3, float(np.radians(75.0)), 40.0, 0.3
MERGED_TICKS = 5
_NEVER = 1e3
_PAIR = (0, 1)

Cover = dict[int, dict[int, int]]  # track -> person -> ticks on that person's face


@dataclass(frozen=True, eq=False)
class Tick:
    """One tick after ignore regions: truth rows and tracks that count, and 1 - IoU of every pair (NaN: too far)."""

    truth_rows: list[int]
    tracks: list[int]
    distance: npt.NDArray[np.float64]


def counts(truth: CrowdTruth) -> npt.NDArray[np.bool_]:
    """(P, N) where a face has to be found."""
    facing = np.abs(truth.yaw_rad) <= MAX_YAW_RAD
    return (truth.shown != ABSENT) & (truth.visible >= MIN_VISIBLE) & facing & (truth.face_px >= MIN_FACE_PX)


def in_tick(truth: CrowdTruth, must: npt.NDArray[np.bool_], tick: int, ids: Any, boxes: Any) -> Tick:
    """Match one tick's hypotheses, ids (M,) and boxes (M, 4) px, and drop those in ignore regions."""
    area = np.prod(truth.box_px[:, tick, 2:] - truth.box_px[:, tick, :2], axis=1)
    rows = np.flatnonzero((truth.shown[:, tick] != ABSENT) & (area > 0))
    here = must[rows, tick]
    keep = np.ones(len(ids), bool)
    if len(rows) and len(ids):
        overlap = iou(truth.box_px[rows, tick], boxes)
        matched = linear_sum_assignment(np.where(overlap >= MIN_IOU, 1 - overlap, _NEVER))
        pairs = [(i, j) for i, j in zip(*matched, strict=True) if overlap[i, j] >= MIN_IOU]
        free = set(range(len(ids))) - {j for i, j in pairs if here[i]}
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        for i in np.flatnonzero(~here):
            x0, y0, x1, y1 = truth.box_px[rows[i], tick]
            inside = (middle[:, 0] >= x0) & (middle[:, 0] <= x1) & (middle[:, 1] >= y0) & (middle[:, 1] <= y1)
            keep[[j for j in free if inside[j] or (i, j) in pairs]] = False
    rows, ids, boxes = rows[here], ids[keep], boxes[keep]
    overlap = iou(truth.box_px[rows, tick], boxes).astype(float)
    return Tick(rows.tolist(), ids.tolist(), np.where(overlap >= MIN_IOU, 1 - overlap, np.nan))


def mot_figures(truth: CrowdTruth, rows: Columns, size_px: tuple[int, int]) -> tuple[dict[str, float], Cover]:
    """MOT figures of tracks (columns track, tick, box_px) against a scene, and who is under each track.

    Returns:
        motmetrics' figures (counts and ratios), ``merges`` (tracks over both people of the dialogue, 5 ticks each) and
        ``merges_any`` (over any two people); and ticks per track and person.
    """
    import motmetrics as mm

    must = counts(truth)
    clipped = np.clip(rows["box_px"], 0, [*size_px, *size_px]).astype(np.float32)
    accumulator = mm.MOTAccumulator(auto_id=True)
    cover: Cover = {}
    for tick in range(truth.shown.shape[1]):
        at = rows["tick"] == tick
        found = in_tick(truth, must, tick, rows["track"][at], clipped[at])
        identities = [int(truth.persons[row]) * 1000 + int(truth.shot[tick]) for row in found.truth_rows]
        accumulator.update(identities, found.tracks, found.distance)
        if found.truth_rows and found.tracks:
            cost = np.nan_to_num(found.distance, nan=_NEVER)
            for i, j in zip(*linear_sum_assignment(cost), strict=True):
                if cost[i, j] < _NEVER:
                    people = cover.setdefault(found.tracks[j], {})
                    person = int(truth.persons[found.truth_rows[i]])
                    people[person] = people.get(person, 0) + 1
    return {**summary([accumulator])[0], **merges(cover)}, cover


FIGURES = {
    "idf1": "idf1", "mota": "mota", "switches": "num_switches", "fragments": "num_fragmentations",
    "false_positives": "num_false_positives", "misses": "num_misses", "faces": "num_objects",
    "idtp": "idtp", "idfp": "idfp", "idfn": "idfn",
}  # fmt: skip


def summary(accumulators: list[Any]) -> list[dict[str, float]]:
    """Our names for motmetrics' figures, one dict per scene."""
    import motmetrics as mm

    names = [str(i) for i in range(len(accumulators))]
    table = mm.metrics.create().compute_many(accumulators, metrics=list(FIGURES.values()), names=names)
    return [{ours: float(table.loc[name, theirs]) for ours, theirs in FIGURES.items()} for name in names]


def together(figures: list[dict[str, float]]) -> dict[str, float]:
    """Figures of several scenes as one: sums, and the ratios of the sums."""
    out = {name: sum(f[name] for f in figures) for name in figures[0]}
    out["idf1"] = 2 * out["idtp"] / max(2 * out["idtp"] + out["idfp"] + out["idfn"], 1)
    out["mota"] = 1 - (out["misses"] + out["false_positives"] + out["switches"]) / max(out["faces"], 1)
    return out


def merges(cover: Cover) -> dict[str, float]:
    """Tracks over two people for at least 5 ticks each."""
    under = [{p for p, ticks in people.items() if ticks >= MERGED_TICKS} for people in cover.values()]
    return {"merges": sum(set(_PAIR) <= u for u in under), "merges_any": sum(len(u) > 1 for u in under)}


def link_figures(cover: Cover, person_of: Mapping[int, int]) -> dict[str, float]:
    """How tracks were given to the dialogue's two people. The pipeline's numbers may be swapped against the truth's.

    Args:
        person_of: track -> 0, 1, or -1 for neither.

    Returns:
        wrong (tracks of one given to the other), ghosts (tracks of anybody else given to one of the two: bystanders,
        photographs, insets, cutaways), unlinked (tracks of the two that nobody got), right, and linked_merges (tracks
        that were given to somebody and cover both).
    """
    main = {track: max(people, key=lambda p: people[p]) for track, people in cover.items()}
    ticks = {track: people[main[track]] for track, people in cover.items()}
    given = {track: person_of.get(track, -1) for track in cover}
    agree = [
        sum(ticks[t] for t in cover if main[t] in _PAIR and given[t] >= 0 and given[t] == main[t] ^ swap)
        for swap in (0, 1)
    ]
    swap = int(agree[1] > agree[0])
    pair = [t for t in cover if main[t] in _PAIR]
    merged = {t: people for t, people in cover.items() if given[t] >= 0}
    return {
        "right": sum(given[t] == main[t] ^ swap for t in pair),
        "wrong": sum(given[t] >= 0 and given[t] != main[t] ^ swap for t in pair),
        "unlinked": sum(given[t] < 0 for t in pair),
        "ghosts": sum(given[t] >= 0 for t in cover if main[t] not in _PAIR),
        "others": sum(main[t] not in _PAIR for t in cover),
        "linked_merges": merges(merged)["merges"],
    }
