"""From tracked faces to active-speaker scores: the video is decoded once, whatever the number of faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dialogbuild.dialogue.asd import CROP_PX, TICK_SAMPLES, Scorer
from dialogbuild.dialogue.pcm import Array, Pcm

if TYPE_CHECKING:
    from dialogbuild.dialogue.asd_net import Network
    from dialogbuild.media.reader import FrameReader

# Of the face box's longer side, as the published weights were trained: the crop is 0.7 of it wide and 0.2 lower.
_SIDE, _DOWN = 0.7, 0.2
_SMOOTH_TICKS = 13  # median over boxes
_PUSH_TICKS = 25


def score_tracks(
    video: FrameReader,
    pts: Array,
    pcm: Pcm,
    rows: Mapping[str, Array],
    net: Network,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Array]:
    """Log-odds that each track's face speaks.

    Args:
        pts: (T,) presentation stamp of each tick's picture, 25 ticks per second.
        pcm: its sound from tick 0 on.
        rows: columns ``track``, ``tick``, ``box_px`` (N, 4) of ``tracks.parquet``, any order.
        progress: called with pictures done and pictures in all.

    Returns:
        Per track (T,) float32, NaN where it has no box.

    Raises:
        ValueError: the sound does not have 640 samples per tick.
        LookupError: a tick's picture is not in the video.
    """
    if len(pts) and abs(pcm.n_samples - len(pts) * TICK_SAMPLES) >= TICK_SAMPLES:
        raise ValueError(f"{pcm.n_samples} samples do not go with {len(pts)} ticks of 1/25 s")
    squares = {int(track): _squares(rows, int(track)) for track in np.unique(rows["track"])}
    faces = {track: _Face(net, pcm, len(pts)) for track in squares}
    wanted = sorted(set().union(*squares.values())) if squares else []
    for done, (tick, (_, rgb)) in enumerate(zip(wanted, video.frames(pts[wanted].tolist()), strict=True)):
        grey = _grey(rgb)
        for track, at in squares.items():
            if tick in at:
                faces[track].add(tick, cut(grey, at[tick]))
        progress(done + 1, len(wanted))
    return {track: face.finish() for track, face in faces.items()}


def by_person(persons: Mapping[int, int], scores: Mapping[int, Array], n_ticks: int) -> Array:
    """Log-odds of persons 0 and 1, (T, 2) float32, NaN where unseen.

    Args:
        persons: person of each track; tracks of nobody (-1) are left out.
    """
    out = np.full((n_ticks, 2), np.nan, np.float32)
    for track, person in sorted(persons.items()):
        if person in (0, 1) and track in scores:
            here = np.isfinite(scores[track])
            out[here, person] = scores[track][here]
    return out


def crop_square(box_px: Array) -> Array:
    """Centre and side of the crop for smoothed face boxes: the lower middle of the face, with the chin.

    The published preprocessing, in one step: the box's longer side, padded by 0.4 of it, is scaled to 224 px and the
    middle 112 px are taken.

    Args:
        box_px: (n, 4) x0, y0, x1, y1.

    Returns:
        (n, 3) x, y, side in pixels.
    """
    longer = (box_px[:, 2:] - box_px[:, :2]).max(axis=1)
    centre = (box_px[:, :2] + box_px[:, 2:]) / 2
    return np.stack([centre[:, 0], centre[:, 1] + _DOWN * longer, _SIDE * longer], axis=1)


def cut(grey: Array, square: Array) -> Array:
    """One crop, (112, 112) uint8; what lies outside the picture repeats its edge. ``square``: x, y, side."""
    import cv2

    side = max(round(float(square[2])), 8)
    patch = cv2.getRectSubPix(grey, (side, side), (float(square[0]), float(square[1])))
    how = cv2.INTER_AREA if side > CROP_PX else cv2.INTER_LINEAR
    out: Array = cv2.resize(patch, (CROP_PX, CROP_PX), interpolation=how)
    return out


def _grey(rgb: Array) -> Array:
    import cv2

    out: Array = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return out


def _squares(rows: Mapping[str, Array], track: int) -> dict[int, Array]:
    from scipy.ndimage import median_filter

    mine = np.flatnonzero(rows["track"] == track)
    mine = mine[np.argsort(rows["tick"][mine], kind="stable")]
    ticks = rows["tick"][mine]
    squares = crop_square(np.asarray(rows["box_px"][mine], np.float64))
    parts = np.split(np.arange(len(mine)), np.flatnonzero(np.diff(ticks) != 1) + 1)
    smooth = [median_filter(squares[part], size=(_SMOOTH_TICKS, 1), mode="nearest") for part in parts]
    return dict(zip(ticks.tolist(), np.concatenate(smooth), strict=True))


class _Face:
    """A track's scores so far; a gap begins a new span, since the networks take pictures without gaps."""

    def __init__(self, net: Network, pcm: Pcm, n_ticks: int) -> None:
        self._net, self._pcm = net, pcm
        self._odds = np.full(n_ticks, np.nan, np.float32)
        self._scorer: Scorer | None = None
        self._start, self._stop = 0, 0
        self._crops: list[Any] = []

    def add(self, tick: int, crop: Array) -> None:
        if self._scorer is None or tick != self._stop:
            self._close()
            self._scorer, self._start = Scorer(self._net, self._pcm, tick), tick
        self._crops.append(crop)
        self._stop = tick + 1
        if len(self._crops) >= _PUSH_TICKS:
            self._push()

    def finish(self) -> Array:
        self._close()
        return self._odds

    def _push(self) -> None:
        if self._scorer is not None and self._crops:
            self._scorer.push(np.stack(self._crops))
        self._crops = []

    def _close(self) -> None:
        self._push()
        if self._scorer is not None:
            self._odds[self._start : self._stop] = self._scorer.finish()
        self._scorer = None
