"""tracks: follow every face through each shot.

Faces are looked for closely where they were, every other tick, and everywhere now and then; sightings of a shot become
tracks by one global assignment (``faces.link``). A track may have holes: a face that turns away or leaves, and surely
is the one that comes back, keeps its track; ticks without it have no rows. Doubtful continuations are new tracks.

reads   ingest  ticks.parquet, video.json
        shots   shots.parquet    shot, start_tick, end_tick
writes  tracks.parquet           track, tick, shot, box_px (x0, y0, x1, y1), score, detected (False: bridged),
                                 confidence (0..1: the score, less where bridged and where the link is doubtful),
                                 turn_rad (to the image's right, about +-0.2), profile, occluded (by another face)
        track_list.parquet       track, shot, start_tick, end_tick, n_ticks, n_detected, mean_score, face_px (median
                                 side), link_sure (of its doubtfullest link), look (72, ``faces.appearance``)
rejects no_face (no track is long enough: values say how many boxes were seen)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.faces import link
from dialogbuild.faces.appearance import LOOK_SIZE, describe, mean_look
from dialogbuild.faces.detect import Sightings, covered, turn_rad
from dialogbuild.faces.tracklets import LinkRule, Sighted
from dialogbuild.media.chosen import open_video
from dialogbuild.tables import Columns, read_table, write_table

Ticks = npt.NDArray[np.int32]
_PLAIN_TURN_RAD = 0.8  # beyond, the middle of the box shows hair


class Config(StageConfig):
    """Where faces are looked for, which boxes count, and how they become tracks."""

    every_ticks: int = Field(2, ge=1, description="ticks between looks at where faces are; walkers move in 0.08 s")
    search_ticks: int = Field(4, ge=1, description="ticks between searches of the whole picture for new faces")
    tile_ticks: int = Field(24, ge=1, description="ticks between searches on tiles, which show the smallest faces")
    min_score: float = Field(0.5, gt=0, lt=1, description="detector score below which a box is ignored")
    min_face_px: float = Field(24, ge=8, description="pixels; smaller boxes carry no lip motion worth reading")
    max_gap_ticks: int = Field(15, ge=0, description="ticks without a detection that are bridged (0.6 s)")
    max_return_ticks: int = Field(750, ge=1, description="ticks after which a face that comes back is a new track")
    min_link_nats: float = Field(
        3.0, ge=0, description="by which the best assignment must beat the next for a gap to be linked; 3 is 20 to 1"
    )
    min_track_ticks: int = Field(25, ge=1, description="ticks; shorter tracks are flicker (1 s)")
    min_track_score: float = Field(
        0.7, ge=0, lt=1, description="median score of a track's sightings; hands reach 0.6, faces in profile 0.8"
    )
    min_detected: float = Field(0.5, ge=0, le=1, description="share of looked-at ticks in which a track was found")
    max_turn_rad: float = Field(0.95, gt=0, description="turned further the face is a profile: half of it is guessed")
    min_covered: float = Field(0.3, gt=0, le=1, description="share of a box behind a nearer face that hides it")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if not self.every_ticks <= self.search_ticks <= self.tile_ticks:
            raise ValueError("every_ticks <= search_ticks <= tile_ticks: each search includes the ones before")
        return self


@dataclass(frozen=True, eq=False)
class Seen:
    """All sightings of one shot: what linking needs, and how far each head is turned (N,)."""

    sighted: Sighted
    turn_rad: npt.NDArray[np.float32]


def looked_at(start: int, stop: int, every: int) -> Ticks:
    """Ticks of a shot at which faces are looked for: every n-th one and the last. (K,)."""
    return np.asarray(np.unique(np.append(np.arange(start, stop, every), stop - 1)), np.int32)


def keep_track(ticks: Ticks, scores: npt.NDArray[np.float32], shot_ticks: int, config: Config) -> bool:
    """Whether a track is a face and not flicker or a hand, from its sightings; holes count for nothing.

    In a shot that is itself shorter than ``min_track_ticks`` a face must be there nearly all the time.
    """
    if float(np.median(scores)) < config.min_track_score:
        return False
    steps = np.diff(ticks)
    shown = int(ticks[-1] - ticks[0]) + 1 - int((steps[steps > config.max_gap_ticks] - 1).sum())
    needed = min(config.min_track_ticks, int(0.9 * shot_ticks))
    return shown >= needed and len(ticks) >= config.min_detected * np.ceil(shown / config.every_ticks)


def shot_rows(seen: Seen, tracks: list[link.Track], shot: int, span: tuple[int, int], config: Config) -> Columns:
    """Rows of one shot's tracks, numbered from 0. A track reaches to the shot's edge if it ends within a look of it."""
    (start, stop), every = span, config.every_ticks
    parts: list[Columns] = []
    for number, track in enumerate(tracks):
        at = seen.sighted.tick[track.rows]
        begin = start if at[0] - start < every else int(at[0])
        end = stop if stop - 1 - at[-1] < every else int(at[-1]) + 1
        ticks, boxes, scores, confidence = link.fill(seen.sighted, track, begin, end, config.max_gap_ticks)
        turn = np.interp(ticks, at, seen.turn_rad[track.rows]).astype(np.float32)
        parts.append(
            {
                "track": np.full(len(ticks), number, np.int32),
                "tick": ticks,
                "shot": np.full(len(ticks), shot, np.int32),
                "box_px": boxes,
                "score": scores,
                "detected": np.isin(ticks, at),
                "confidence": confidence,
                "turn_rad": turn,
                "profile": np.abs(turn) > config.max_turn_rad,
            }
        )
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows["occluded"] = link.occluded(rows["tick"], rows["box_px"], rows["detected"], config.min_covered)
    return rows


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
        "n_ticks": np.array([m.sum() for m in masks], np.int32),
        "n_detected": np.array([rows["detected"][m].sum() for m in masks], np.int32),
        "mean_score": np.array([rows["score"][m].mean() for m in masks], np.float32),
        "face_px": np.array([np.median(side[m]) for m in masks], np.float32),
    }


def looks_of(rgb: npt.NDArray[np.uint8], faces: Sightings) -> npt.NDArray[np.float32]:
    """Colours of every face, (N, 72); zero, which is unknown, where it is turned away or another face comes near."""
    looks = np.array([describe(rgb, box) for box in faces.box_px], np.float32).reshape(-1, LOOK_SIZE)
    near = covered(faces.box_px, faces.box_px)
    np.fill_diagonal(near, 0)
    looks[(near > 0.1).any(axis=1) | (np.abs(turn_rad(faces.points_px)) > _PLAIN_TURN_RAD)] = 0
    return looks


def look(inputs: Inputs, spans: list[tuple[int, int]], config: Config) -> Iterator[Seen]:
    """Everything seen in each shot, in one pass over the video."""
    from dialogbuild.faces.detect import FaceDetector
    from dialogbuild.faces.lookout import Lookout, SearchRule

    pts = read_table(inputs["ingest"] / "ticks.parquet")["pts"]
    looks = [looked_at(start, stop, config.every_ticks) for start, stop in spans]
    rule = SearchRule(config.search_ticks, config.tile_ticks, hold_ticks=config.max_gap_ticks)
    done, total = 0, sum(len(ticks) for ticks in looks)
    with open_video(inputs.source, inputs["ingest"]) as video, FaceDetector(config.min_score) as detector:
        frames = video.frames(pts[np.concatenate(looks)].tolist())
        lookout = Lookout(detector, rule)
        for ticks in looks:
            lookout.new_shot()
            found: list[tuple[int, Sightings, npt.NDArray[np.float32]]] = []
            for tick, (_, rgb) in zip(ticks.tolist(), frames, strict=False):
                faces = lookout(rgb, tick)
                faces = faces.pick((faces.box_px[:, 3] - faces.box_px[:, 1]) >= config.min_face_px)
                found.append((tick, faces, looks_of(rgb, faces)))
                done += 1
                inputs.progress(done, total)
            yield _gather(found)


def _gather(found: list[tuple[int, Sightings, npt.NDArray[np.float32]]]) -> Seen:
    faces = Sightings.join([f for _, f, _ in found])
    tick = np.repeat(np.array([t for t, _, _ in found], np.int32), [len(f) for _, f, _ in found])
    colours = np.concatenate([np.zeros((0, LOOK_SIZE), np.float32), *(c for _, _, c in found)])
    return Seen(Sighted(tick, faces.box_px, faces.score, colours), turn_rad(faces.points_px))


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Look, link within shots, write every tick of every track."""
    shots = read_table(inputs["shots"] / "shots.parquet")
    video = json.loads((inputs["ingest"] / "video.json").read_text())
    spans = [(int(a), int(b)) for a, b in zip(shots["start_tick"], shots["end_tick"], strict=True)]
    rule = LinkRule(
        config.every_ticks,
        reach_ticks=config.max_return_ticks,
        min_nats=config.min_link_nats,
        area_px=float(video["width_px"] * video["height_px"]),
    )
    parts: list[Columns] = []
    lists: list[Columns] = []
    boxes = n_tracks = 0
    for shot, span, seen in zip(shots["shot"], spans, look(inputs, spans, config), strict=True):
        boxes += len(seen.sighted.tick)
        at, scores = seen.sighted.tick, seen.sighted.score
        tracks = [
            track
            for track in link.link(seen.sighted, rule)
            if keep_track(at[track.rows], scores[track.rows], span[1] - span[0], config)
        ]
        if not tracks:
            continue
        rows = shot_rows(seen, tracks, int(shot), span, config)
        listed = track_list(rows)
        listed["link_sure"] = np.array([t.sure.min() for t in tracks], np.float32)
        listed["look"] = np.stack([mean_look(seen.sighted.look[t.rows]) for t in tracks])
        for columns in (rows, listed):
            columns["track"] = columns["track"] + np.int32(n_tracks)
        parts.append(rows)
        lists.append(listed)
        n_tracks += len(tracks)
    if not parts:
        raise Reject("no_face", boxes=boxes, looked_at=sum(len(looked_at(*s, config.every_ticks)) for s in spans))
    write_table(out / "tracks.parquet", {n: np.concatenate([part[n] for part in parts]) for n in parts[0]})
    write_table(out / "track_list.parquet", {n: np.concatenate([part[n] for part in lists]) for n in lists[0]})


def model_files(config: Config) -> list[Path]:
    """The detectors' networks."""
    from dialogbuild.faces.mp import model_files as networks

    del config
    return networks("face_detection")


STAGE = Stage(
    name="tracks", version=2, unit="video", config=Config, run=run, reads=("ingest", "shots"), models=model_files
)
