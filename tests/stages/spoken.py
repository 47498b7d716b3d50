"""Upstream tables of a synthetic dialogue with a perfect tracker: sound and landmarks, nothing is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.media.audio import write_flac
from dialogbuild.synth import DialogueSpec, Truth, make_speech
from dialogbuild.tables import write_table


@dataclass(frozen=True)
class Spoken:
    """A dialogue's folders so far and its truth."""

    dirs: dict[str, Path]
    truth: Truth
    video_id: str = "talk"

    def inputs(self, stage: Stage) -> Inputs:
        dirs = {name: self.dirs[name] for name in stage.reads}
        return Inputs(self.video_id, self.video_id, Path("talk.mp4"), dirs)

    def run(self, stage: Stage, **config: Any) -> Path:
        """Run a stage into its folder; what it raises comes through."""
        out = self.dirs["root"] / stage.name
        out.mkdir(exist_ok=True)
        stage.run(self.inputs(stage), out, stage.config(**config))
        self.dirs[stage.name] = out
        return out


def spoken(root: Path, noise_px: float = 0.25, people: Sequence[int] | None = None, **spec: Any) -> Spoken:
    """Write ingest, shots, tracks and landmarks of ``DialogueSpec(**spec)`` below ``root``.

    Args:
        noise_px: standard deviation of the landmarks' error.
        people: who has tracks; everyone that the picture shows by default.
    """
    sound, truth = make_speech(DialogueSpec(**spec))
    dirs = {name: root / name for name in ("root", "ingest", "shots", "tracks", "landmarks")} | {"root": root}
    for path in dirs.values():
        path.mkdir(parents=True, exist_ok=True)
    facts = {
        "n_ticks": truth.n_ticks,
        "fps": [25, 1],
        "width_px": truth.spec.width_px,
        "height_px": truth.spec.height_px,
    }
    time_base = [truth.time_base.numerator, truth.time_base.denominator]
    facts |= {"time_base": time_base, "start_pts": int(truth.frame_pts[0])}
    write_json(dirs["ingest"] / "video.json", facts)
    write_table(dirs["ingest"] / "ticks.parquet", {"pts": truth.frame_pts[truth.tick_frames]})
    write_flac(dirs["ingest"] / "audio.flac", [sound])
    frames = truth.tick_frames
    shot_of = np.searchsorted(truth.shot_frames[:, 1], frames, side="right")
    edges = np.flatnonzero(np.diff(shot_of, prepend=-1, append=-1))
    write_table(
        dirs["shots"] / "shots.parquet",
        {
            "shot": np.arange(len(edges) - 1, dtype=np.int32),
            "start_tick": edges[:-1].astype(np.int32),
            "end_tick": edges[1:].astype(np.int32),
        },
    )
    whole = np.tile(np.array([0, 0, truth.spec.width_px, truth.spec.height_px], np.float32), (len(edges) - 1, 1))
    write_table(dirs["shots"] / "panes.parquet", {"shot": np.arange(len(edges) - 1, dtype=np.int32), "box_px": whole})
    _write_faces(dirs, truth, shot_of, noise_px, people)
    return Spoken(dirs, truth)


def _write_faces(
    dirs: dict[str, Path], truth: Truth, shot_of: np.ndarray, noise_px: float, people: Sequence[int] | None
) -> None:
    rng = np.random.default_rng(truth.spec.seed)
    columns: dict[str, list[np.ndarray]] = {n: [] for n in ("track", "tick", "shot", "box_px", "lmk_px", "lmk_z_px")}
    track = 0
    for shot in np.unique(shot_of):
        for person in truth.persons:
            ticks = np.flatnonzero((shot_of == shot) & person.visible[truth.tick_frames])
            if not len(ticks) or (people is not None and person.person not in people):
                continue
            points = person.landmarks_px[truth.tick_frames[ticks]]
            points = points + rng.normal(0.0, noise_px, points.shape)
            columns["track"].append(np.full(len(ticks), track, np.int32))
            columns["tick"].append(ticks.astype(np.int32))
            columns["shot"].append(np.full(len(ticks), shot, np.int32))
            columns["box_px"].append(person.box_px[truth.tick_frames[ticks]])
            columns["lmk_px"].append(points.reshape(len(ticks), 956).astype(np.float32))
            columns["lmk_z_px"].append(_depth_px(points))
            track += 1
    rows = {name: np.concatenate(parts) for name, parts in columns.items()}
    ok = np.ones(len(rows["tick"]), bool)
    write_table(dirs["tracks"] / "tracks.parquet", {n: rows[n] for n in ("track", "tick", "shot", "box_px")})
    # nothing is drawn, so that no face has colours
    listed = {"track": np.arange(track, dtype=np.int32), "look": np.zeros((track, 72), np.float32)}
    write_table(dirs["tracks"] / "track_list.parquet", listed)
    face = {n: rows[n] for n in ("track", "tick", "lmk_px", "lmk_z_px")}
    write_table(dirs["landmarks"] / "landmarks.parquet", {**face, "ok": ok})


def _depth_px(points: np.ndarray) -> np.ndarray:
    """A smooth stand-in for MediaPipe's depth: a dome over the face."""
    centre = points.mean(axis=1, keepdims=True)
    radius = np.linalg.norm(points - centre, axis=2)
    depth: np.ndarray = (radius**2 / np.maximum(radius.max(axis=1, keepdims=True), 1.0)).astype(np.float32)
    return depth
