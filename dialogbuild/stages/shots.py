"""shots: where the picture cuts, and which shots are split screens.

reads   ingest  ticks.parquet   tick, pts, repeated; video.json
writes  shots.parquet           shot i32, start_tick i32, end_tick i32   (half-open; together they tile the video)
        panes.parquet           shot i32, pane i32, box_px f32 (4: x0, y0, x1, y1), confidence f32 (``media.panes``);
                                every shot has at least one: the whole picture, where no borders were found.
                                Insets (``media.insets``) come last and lie over other panes
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.media.chosen import open_video
from dialogbuild.media.cuts import Detector, detect_cuts
from dialogbuild.media.insets import find_insets
from dialogbuild.media.panes import Pane, PaneRule, find_panes, picture_stats
from dialogbuild.tables import Columns, read_table, write_table


class Config(StageConfig):
    """How a cut is told from motion."""

    detector: Detector = Field(
        "adaptive", description="adaptive: change against its neighbours, holds in camera motion"
    )
    threshold: float = Field(
        3.0, gt=0, description="of the detector: adaptive ratio 3 (its authors' default), content 27, histogram 0.05"
    )
    min_shot_ticks: int = Field(5, ge=1, description="ticks; a nearer cut is dropped: a flash is no shot")
    width_px: int = Field(256, ge=32, le=2048, description="px; cuts are seen on frames shrunk to this width")
    panes: bool = Field(True, description="look for split screens; false = every shot is one camera's picture")
    pane_frames: int = Field(8, ge=2, le=64, description="frames per shot that borders between panes must last for")
    pane_width_px: int = Field(
        1280, ge=320, le=8192, description="px; borders are seen on frames of at most this width"
    )
    min_pane_confidence: float = Field(0.5, gt=0, lt=1, description="of a border; a doubtful one parts nothing")


def shot_table(cut_ticks: Sequence[int], n_ticks: int) -> Columns:
    """Shots that tile [0, n_ticks) from the ticks at which new ones begin.

    Raises:
        ValueError: a cut outside (0, n_ticks), or cuts that do not increase.
    """
    edges = [0, *cut_ticks, n_ticks]
    if any(b <= a for a, b in pairwise(edges)):
        raise ValueError(f"cuts must increase inside (0, {n_ticks}): {list(cut_ticks)}")
    return {
        "shot": np.arange(len(edges) - 1, dtype=np.int32),
        "start_tick": np.array(edges[:-1], dtype=np.int32),
        "end_tick": np.array(edges[1:], dtype=np.int32),
    }


def small_size(width_px: int, height_px: int, to_width_px: int) -> tuple[int, int]:
    """(width, height) shrunk to at most ``to_width_px`` wide, shape kept, at least 16 px each."""
    if width_px <= to_width_px:
        return width_px, height_px
    return to_width_px, max(16, round(height_px * to_width_px / width_px))


def pane_ticks(start_tick: int, end_tick: int, count: int) -> list[int]:
    """At most ``count`` ticks over a shot [start, end); its first and last, which may be blends, are left out."""
    inner = (start_tick + 1, end_tick - 2) if end_tick - start_tick > 4 else (start_tick, end_tick - 1)
    return np.unique(np.linspace(*inner, count).round().astype(int)).tolist()  # type: ignore[no-any-return]


def pane_table(panes: Mapping[int, Sequence[Pane]], scale: tuple[float, float]) -> Columns:
    """Columns of ``panes.parquet`` from each shot's panes, found on pictures ``scale`` (x, y) times smaller."""
    rows = [(shot, k, pane) for shot, found in panes.items() for k, pane in enumerate(found)]
    boxes = np.array([pane.box_px for _, _, pane in rows], float).reshape(-1, 4) * (*scale, *scale)
    return {
        "shot": np.array([shot for shot, _, _ in rows], np.int32),
        "pane": np.array([k for _, k, _ in rows], np.int32),
        "box_px": boxes.round().astype(np.float32),
        "confidence": np.array([pane.confidence for _, _, pane in rows], np.float32),
    }


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Show every distinct frame, shrunk, to the detector of cuts; then a few of each shot to that of panes."""
    video = json.loads((inputs["ingest"] / "video.json").read_text())
    ticks = read_table(inputs["ingest"] / "ticks.parquet")
    size_px = small_size(video["width_px"], video["height_px"], config.width_px)
    n_ticks = len(ticks["tick"])

    with open_video(inputs.source, inputs["ingest"], size_px) as reader:

        def fresh() -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.uint8]]]]:
            wanted = np.flatnonzero(~ticks["repeated"])
            frames = reader.frames(ticks["pts"][wanted].tolist())
            for tick, (_, rgb) in zip(wanted.tolist(), frames, strict=True):
                yield tick, rgb
                inputs.progress(tick + 1, n_ticks)

        cuts = detect_cuts(fresh(), config.detector, config.threshold, config.min_shot_ticks)
    shots = shot_table(cuts, n_ticks)
    write_table(out / "shots.parquet", shots)
    write_table(out / "panes.parquet", _panes(inputs, video, ticks["pts"], shots, config))


def _panes(inputs: Inputs, video: Mapping[str, Any], pts: Any, shots: Columns, config: Config) -> Columns:
    full_px = (int(video["width_px"]), int(video["height_px"]))
    if not config.panes:
        whole = [Pane((0, 0, *full_px), 0.0)]
        return pane_table({int(shot): whole for shot in shots["shot"]}, (1.0, 1.0))
    size_px = small_size(*full_px, config.pane_width_px)
    found = {}
    with open_video(inputs.source, inputs["ingest"], None if size_px == full_px else size_px) as reader:
        for shot, start, end in zip(shots["shot"], shots["start_tick"], shots["end_tick"], strict=True):
            stamps = np.unique(pts[pane_ticks(int(start), int(end), config.pane_frames)])
            stats = picture_stats(rgb for _, rgb in reader.frames(stamps.tolist()))
            panes = find_panes(stats, PaneRule(config.min_pane_confidence))
            found[int(shot)] = [*panes, *find_insets(stats, panes, config.min_pane_confidence)]
    return pane_table(found, (full_px[0] / size_px[0], full_px[1] / size_px[1]))


STAGE = Stage(name="shots", version=2, unit="video", config=Config, run=run, reads=("ingest",))
