"""The reader that a video is decoded with: tried once, when it is ingested, and then the same in every stage.

Readers convert colours differently (by 1 to 3 grey levels on average where chroma is subsampled), so the choice is
part of a result: ``video.json`` holds it, and every later key depends on that.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

from dialogbuild.media.backends import ReaderRefused, open_reader
from dialogbuild.media.clock import FrameTable
from dialogbuild.media.reader import FrameReader, VideoReader
from dialogbuild.tables import read_table


def choose_reader(path: Path, table: FrameTable, wanted: str, stream_index: int) -> dict[str, Any]:
    """Try a reader on a file: ``reader``, the one to use, and ``reader_refused``, why not the wanted one, or None.

    Args:
        table: all frames of the file.
        wanted: one of ``READERS``.

    Raises:
        MissingPart: its package is absent.
    """
    try:
        open_reader(path, table, wanted, stream_index).close()
    except ReaderRefused as refusal:
        return {"reader": "pyav", "reader_refused": refusal.difference}
    return {"reader": wanted, "reader_refused": None}


def open_video(path: Path, ingest: Path, size_px: tuple[int, int] | None = None) -> FrameReader:
    """Open a video as its ingest artefact says; use the result as a context manager.

    Args:
        ingest: folder with ``video.json`` and ``frames.parquet``.
        size_px: (width, height) to scale to; None = the displayed size.

    Raises:
        MissingPart: the chosen reader's package is no longer there.
        ReaderRefused: while frames are read: one of another time or size came out.
    """
    video = json.loads((ingest / "video.json").read_text())
    reader = video.get("reader", "pyav")
    if reader == "pyav":
        return VideoReader(path, video.get("stream"), size_px)
    frames = read_table(ingest / "frames.parquet", ["pts", "duration", "key"])
    table = FrameTable(frames["pts"], frames["duration"], frames["key"], Fraction(*video["time_base"]))
    return open_reader(path, table, reader, video["stream"], size_px, checked=True)
