"""From a video file to face tracks with landmarks: the per-video stages, kept in a work folder for the next call."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from tqdm import tqdm

from dialogbuild.artifact import Outcome
from dialogbuild.engines import Event, LocalPool, Tick
from dialogbuild.errors import DialogbuildError, Reject, Stopped
from dialogbuild.faces.panes import track_views
from dialogbuild.fit.evidence import LANDMARK_COLUMNS, Evidence, gather
from dialogbuild.fit.view import View, person_view
from dialogbuild.media.clock import FPS
from dialogbuild.recipe import Recipe
from dialogbuild.runner import Plan, Planned, RunLog, exclusive, run_items
from dialogbuild.sources import discover
from dialogbuild.tables import Columns, read_table

Array = np.ndarray[Any, np.dtype[Any]]
STAGES = ("ingest", "shots", "tracks", "landmarks")
_BAR = "{desc:<10} {percentage:3.0f}%|{bar:24}| {n:.0f}/{total:.0f} frames [{elapsed}<{remaining}, {rate_noinv_fmt}]"
_SENTENCES = {
    "empty_file": "the file is empty (zero bytes)",
    "not_a_video": "it holds no moving picture",
    "unreadable": "it cannot be decoded",
    "no_frames": "no frame of it can be decoded",
    "no_timestamps": "its frames carry no presentation times",
    "truncated": "it ends before its header says",
    "corrupt": "too many of its frames are damaged",
    "too_short": "it is too short",
    "no_face": "no face is seen for a second or longer",
    "no_landmarks": "faces were detected, but no landmarks in any of them",
    "too_few_keyframes": "no face has enough frames with landmarks",
}


class Unsuitable(DialogbuildError):
    """The video cannot be fitted; the message says why."""

    def __init__(self, name: str, reject: Reject) -> None:
        super().__init__(f"{name}: {_SENTENCES.get(reject.reason, reject.reason)} ({reject})")


class StageFailed(DialogbuildError):
    """A stage ended in an error that is no verdict on the video; its traceback is kept in the work folder."""


def bar(name: str, total: float, quiet: bool | None) -> tqdm[Any]:
    """A progress bar that counts frames of the 25 fps clock and shows frames per second and the time left.

    Args:
        quiet: True = never shown, None = shown where standard error is a terminal.
    """
    hidden = not sys.stderr.isatty() if quiet is None else quiet
    # an interval of its own: the first estimate of a slow phase should not wait for its second step
    return tqdm(total=total, desc=name, unit="frame", bar_format=_BAR, disable=hidden, file=sys.stderr, mininterval=0.2)


class _StageBars:
    """One bar per stage that has to run."""

    def __init__(self, n_frames: int, quiet: bool | None) -> None:
        self._n, self._quiet = n_frames, quiet
        self._bars: dict[str, tqdm[Any]] = {}

    def __enter__(self) -> _StageBars:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for shown in self._bars.values():
            shown.close()

    def __call__(self, event: Event | Planned) -> None:
        if isinstance(event, Planned):
            if not event.cached:
                self._bars[event.stage] = bar(event.stage, self._n, self._quiet)
        elif isinstance(event, Tick):
            self._to(event.job.stage, min(event.fraction, 0.99))
        elif isinstance(event, Outcome) and event.status == "ok":
            self._to(event.stage, 1.0)
            self._bars[event.stage].close()

    def _to(self, stage: str, fraction: float) -> None:
        shown = self._bars[stage]
        shown.update(fraction * self._n - shown.n)


def run_per_video(recipe: Recipe, source: Path, work: Path, quiet: bool | None = None) -> dict[str, Path]:
    """Take one video through the recipe's stages; what is in ``work`` already is not computed again.

    Returns:
        Stage name to artefact folder.

    Raises:
        ConfigError: the file does not exist.
        Unsuitable: a stage rejected the video.
        StageFailed: a stage failed.
        Stopped: interrupted by the keyboard.
    """
    sources, _ = discover(source, work / "_run" / "hashes.json")
    plan = Plan(recipe, work)
    with exclusive(work), _StageBars(_expected_ticks(source), quiet) as bars:
        log = RunLog(work, recipe)

        def listen(event: Event | Planned) -> None:
            log(event)
            bars(event)

        with LocalPool(1, log.path.with_suffix(".native.log")) as pool:
            try:
                (state,) = run_items(plan, sources, pool, listen)
            except KeyboardInterrupt:
                raise Stopped("stopped; the same command goes on from here") from None
    for outcome in state.outcomes.values():
        if outcome.status == "rejected":
            raise Unsuitable(source.name, Reject(str(outcome.reason), **outcome.values))
        if outcome.status == "quarantined":
            where = work / "_quarantine" / outcome.stage
            raise StageFailed(f"{source.name}: {outcome.stage} failed: {outcome.reason}; its traceback is in {where}")
    return {name: outcome.path for (name, _), outcome in state.outcomes.items() if outcome.path is not None}


def _expected_ticks(source: Path) -> int:
    """Ticks by the header, for the bars only; 1 where it says nothing."""
    from dialogbuild.media.probe import probe

    try:
        facts = probe(source)
    except (Reject, OSError):
        return 1
    return max(1, int((facts.video.end_s or facts.end_s or 0) * FPS))


@dataclass(frozen=True)
class Face:
    """Somebody to fit: the rows of some tracks within ticks [start_tick, end_tick)."""

    face: int
    shot: int
    tracks: tuple[int, ...]
    start_tick: int
    end_tick: int


@dataclass(frozen=True, eq=False)
class Material:
    """All that is known of a video before the fit.

    Attributes:
        ingest: the artefact that says how the source is read;  video: its record ``video.json``.
        ticks: columns tick, frame, pts of every tick.
        shots: (n, 2) first and last + 1 tick of each shot.
        keys: stage name to the key of its artefact.
        start_tick, end_tick: the ticks that are asked for; all of them, unless it is a clip.
    """

    source: Path
    ingest: Path
    video: dict[str, Any]
    ticks: Columns
    shots: Array
    tracks: Columns
    landmarks: Columns
    panes: Columns
    faces: tuple[Face, ...]
    keys: dict[str, str]
    start_tick: int
    end_tick: int

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the displayed frame."""
        return int(self.video["width_px"]), int(self.video["height_px"])

    def evidence(self, face: Face) -> Evidence:
        """A face's measurements on its own ticks."""
        own: Columns = {"track": np.array(face.tracks), "person": np.full(len(face.tracks), face.face)}
        return gather(self.tracks, self.landmarks, own, face.face, face.start_tick, face.end_tick)

    def view(self, evidence: Evidence) -> View:
        """Through which camera the face of some evidence is seen."""
        return person_view(evidence, *track_views(self.tracks, self.panes, self.size_px), self.size_px)

    def frames(
        self, start: int, stop: int, every: int = 1, size_px: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Array]]:
        """(tick, rgb (H, W, 3) uint8) for every n-th tick of [start, stop), as displayed, scaled to ``size_px``."""
        from dialogbuild.media.chosen import open_video

        wanted = np.arange(start, stop, every)
        with open_video(self.source, self.ingest, size_px) as video:
            for tick, (_, rgb) in zip(wanted, video.frames(self.ticks["pts"][wanted].tolist()), strict=True):
                yield int(tick), rgb


def load_material(source: Path, found: dict[str, Path]) -> Material:
    """Read the artefacts of the per-video stages. Every track is a face of its own, numbered by shot, left to right."""
    tracks = read_table(found["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected", "box_px"])
    shots = read_table(found["shots"] / "shots.parquet")
    timeline = read_table(found["ingest"] / "ticks.parquet", ["tick", "frame", "pts"])
    spans = []
    for track in np.unique(tracks["track"]):
        mine = tracks["track"] == track
        ticks, box = tracks["tick"][mine], tracks["box_px"][mine]
        centre_px = float(np.median(box[:, [0, 2]]))
        spans.append((int(tracks["shot"][mine][0]), centre_px, int(track), int(ticks[0]), int(ticks[-1]) + 1))
    faces = tuple(Face(k, s, (track,), a, b) for k, (s, _, track, a, b) in enumerate(sorted(spans)))
    return Material(
        source=source,
        ingest=found["ingest"],
        video=json.loads((found["ingest"] / "video.json").read_text()),
        ticks=timeline,
        shots=np.stack([shots["start_tick"], shots["end_tick"]], axis=1),
        tracks=tracks,
        landmarks=read_table(found["landmarks"] / "landmarks.parquet", list(LANDMARK_COLUMNS)),
        panes=read_table(found["shots"] / "panes.parquet"),
        faces=faces,
        keys={name: path.name for name, path in found.items()},
        start_tick=0,
        end_tick=len(timeline["tick"]),
    )
