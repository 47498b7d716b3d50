"""segment: cut the conversation into clips that show both people, in pauses and between turns.

reads   ingest  video.json
        shots   shots.parquet    shot, start_tick, end_tick
        tracks  (its boxes decide nothing here; a new tracking must give new clips)
        assign  states.parquet   tick, state, p_speak_0, p_speak_1, face_seen_0, face_seen_1, third_face
writes  clips.parquet            clip_id, clip, start_tick, end_tick, n_ticks, shots (how many it touches),
                                 speak_s_0, speak_s_1, overlap_s, seen_s_0, seen_s_1
rejects third_face (only a third person's presence leaves no clip), no_clip (longest span and what was asked)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject
from dialogbuild.tables import Columns, read_table, write_table

Array = npt.NDArray[Any]
Interval = tuple[int, int]


class Config(StageConfig):
    """How long clips are, and what may happen inside one."""

    min_s: float = Field(5.0, gt=0, description="s; MANGO-Dialog uses 30, short inputs need less")
    max_s: float = Field(120.0, gt=0, description="s; as in MANGO-Dialog")
    max_absent_s: float = Field(20.0, ge=0, description="s that a person may stay off screen (close-ups of the other)")
    max_empty_s: float = Field(1.0, ge=0, description="s without either person: a cutaway ends the clip")
    max_third_s: float = Field(1.0, ge=0, description="s that a third face may be on screen")
    min_seen_s: float = Field(1.0, ge=0, description="s that each person must be seen in every clip")
    min_pause_s: float = Field(0.2, ge=0, description="s; a cut falls into the middle of a pause this long")
    cut_cost_s: float = Field(1.0, ge=0, description="s of clip given up rather than cutting once more")
    hard_cost_s: float = Field(4.0, ge=0, description="s of clip given up rather than cutting into speech")

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if self.max_s < self.min_s:
            raise ValueError(f"max_s {self.max_s} is below min_s {self.min_s}")
        return self


def choose_clips(states: Columns, fps: float, config: Config, third: Array) -> list[Interval]:
    """Half-open tick intervals of the clips; ``third`` (T,) bool says where a third face is on screen."""
    from dialogbuild.dialogue.clips import ClipRule, cut_span, soft_cuts, usable_spans

    seen = np.stack([states["face_seen_0"], states["face_seen_1"]], axis=1).astype(bool)
    rule = ClipRule(
        min_ticks=int(np.ceil(config.min_s * fps - 1e-9)),
        max_ticks=int(config.max_s * fps + 1e-9),
        cut_cost=config.cut_cost_s * fps,
        hard_cost=config.hard_cost_s * fps,
    )
    limits = (limit * fps for limit in (config.max_absent_s, config.max_empty_s, config.max_third_s))
    cuts = soft_cuts(states["state"], config.min_pause_s * fps)
    speech = np.maximum(states["p_speak_0"], states["p_speak_1"])
    found = [clip for span in usable_spans(seen, third, *limits) for clip in cut_span(span, cuts, speech, rule)]
    return [(a, b) for a, b in found if seen[a:b].sum(axis=0).min() >= config.min_seen_s * fps]


def clip_columns(clips: list[Interval], video_id: str, states: Columns, shots: Columns, fps: float) -> Columns:
    """Columns of ``clips.parquet``."""
    active = np.stack([(states["state"] & 1) > 0, (states["state"] & 2) > 0, states["state"] == 3], axis=1)
    heard = np.array([active[a:b].sum(axis=0) for a, b in clips]) / fps
    start, end = np.array(clips, dtype=np.int32).T
    touched = (shots["start_tick"][None] < end[:, None]) & (shots["end_tick"][None] > start[:, None])
    return {
        "clip_id": np.array([f"{video_id}_c{k:03d}" for k in range(len(clips))], dtype=object),
        "clip": np.arange(len(clips), dtype=np.int32),
        "start_tick": start,
        "end_tick": end,
        "n_ticks": end - start,
        "shots": touched.sum(axis=1).astype(np.int32),
        "speak_s_0": heard[:, 0].astype(np.float32),
        "speak_s_1": heard[:, 1].astype(np.float32),
        "overlap_s": heard[:, 2].astype(np.float32),
        "seen_s_0": np.array([states["face_seen_0"][a:b].sum() / fps for a, b in clips], np.float32),
        "seen_s_1": np.array([states["face_seen_1"][a:b].sum() / fps for a, b in clips], np.float32),
    }


def refuse(states: Columns, fps: float, config: Config) -> Reject:
    """Why there is no clip: the third face, when there would be clips without it."""
    nobody = np.zeros(len(states["state"]), dtype=bool)
    if choose_clips(states, fps, config, nobody):
        return Reject("third_face", seconds=round(float(states["third_face"].sum()) / fps, 3))
    from dialogbuild.dialogue.clips import usable_spans

    seen = np.stack([states["face_seen_0"], states["face_seen_1"]], axis=1).astype(bool)
    spans = usable_spans(seen, nobody, config.max_absent_s * fps, config.max_empty_s * fps, np.inf)
    longest_s = max((b - a for a, b in spans), default=0) / fps
    seen_s = [round(float(s), 3) for s in seen.sum(axis=0) / fps]
    return Reject("no_clip", longest_s=round(longest_s, 3), min_s=config.min_s, seen_s=seen_s)


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """See the module's docstring."""
    video = json.loads((inputs["ingest"] / "video.json").read_text())
    fps = video["fps"][0] / video["fps"][1]
    states = read_table(inputs["assign"] / "states.parquet")
    clips = choose_clips(states, fps, config, states["third_face"].astype(bool))
    if not clips:
        raise refuse(states, fps, config)
    shots = read_table(inputs["shots"] / "shots.parquet")
    write_table(out / "clips.parquet", clip_columns(clips, inputs.video_id, states, shots, fps))


STAGE = Stage(
    name="segment", version=1, unit="video", config=Config, run=run, reads=("ingest", "shots", "tracks", "assign")
)
