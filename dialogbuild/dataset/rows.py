"""One clip's rows, from the stages' tables: pure functions on arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset import crop
from dialogbuild.dataset.schema import (
    AUDIO_RATE_HZ,
    DEPTH_STEP_PX,
    LANDMARK_STEP_PX,
    MASK_BYTES,
    MASK_PARTS_BYTES,
    MOTION,
    QUALITY,
    ROLES,
    SAMPLES_PER_TICK,
    TICK_HZ,
    VALID_BITS,
    VIDEOS,
)
from dialogbuild.errors import DatasetError

Array = NDArray[Any]
Columns = Mapping[str, Array]


def source_rows(tracks: Columns, track_person: Columns, person: int, start: int, stop: int) -> NDArray[np.int64]:
    """For each tick of [start, stop) the row of ``tracks`` that shows a person, or -1. (T,) int64.

    Where two tracks of one person overlap the higher score wins, then the lower row.
    """
    own = track_person["track"][track_person["person"] == person]
    at = np.flatnonzero(np.isin(tracks["track"], own) & (tracks["tick"] >= start) & (tracks["tick"] < stop))
    worst_first = at[np.lexsort((-at, tracks["score"][at]))]
    rows = np.full(stop - start, -1, np.int64)
    rows[tracks["tick"][worst_first] - start] = worst_first
    return rows


def motion_columns(motion: Columns, states: Columns, track_id: str, person: int) -> dict[str, Array]:
    """The motion family of one person: the fit's columns plus who speaks. All columns have T rows.

    Args:
        motion: fit_flame's rows of this person, sorted by tick.
        states: assign's rows of the clip's ticks, one per tick.

    Raises:
        DatasetError: the fit does not have one row per tick of the clip.
    """
    n = len(states["tick"])
    if not np.array_equal(motion["tick"], np.arange(n)) or not np.array_equal(motion["src_tick"], states["tick"]):
        raise DatasetError(f"{track_id}: fit_flame has {len(motion['tick'])} rows, the clip has {n} ticks")
    said_elsewhere = ("track_id", "state", "p_speak", "p_overlap")
    taken = [c.name for c in MOTION.columns if c.name not in said_elsewhere]
    return {
        "track_id": np.full(n, track_id, object),
        **{name: motion[name] for name in taken},
        "state": states["state"],
        "p_speak": np.clip(states[f"p_speak_{person}"], 0, 1),
        "p_overlap": np.clip(states["p_overlap"], 0, 1),
    }


def landmark_columns(
    tracks: Columns, landmarks: Columns, rows: NDArray[np.int64], track_id: str, margin: float, smooth_s: float
) -> dict[str, Array]:
    """The landmarks family of one person, unseen ticks neutral. All columns have T rows.

    Args:
        tracks, landmarks: the stages' tables, row by row of the same faces.
        rows: (T,) from ``source_rows``.
        margin, smooth_s: see ``crop.steady_windows``.
    """
    seen = rows >= 0
    ok = seen & landmarks["ok"][rows]

    def pick(values: Array, where: Array) -> Array:
        return np.where(where[:, None] if values.ndim == 2 else where, values[rows], 0).astype(np.float32)

    box = pick(tracks["box_px"], seen)
    windows = crop.steady_windows(box, seen, tracks["track"][rows], margin, smooth_s, TICK_HZ)

    def bits(name: str, size: int) -> Array:
        empty = bytes(size)
        values = [bytes(landmarks[name][r]) if good else empty for r, good in zip(rows, ok, strict=True)]
        return np.array(values, object)

    return {
        "track_id": np.full(len(rows), track_id, object),
        "tick": np.arange(len(rows), dtype=np.int32),
        "box_px": box,
        "lmk_px": _rounded(pick(landmarks["lmk_px"], ok), LANDMARK_STEP_PX),
        "lmk_z_px": _rounded(pick(landmarks["lmk_z_px"], ok), DEPTH_STEP_PX),
        "presence": np.clip(pick(landmarks["presence"], seen), 0, 1),
        "crop_m": crop.crop_matrices(windows).reshape(-1, 6),
        "crop_ok": seen,
        "mask_box_px": pick(landmarks["crop_px"], ok),
        "mask_bits": bits("mask_bits", MASK_BYTES),
        "mask_parts": bits("mask_parts", MASK_PARTS_BYTES),
        "occluded": np.clip(pick(landmarks["occluded"], ok), 0, 1),
    }


def _rounded(values: Array, step: float) -> NDArray[np.float32]:
    """Multiples of ``step``, a power of two: exact in float32, and noise below it no longer costs bytes."""
    return np.asarray(np.round(values / step) * step, np.float32)


def quality_columns(quality: Columns, motion: Columns, track_id: str) -> dict[str, Array]:
    """The quality family of one person: the quality stage's numbers and what the fit says of itself. T rows each."""
    names = [c.name for c in QUALITY.columns if c.name not in ("track_id", "tick")]
    return {
        "track_id": np.full(len(motion["tick"]), track_id, object),
        "tick": motion["tick"],
        **{name: (quality if name in quality else motion)[name] for name in names},
    }


def turn_rows(turns: Columns, clip_id: str, start: int, stop: int) -> list[dict[str, Any]]:
    """The turns that touch ticks [start, stop) of the video, cut to the clip and counted from its start."""
    n = stop - start
    out: list[dict[str, Any]] = []
    order = np.lexsort((turns["person"], turns["end_tick"], turns["start_tick"]))
    for i in order:
        first, last = int(turns["start_tick"][i]) - start, int(turns["end_tick"][i]) - start
        sample = [round(float(turns[k][i]) * AUDIO_RATE_HZ) - start * SAMPLES_PER_TICK for k in ("start_s", "end_s")]
        inside = (max(first, 0), min(last, n), max(sample[0], 0), min(sample[1], n * SAMPLES_PER_TICK))
        if inside[1] <= inside[0] or inside[3] <= inside[2]:
            continue
        person = int(turns["person"][i])
        out.append(
            {
                "conversation_id": clip_id,
                "turn": len(out),
                "track_id": track_name(clip_id, person),
                "person": person,
                "start_tick": inside[0],
                "end_tick": inside[1],
                "start_sample": inside[2],
                "end_sample": inside[3],
                "kind": str(turns["kind"][i]),
                "gap_s": float(np.float32(turns["gap_s"][i])),
                "confidence": float(np.clip(turns["confidence"][i], 0, 1)),
                "clipped": first < 0 or last > n,
            }
        )
    return out


def conversation_row(
    video_id: str,
    clip_id: str,
    span: tuple[int, int],
    n_shots: int,
    pts: Array,
    states: Columns,
    turns: list[dict[str, Any]],
    offset: Mapping[str, float],
) -> dict[str, Any]:
    """The conversation's row without its split; speaking times are counted from the clip's states.

    Args:
        pts: (T,). offset: the three ``av_offset_`` columns.
    """
    state = states["state"]
    return {
        "conversation_id": clip_id,
        "video_id": video_id,
        "start_tick": span[0],
        "end_tick": span[1],
        "n_ticks": span[1] - span[0],
        "first_pts": int(pts[0]),
        "last_pts": int(pts[-1]),
        "n_shots": n_shots,
        "speak_s_0": float(np.isin(state, (1, 3)).sum() / TICK_HZ),
        "speak_s_1": float(np.isin(state, (2, 3)).sum() / TICK_HZ),
        "overlap_s": float((state == 3).sum() / TICK_HZ),
        "silence_s": float((state == 0).sum() / TICK_HZ),
        "n_turns": sum(t["kind"] == "turn" for t in turns),
        "n_backchannels": sum(t["kind"] == "backchannel" for t in turns),
        **offset,
    }


def video_row(video: Mapping[str, Any]) -> dict[str, Any]:
    """The video's row without its rights, from ingest's ``video.json``."""
    added = ("tb_num", "tb_den", "licence", "consent_ref")
    taken = [c.name for c in VIDEOS.columns if c.name not in added]
    num, den = video["time_base"]
    return {**{name: video[name] for name in taken}, "tb_num": num, "tb_den": den}


def track_row(
    clip_id: str,
    video_id: str,
    person: int,
    side: str,
    camera: Mapping[str, Any],
    motion: Columns,
    sound: Mapping[str, Any],
) -> dict[str, Any]:
    """The track's row without files and offsets.

    Args:
        motion: the motion family's rows. sound: audio_method, bleed_db and bleed_corr.
    """
    intrinsics = ("focal_px", "focal_sigma_px", "width_px", "height_px")
    fit_ok = bit(motion["valid"], "fit_ok")
    return {
        "track_id": track_name(clip_id, person),
        "conversation_id": clip_id,
        "identity_id": identity_name(video_id, person),
        "person": person,
        "role": ROLES[person],
        "side": side,
        **{name: camera[name] for name in intrinsics},
        **dict(zip(("cx_px", "cy_px"), usual_centre_px(motion, camera, fit_ok), strict=True)),
        "n_rows": len(fit_ok),
        "valid_frac": float(fit_ok.mean()),
        **sound,
    }


def usual_centre_px(motion: Columns, camera: Mapping[str, Any], fit_ok: Array) -> tuple[float, float]:
    """The principal point of most fitted rows (of most rows, where none is fitted)."""
    centre = principal_px(motion, camera)
    values, counts = np.unique(centre[fit_ok] if fit_ok.any() else centre, axis=0, return_counts=True)
    x, y = values[counts.argmax()]
    return float(x), float(y)


def principal_px(motion: Columns, track: Mapping[str, Any]) -> NDArray[np.float32]:
    """Principal point of each row, (T, 2) px. Datasets before 1.3.0 have one for the track, in its row."""
    if "cx_px" in motion:
        return np.stack([motion["cx_px"], motion["cy_px"]], axis=1)
    n = len(motion["tick"])
    return np.repeat(np.array([[track["cx_px"], track["cy_px"]]], np.float32), n, axis=0)


def track_name(clip_id: str, person: int) -> str:
    """Id of one person's stream in one clip."""
    return f"{clip_id}_p{person}"


def identity_name(video_id: str, person: int) -> str:
    """Id of one person of one video."""
    return f"{video_id}_p{person}"


def bit(valid: Array, name: str) -> NDArray[np.bool_]:
    """One bit of the ``valid`` mask, by its name in the schema. (T,) uint32 -> (T,) bool."""
    return np.asarray((valid >> VALID_BITS[name]) & 1, bool)


def with_sync(valid: Array, is_ok: bool) -> NDArray[np.uint32]:
    """The mask with ``sync_ok`` set or cleared on every row that says anything. (T,) uint32."""
    flag = np.uint32(1 << VALID_BITS["sync_ok"])
    cleared = valid & ~flag
    return np.asarray(np.where(cleared > 0, cleared | flag, cleared) if is_ok else cleared, np.uint32)
