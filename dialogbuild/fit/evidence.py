"""From the per-video tables to one person's measurements on a clip's ticks."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from dialogbuild.fit.cover import NOTHING, Cover, read_cover
from dialogbuild.tables import Columns

Array = np.ndarray[Any, np.dtype[Any]]
LANDMARK_COLUMNS = ("track", "tick", "lmk_px", "lmk_z_px", "presence", "ok", "crop_px", "mask_parts")  # for ``gather``


@dataclass(frozen=True, eq=False)
class Evidence:
    """One person over T ticks. Where ``row`` is -1 the person has no track and all else is zero.

    Attributes:
        row: (T,) row of the landmarks table, -1 for none.
        landmarks_px: (T, 478, 2);  z_px: (T, 478) relative depths, smaller = nearer.
        usable: (T,) bool, landmarks were found;  box_detected: (T,) bool.
        linked: (T - 1,) bool, tick t and t + 1 lie in one shot.
        cover: what is in front of the face.
    """

    row: Array
    landmarks_px: Array
    z_px: Array
    usable: Array
    box_detected: Array
    linked: Array
    cover: Cover = field(default_factory=lambda: NOTHING)


def gather(
    tracks: Columns, landmarks: Columns, track_person: Columns, person: int, start_tick: int, end_tick: int
) -> Evidence:
    """The rows of a person's tracks for ticks [start_tick, end_tick). Of two tracks at one tick the better is taken.

    Args:
        tracks: columns track, tick, shot, detected, row for row as ``landmarks``.
        landmarks: columns track, tick, lmk_px, lmk_z_px, presence, ok; crop_px and mask_parts, without which nothing is
            known to be in front of a face.
        track_person: columns track, person.

    Raises:
        ValueError: the tables of tracks and landmarks do not have the same rows.
    """
    if not (np.array_equal(tracks["track"], landmarks["track"]) and np.array_equal(tracks["tick"], landmarks["tick"])):
        raise ValueError("tracks and landmarks differ in their rows")
    n = end_tick - start_tick
    inside = (tracks["tick"] >= start_tick) & (tracks["tick"] < end_tick)
    own = track_person["track"][track_person["person"] == person]
    rows = np.flatnonzero(inside & np.isin(tracks["track"], own))
    best = rows[np.lexsort((landmarks["presence"][rows], landmarks["ok"][rows]))]  # the last write wins
    row = np.full(n, -1, np.int64)
    row[tracks["tick"][best] - start_tick] = best
    seen = row >= 0
    points = np.zeros((n, landmarks["lmk_px"].shape[1] // 2, 2), np.float32)
    points[seen] = landmarks["lmk_px"][row[seen]].reshape(-1, points.shape[1], 2)
    z_px = np.zeros(points.shape[:2], np.float32)
    z_px[seen] = landmarks["lmk_z_px"][row[seen]]
    usable, detected = np.zeros(n, bool), np.zeros(n, bool)
    usable[seen], detected[seen] = landmarks["ok"][row[seen]], tracks["detected"][row[seen]]
    linked = _linked(tracks, np.flatnonzero(inside), start_tick, n)
    return Evidence(row, points, z_px, usable, detected, linked, _cover(landmarks, row, points, usable))


def _cover(landmarks: Columns, row: Array, points_px: Array, usable: Array) -> Cover:
    if "mask_parts" not in landmarks:
        return NOTHING
    at = np.maximum(row, 0)
    return read_cover(landmarks["mask_parts"][at], landmarks["crop_px"][at], points_px, usable)


def _linked(tracks: Columns, rows: Array, start_tick: int, n: int) -> Array:
    """(n - 1,) bool. A tick without any face belongs to the shot before it."""
    shot = np.full(n, -1, np.int64)
    shot[tracks["tick"][rows] - start_tick] = tracks["shot"][rows]
    known = np.flatnonzero(shot >= 0)
    if not len(known):
        return np.ones(max(n - 1, 0), bool)
    last = known[np.maximum(np.searchsorted(known, np.arange(n), side="right") - 1, 0)]
    return np.asarray(np.diff(shot[last]) == 0)


def short_gaps(good: Array, linked: Array, max_gap: int) -> Array:
    """Ticks without a good value, (T,) bool, inside a gap of at most ``max_gap`` ticks within one shot.

    A gap at the start or end of a shot has one side only and is not short, whatever its length.
    """
    out = np.zeros(len(good), bool)
    at = np.flatnonzero(good)
    for a, b in pairwise(at):
        if 1 < b - a <= max_gap + 1 and linked[a:b].all():
            out[a + 1 : b] = True
    return out
