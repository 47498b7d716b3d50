"""shots: where the picture cuts.

reads   ingest  ticks.parquet   tick, pts, repeated; video.json
writes  shots.parquet           shot i32, start_tick i32, end_tick i32   (half-open; together they tile the video)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage
from dialogbuild.config import StageConfig
from dialogbuild.media.cuts import Detector, detect_cuts
from dialogbuild.media.reader import VideoReader
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


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Show every distinct frame, shrunk, to the detector."""
    video = json.loads((inputs["ingest"] / "video.json").read_text())
    ticks = read_table(inputs["ingest"] / "ticks.parquet")
    size_px = small_size(video["width_px"], video["height_px"], config.width_px)
    n_ticks = len(ticks["tick"])

    with VideoReader(inputs.source, video["stream"], size_px) as reader:

        def fresh() -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.uint8]]]]:
            wanted = np.flatnonzero(~ticks["repeated"])
            frames = reader.frames(ticks["pts"][wanted].tolist())
            for tick, (_, rgb) in zip(wanted.tolist(), frames, strict=True):
                yield tick, rgb
                inputs.progress(tick + 1, n_ticks)

        cuts = detect_cuts(fresh(), config.detector, config.threshold, config.min_shot_ticks)
    write_table(out / "shots.parquet", shot_table(cuts, n_ticks))


STAGE = Stage(name="shots", version=1, unit="video", config=Config, run=run, reads=("ingest",))
