"""Cut the windows around faces out of a video, decoding it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.fit.crops import Crops, cut_crops, plan_windows
from dialogbuild.fit.view import View, centred_crops, in_picture

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Faces:
    """One person at n of the video's ticks.

    Attributes:
        ticks: (n,) ascending;  landmarks_px: (n, 478, 2), centred;  usable: (n,) bool, windows are cut only there.
        face_px: typical outer-eye distance at zero yaw.
        view: of the n ticks, by which landmarks and windows are centred (``fit.view``).
    """

    ticks: Array
    landmarks_px: Array
    usable: Array
    face_px: float
    view: View


def cut_windows(
    source: Path,
    ingest: Path,
    pts: Array,
    people: Sequence[Faces],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Crops]:
    """A centred window per person and tick, of one size per person. The video is decoded once for all of them.

    Args:
        ingest: the video's artefact, which says how it is read.
        pts: presentation stamp of each of the video's ticks.
        progress: called with pictures done and pictures in all.

    Raises:
        LookupError: a tick's frame is not in the video.
    """
    from dialogbuild.media.chosen import open_video

    plans = [plan_windows(in_picture(p.landmarks_px, p.view), p.usable, p.face_px) for p in people]
    out = [
        Crops(np.zeros((len(o), side, side, 3), np.uint8), o, step, np.zeros((len(o), 4), np.int32))
        for o, step, side in plans
    ]
    row = [dict(zip(p.ticks[p.usable].tolist(), np.flatnonzero(p.usable).tolist(), strict=True)) for p in people]
    wanted = sorted(set().union(*row))
    one = np.ones(1, bool)
    with open_video(source, ingest) as video:
        for done, (tick, (_, picture)) in enumerate(zip(wanted, video.frames(pts[wanted].tolist()), strict=True)):
            for crops, rows in zip(out, row, strict=True):
                if tick in rows:
                    k = rows[tick]
                    window = cut_crops([(0, picture)], crops.origin_px[k : k + 1], one, crops.step, crops.side_px)
                    crops.rgb[k], crops.bounds[k] = window.rgb[0], window.bounds[0]
            progress(done + 1, len(wanted))
    return [centred_crops(crops, p.view) for crops, p in zip(out, people, strict=True)]
