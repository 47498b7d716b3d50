"""What the tables of tracks and landmarks say about each face, read in pieces so that long videos fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dialogbuild.dialogue import lips
from dialogbuild.dialogue.likeness import Traits
from dialogbuild.dialogue.lipmodel import LIP_PRIOR, lip_llr
from dialogbuild.dialogue.pcm import Array
from dialogbuild.dialogue.persons import Face, facing
from dialogbuild.faces import liveness
from dialogbuild.tables import Columns, from_arrow

_SAMPLES = 48  # rows per track whose whole mesh is kept, for its head shape
_STILL_LIPS_NATS = 1.5  # silence proves less than speech: a stranger who is cut to listens as a partner does


@dataclass(frozen=True, eq=False)
class FaceRows:
    """One row per (track, tick): what is needed of the landmarks."""

    track: Array  # (N,) int
    tick: Array  # (N,) int
    ok: Array  # (N,) bool
    aperture: Array  # (N,) face heights, NaN where not ok
    facing: Array  # (N,) -1..1
    points_px: Array  # (N, 16, 2) float32, ``liveness.POINTS``
    sample_px: Array  # (M, 478, 2) float32, the mesh of up to 48 ok rows per track, evenly spread
    sample_row: Array  # (M,) which rows those are


def read_faces(path: Path) -> FaceRows:
    """Read ``landmarks.parquet`` once, keeping a few numbers per row and a few whole meshes per track."""
    sampled = _sampled(from_arrow(pq.read_table(path, columns=["track"]).column("track")))
    parts: list[tuple[Array, ...]] = []
    offset = 0
    for batch in _batches(path, ["track", "tick", "ok", "lmk_px"]):
        ok = batch["ok"].astype(bool)
        mesh = batch["lmk_px"].reshape(-1, 478, 2)
        aperture = np.where(ok, lips.lip_aperture(mesh), np.nan)
        some = np.flatnonzero(ok & sampled[offset : offset + len(ok)])
        points = mesh[:, liveness.POINTS].astype(np.float32)
        parts.append((batch["track"], batch["tick"], ok, aperture, facing(mesh), points, mesh[some], some + offset))
        offset += len(ok)
    return FaceRows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _sampled(track: Array) -> Array:
    """Up to ``_SAMPLES`` rows of each track, evenly spread. (N,) -> (N,) bool."""
    chosen = np.zeros(len(track), bool)
    for one in np.unique(track):
        mine = np.flatnonzero(track == one)
        chosen[mine[:: -(-len(mine) // _SAMPLES)]] = True
    return chosen


def _batches(path: Path, names: list[str]) -> Iterator[Columns]:
    file = pq.ParquetFile(path, page_checksum_verification=True)
    for batch in file.iter_batches(batch_size=2048, columns=names):
        table = pa.Table.from_batches([batch])
        yield {name: from_arrow(table.column(name)) for name in names}


def make_faces(
    rows: FaceRows,
    box_px: Array,
    shot: Array,
    p_speech: Array,
    voice_llr: Array,
    fps: float,
    traits: Mapping[int, Traits] | None = None,
) -> tuple[list[Face], dict[int, Array]]:
    """Faces for linking, and each track's lip motion on the tick grid (T,), NaN where unseen.

    Tracks without one good landmark row are left out.

    Args:
        box_px: (N, 4) x0, y0, x1, y1; same rows as ``rows``, as is ``shot`` (N,).
        traits: of each track, as far as they are known.
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
    voices = voice_log_odds(motions, p_speech, voice_llr, fps)
    pictures = _pictures(rows, spans, box_px, shot, fps)
    faces = []
    for track, mine in spans.items():
        x0, y0, x1, y1 = box_px[mine].astype(np.float64).T
        faces.append(
            Face(
                track=track,
                shot=int(shot[mine[0]]),
                ticks=rows.tick[mine].astype(np.int64),
                x_px=0.5 * (x0 + x1),
                y_px=0.5 * (y0 + y1),
                size_px=np.maximum(x1 - x0, y1 - y0),
                facing=float(np.median(rows.facing[mine][rows.ok[mine]])),
                voice_nats=voices[track],
                traits=(traits or {}).get(track, Traits()),
                shown=pictures.get(track, ""),
            )
        )
    return faces, motions


def _pictures(rows: FaceRows, spans: Mapping[int, Array], box_px: Array, shot: Array, fps: float) -> dict[int, str]:
    """Tracks that show a picture of a face ("photo"), or for a second time somebody who is in view ("inset")."""
    found: dict[int, str] = {}
    size = {track: float(np.median((box_px[mine, 2:] - box_px[mine, :2]).max(axis=1))) for track, mine in spans.items()}
    good = {track: mine[rows.ok[mine]] for track, mine in spans.items()}
    for track, mine in good.items():
        if liveness.is_photograph(rows.points_px[mine], size[track], fps):
            found[track] = "photo"
    for a, b in combinations(spans, 2):
        if shot[spans[a][0]] != shot[spans[b][0]] or a in found or b in found:
            continue
        _, i, j = np.intersect1d(rows.tick[good[a]], rows.tick[good[b]], assume_unique=True, return_indices=True)
        if liveness.moves_alike(rows.points_px[good[a][i]], rows.points_px[good[b][j]], fps):
            found[min((a, b), key=lambda track: (size[track], -track))] = "inset"
    return found


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
        heard = share * p_speech * voice_llr
        silent = float(np.sum(np.minimum(lead, 0.0) * heard))
        odds[track] = float(np.sum(np.maximum(lead, 0.0) * heard)) + float(
            np.clip(silent, -_STILL_LIPS_NATS, _STILL_LIPS_NATS)
        )
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
