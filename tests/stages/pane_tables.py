"""The table of panes as stage shots writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dialogbuild.media.panes import Pane
from dialogbuild.stages.shots import pane_table
from dialogbuild.tables import write_table


def write_panes(folder: Path, boxes: Sequence[tuple[int, int, int, int]], shots: int = 1) -> None:
    """``panes.parquet`` with the same panes in every shot."""
    found = {shot: [Pane(box, 0.9) for box in boxes] for shot in range(shots)}
    write_table(folder / "panes.parquet", pane_table(found, (1.0, 1.0)))
