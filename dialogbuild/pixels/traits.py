"""What lasts about the face of every track: head shape from landmarks, colours, and with a network its embedding."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dialogbuild.artifact import Inputs
from dialogbuild.dialogue.facedata import FaceRows
from dialogbuild.dialogue.likeness import Traits
from dialogbuild.faces.panes import camera_scale, track_views
from dialogbuild.media.chosen import open_video
from dialogbuild.media.reader import FrameReader
from dialogbuild.tables import Columns, read_table

if TYPE_CHECKING:
    from dialogbuild.faces.recognition import FaceEmbedder

Array = np.ndarray[Any, np.dtype[Any]]
_EMBEDDED = 5  # pictures per track


def read_traits(inputs: Inputs, rows: FaceRows, weights: str | None) -> dict[int, Traits]:
    """The traits of all tracks from the artefacts of ingest, shots and tracks.

    Args:
        weights: ONNX file of a face-recognition network, or None.

    Raises:
        MissingPart: ``weights`` are given, but onnxruntime is not installed.
        ConfigError: the file holds no face-recognition network.
    """
    network = None
    if weights is not None:
        from dialogbuild.faces.recognition import FaceEmbedder

        network = FaceEmbedder(weights)
    video = json.loads((inputs["ingest"] / "video.json").read_text())
    size = (int(video["width_px"]), int(video["height_px"]))
    tracks = read_table(inputs["tracks"] / "tracks.parquet", ["track", "shot", "box_px"])
    listed = read_table(inputs["tracks"] / "track_list.parquet", ["track", "look"])
    looks = dict(zip(listed["track"].tolist(), listed["look"], strict=True))
    traits = track_traits(rows, tracks, read_table(inputs["shots"] / "panes.parquet"), looks, size)
    if network is None:
        return traits
    pts = read_table(inputs["ingest"] / "ticks.parquet", ["pts"])["pts"]
    with open_video(inputs.source, inputs["ingest"]) as pictures:
        found = track_embeddings(pictures, pts, rows, network, inputs.progress)
    return {track: replace(own, embedding=found.get(track)) for track, own in traits.items()}


def track_traits(
    rows: FaceRows, tracks: Columns, panes: Columns, looks: Mapping[int, Array], image_px: tuple[int, int]
) -> dict[int, Traits]:
    """Head shape and colours of each track that has landmarks; 0.4 s per track.

    Args:
        tracks: ``track``, ``shot``, ``box_px`` (N, 4), the rows of ``rows``.
        panes: ``shot``, ``box_px`` (K, 4); each pane has a principal point of its own.
        looks: (72,) by track.
        image_px: width and height of the picture.
    """
    from dialogbuild.fit.trackshape import ShapeFitter

    fitter = ShapeFitter()
    _, pane_px = track_views(tracks, panes, image_px)
    out = {}
    for track in np.unique(rows.track[rows.sample_row]).tolist():
        mine = np.flatnonzero(rows.track[rows.sample_row] == track)
        boxes = pane_px[rows.sample_row[mine]]
        # landmarks in the picture of the pane's own camera, its centre being that of the pane
        size = np.asarray(image_px) * float(np.median(camera_scale(boxes, image_px)))
        centre = 0.5 * (boxes[:, None, :2] + boxes[:, None, 2:])
        found = fitter(rows.sample_px[mine] - centre + 0.5 * size, (float(size[0]), float(size[1])))
        shape, sigma = found if found is not None else (None, None)
        out[track] = Traits(shape, sigma, looks.get(track))
    return out


def track_embeddings(
    video: FrameReader,
    pts: Array,
    rows: FaceRows,
    network: FaceEmbedder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[int, Array]:
    """Unit mean of the embeddings of each track's most frontal faces, (512,) by track.

    Args:
        pts: (T,) presentation stamp of each tick's picture.

    Raises:
        LookupError: a tick's picture is not in the video.
        ConfigError: what the network gives is no embedding.
    """
    wanted: dict[int, list[int]] = {}
    for track in np.unique(rows.track[rows.sample_row]).tolist():
        mine = np.flatnonzero(rows.track[rows.sample_row] == track)
        frontal = mine[np.argsort(np.abs(rows.facing[rows.sample_row[mine]]), kind="stable")[:_EMBEDDED]]
        for sample in frontal.tolist():
            wanted.setdefault(int(rows.tick[rows.sample_row[sample]]), []).append(sample)
    ticks = sorted(wanted)
    sums: dict[int, Array] = {}
    for done, (tick, (_, rgb)) in enumerate(zip(ticks, video.frames(pts[ticks].tolist()), strict=True)):
        for sample in wanted[tick]:
            track = int(rows.track[rows.sample_row[sample]])
            sums[track] = sums.get(track, 0.0) + network(rgb, rows.sample_px[sample])
        progress(done + 1, len(ticks))
    return {track: total / max(float(np.linalg.norm(total)), 1e-9) for track, total in sums.items()}
