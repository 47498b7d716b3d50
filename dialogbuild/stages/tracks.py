"""tracks: follow every face through each shot.

reads   ingest  ticks.parquet, video.json
        shots   shots.parquet    shot, start_tick, end_tick
writes  tracks.parquet           track, tick, shot, box_px (x0, y0, x1, y1), score, detected (False: bridged)
        track_list.parquet       track, shot, start_tick, end_tick, n_detected, mean_score, face_px (median side)
rejects no_face (no track is long enough: values say how many boxes were seen)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.faces.detect import Boxes
from dialogbuild.faces.link import Track, fill, link
from dialogbuild.media.reader import VideoReader
from dialogbuild.tables import Columns, read_table, write_table

Detection = tuple[int, Boxes, npt.NDArray[np.float32]]


class Config(StageConfig):
    """Which boxes count, and how they become tracks."""

    every_ticks: int = Field(4, ge=1, description="ticks between detections; heads hardly leave a box in 0.16 s")
    min_score: float = Field(0.5, gt=0, lt=1, description="detector score below which a box is ignored")
    min_face_px: float = Field(24, ge=8, description="pixels; smaller boxes carry no lip motion worth reading")
    max_gap_ticks: int = Field(15, ge=0, description="ticks without a detection that are bridged (0.6 s)")
    min_track_ticks: int = Field(25, ge=1, description="ticks; shorter tracks are flicker (1 s)")
    min_detected: float = Field(0.5, ge=0, le=1, description="share of looked-at ticks in which a track was found")


def looked_at(start: int, stop: int, every: int) -> npt.NDArray[np.int32]:
    """Ticks of a shot at which faces are detected: every n-th one and the last. (K,)."""
    return np.asarray(np.unique(np.append(np.arange(start, stop, every), stop - 1)), np.int32)


def keep_track(track: Track, every: int, config: Config) -> bool:
    """Whether a track is a face and not flicker."""
    length = track.ticks[-1] - track.ticks[0] + 1
    share = len(track.ticks) / max(1.0, np.ceil(length / every))
    return length >= config.min_track_ticks and share >= config.min_detected


def shot_rows(tracks: list[Track], shot: int, start: int, stop: int, first_id: int, every: int) -> Columns:
    """Rows of one shot's tracks. A track reaches to the shot's edge when it ends within one detection step of it."""
    parts: list[Columns] = []
    for offset, track in enumerate(tracks):
        begin = start if track.ticks[0] - start < every else track.ticks[0]
        end = stop if stop - 1 - track.ticks[-1] < every else track.ticks[-1] + 1
        ticks, boxes, scores = fill(track, begin, end)
        n = len(ticks)
        parts.append(
            {
                "track": np.full(n, first_id + offset, np.int32),
                "tick": ticks,
                "shot": np.full(n, shot, np.int32),
                "box_px": boxes,
                "score": scores,
                "detected": np.isin(ticks, track.ticks),
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def track_list(rows: Columns) -> Columns:
    """One row per track, from the rows of all."""
    ids = np.unique(rows["track"])
    masks = [rows["track"] == i for i in ids]
    side = (rows["box_px"][:, 2:] - rows["box_px"][:, :2]).mean(1)
    return {
        "track": ids,
        "shot": np.array([rows["shot"][m][0] for m in masks], np.int32),
        "start_tick": np.array([rows["tick"][m][0] for m in masks], np.int32),
        "end_tick": np.array([rows["tick"][m][-1] + 1 for m in masks], np.int32),
        "n_detected": np.array([rows["detected"][m].sum() for m in masks], np.int32),
        "mean_score": np.array([rows["score"][m].mean() for m in masks], np.float32),
        "face_px": np.array([np.median(side[m]) for m in masks], np.float32),
    }


def detect(inputs: Inputs, ticks: npt.NDArray[np.int32], config: Config) -> Iterator[Detection]:
    """Boxes at the given ticks, in one pass over the video."""
    from dialogbuild.faces.detect import FaceDetector

    pts = read_table(inputs["ingest"] / "ticks.parquet")["pts"]
    stream = json.loads((inputs["ingest"] / "video.json").read_text())["stream"]
    with VideoReader(inputs.source, stream) as video, FaceDetector(config.min_score) as detector:
        for done, (_, rgb) in enumerate(video.frames(pts[ticks].tolist())):
            tick = int(ticks[done])
            boxes, scores = detector(rgb)
            big = (boxes[:, 3] - boxes[:, 1]) >= config.min_face_px
            yield tick, boxes[big], scores[big]
            inputs.progress(done + 1, len(ticks))


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Detect at intervals, link within shots, write every tick of every track."""
    shots = read_table(inputs["shots"] / "shots.parquet")
    spans = [(int(a), int(b)) for a, b in zip(shots["start_tick"], shots["end_tick"], strict=True)]
    every = config.every_ticks
    ticks = np.concatenate([looked_at(a, b, every) for a, b in spans])
    seen = list(detect(inputs, ticks, config))
    parts, n_tracks = [], 0
    for shot, (start, stop) in zip(shots["shot"], spans, strict=True):
        tracks = link([d for d in seen if start <= d[0] < stop], config.max_gap_ticks)
        tracks = [track for track in tracks if keep_track(track, every, config)]
        if tracks:
            parts.append(shot_rows(tracks, int(shot), start, stop, n_tracks, every))
        n_tracks += len(tracks)
    if not parts:
        raise Reject("no_face", boxes=sum(len(boxes) for _, boxes, _ in seen), looked_at=len(ticks))
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write_table(out / "tracks.parquet", rows)
    write_table(out / "track_list.parquet", track_list(rows))


def model_files(config: Config) -> list[Path]:
    """The detectors' networks."""
    from dialogbuild.faces.mp import model_files as networks

    del config
    return networks("face_detection")


STAGE = Stage(
    name="tracks", version=1, unit="video", config=Config, run=run, reads=("ingest", "shots"), models=model_files
)
