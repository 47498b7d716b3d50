"""What the tables of tracks and landmarks say about each face, read in pieces so that long videos fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.dialogue import lips
from dialogbuild.dialogue.faceshape import mean_shapes, rigid_points
from dialogbuild.dialogue.lipmodel import LIP_PRIOR, lip_llr
from dialogbuild.dialogue.pcm import Array
from dialogbuild.dialogue.persons import Face, facing
from dialogbuild.tables import Columns, from_arrow

_SHAPE_EVERY = 8  # ticks between the samples that a track's mean shape is made of


@dataclass(frozen=True, eq=False)
class FaceRows:
    """One row per (track, tick): what is needed of the landmarks."""

    track: Array  # (N,) int
    tick: Array  # (N,) int
    ok: Array  # (N,) bool
    aperture: Array  # (N,) face heights, NaN where not ok
    facing: Array  # (N,) -1..1
    rigid: Array  # (N // 8, 26, 3) rigid points of every 8th ok row
    rigid_row: Array  # (N // 8,) which rows those are


def read_faces(path: Path) -> FaceRows:
    """Read ``landmarks.parquet`` once, keeping a few numbers per row."""
    parts: list[tuple[Array, ...]] = []
    offset = 0
    for batch in _batches(path, ["track", "tick", "ok", "lmk_px", "lmk_z_px"]):
        ok = batch["ok"].astype(bool)
        points = batch["lmk_px"].reshape(-1, 478, 2)
        aperture = np.where(ok, lips.lip_aperture(points), np.nan)
        some = np.flatnonzero(ok)[::_SHAPE_EVERY]
        rigid = rigid_points(points[some], batch["lmk_z_px"][some])
        parts.append((batch["track"], batch["tick"], ok, aperture, facing(points), rigid, some + offset))
        offset += len(ok)
    return FaceRows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _batches(path: Path, names: list[str]) -> Iterator[Columns]:
    file = pq.ParquetFile(path, page_checksum_verification=True)
    for batch in file.iter_batches(batch_size=2048, columns=names):
        table = pa.Table.from_batches([batch])
        yield {name: from_arrow(table.column(name)) for name in names}


def make_faces(
    rows: FaceRows, box_px: Array, shot: Array, p_speech: Array, voice_llr: Array, fps: float
) -> tuple[list[Face], dict[int, Array]]:
    """Faces for linking, and each track's lip motion on the tick grid (T,), NaN where unseen.

    Tracks without one good landmark row are left out.

    Args:
        box_px: (N, 4) x0, y0, x1, y1; same rows as ``rows``, as is ``shot`` (N,).
    """
    n_ticks = len(p_speech)
    motions: dict[int, Array] = {}
    spans: dict[int, Array] = {}
    for track in np.unique(rows.track).tolist():
        mine = np.flatnonzero(rows.track == track)
        if not rows.ok[mine].any():
            continue
        aperture = np.full(n_ticks, np.nan)
        aperture[rows.tick[mine]] = rows.aperture[mine]
        motions[track], spans[track] = lips.lip_motion(aperture, fps), mine
    shapes = _shapes(rows, list(spans))
    voices = voice_log_odds(motions, p_speech, voice_llr, fps)
    faces = []
    for track, mine in spans.items():
        x0, y0, x1, y1 = box_px[mine].astype(np.float64).T
        faces.append(
            Face(
                track=track,
                shot=int(shot[mine[0]]),
                ticks=rows.tick[mine].astype(np.int64),
                x_px=0.5 * (x0 + x1),
                size_px=np.maximum(x1 - x0, y1 - y0),
                shape=shapes[track],
                facing=float(np.median(rows.facing[mine][rows.ok[mine]])),
                voice_nats=voices[track],
            )
        )
    return faces, motions


def voice_log_odds(motions: dict[int, Array], p_speech: Array, voice_llr: Array, fps: float) -> dict[int, float]:
    """Per track, nats for its owner having voice 0 rather than 1: the voice heard while these lips move.

    While others are on screen the lips compete with theirs; alone, still lips mean that the other one speaks.
    """
    if not motions:
        return {}
    stack = np.stack([motions[track] for track in motions])  # (K, T)
    pair = np.repeat(stack[:, :, None], 2, axis=2).reshape(-1, 2)
    speaking = (1.0 / (1.0 + np.exp(-lip_llr(pair, LIP_PRIOR)[:, 0]))).reshape(stack.shape)
    seen = np.isfinite(stack)
    count = seen.sum(axis=0)
    total = np.where(seen, speaking, 0.0).sum(axis=0)
    share = 2.5 / fps  # a 1.6 s voice window; a syllable's worth of lips: one independent value every 0.4 s
    odds = {}
    for k, track in enumerate(motions):
        others = np.where(count > 1, (total - speaking[k]) / np.maximum(count - 1, 1), 0.5)
        lead = np.where(seen[k], speaking[k] - others, 0.0)
        odds[track] = float(share * np.sum(lead * p_speech * voice_llr))
    return odds


def by_person(labels: dict[int, int], motions: dict[int, Array], rows: FaceRows, n_ticks: int) -> tuple[Array, Array]:
    """Lip motion (T, 2), NaN unseen, and whether the face is seen (T, 2) bool, of persons 0 and 1."""
    motion, seen = np.full((n_ticks, 2), np.nan), np.zeros((n_ticks, 2), dtype=bool)
    for track, person in sorted(labels.items()):
        if person not in (0, 1):
            continue
        here = np.isfinite(motions[track])
        motion[here, person] = motions[track][here]
        seen[rows.tick[(rows.track == track) & rows.ok], person] = True
    return motion, seen


def _shapes(rows: FaceRows, tracks: list[int]) -> dict[int, Array]:
    owner = rows.track[rows.rigid_row]
    have = [track for track in tracks if (owner == track).any()]
    means = mean_shapes([rows.rigid[owner == track] for track in have]) if have else np.zeros((0, 26, 3))
    found = dict(zip(have, means, strict=True))
    blank = means.mean(axis=0) if have else np.zeros((26, 3))  # too short to sample: an average face, no evidence
    return {track: found.get(track, blank) for track in tracks}
