"""From the tables of a video to the offset of its sound, and to what ``assign.json`` says about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.dialogue.avoffset import AvOffset, OffsetRule, estimate_offset
from dialogbuild.dialogue.facedata import FaceRows
from dialogbuild.dialogue.pcm import Array, Pcm
from dialogbuild.tables import read_table

SIGN = "positive: the sound is late, it lags the picture"


def video_offset(ingest: Path, rows: FaceRows, owner: Mapping[int, int], p_speak: Array, rule: OffsetRule) -> AvOffset:
    """Offset of a video's sound.

    Args:
        ingest: folder of video.json, ticks.parquet and audio.flac.
        rows: the faces' openings.
        owner: track -> person; tracks of others than persons 0 and 1 do not count.
        p_speak: (T, 2) probability that each person speaks.
    """
    video = json.loads((ingest / "video.json").read_text())
    fps = video["fps"][0] / video["fps"][1]
    aperture = person_apertures(rows, owner, len(p_speak))
    return estimate_offset(aperture, frame_times_s(ingest), p_speak, Pcm.open(ingest / "audio.flac"), fps, rule)


def frame_times_s(ingest: Path) -> Array:
    """When the frame that each tick shows begins, seconds after the first frame. (T,)."""
    video = json.loads((ingest / "video.json").read_text())
    numerator, denominator = video["time_base"]
    pts = read_table(ingest / "ticks.parquet", ["pts"])["pts"]
    seconds: Array = (pts - video["start_pts"]) * (numerator / denominator)
    return seconds


def person_apertures(rows: FaceRows, owner: Mapping[int, int], n_ticks: int) -> Array:
    """Opening of the inner lips of persons 0 and 1 over the face's height. (T, 2), NaN where unseen."""
    out = np.full((n_ticks, 2), np.nan)
    for track, person in sorted(owner.items()):
        mine = (rows.track == track) & rows.ok
        if person in (0, 1):
            out[rows.tick[mine], person] = rows.aperture[mine]
    return out


def offset_record(offset: AvOffset) -> dict[str, Any]:
    """``av_offset`` of ``assign.json``: ms and sigma_ms are null unless reason is "ok"."""
    return {
        "ms": None if offset.ms is None else round(offset.ms, 2),
        "sigma_ms": None if offset.sigma_ms is None else round(offset.sigma_ms, 2),
        "z": round(offset.z, 3),
        "solo_s": round(offset.solo_s, 3),
        "reason": offset.reason,
        "sign": SIGN,
    }
