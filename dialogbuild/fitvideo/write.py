"""What a fitted video leaves behind: two tables, one npz, a summary; and the summary as lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dialogbuild.fitvideo.measure import DOUBTFUL, VERDICTS, Fitted, has
from dialogbuild.head import PROCEDURAL
from dialogbuild.head.camera import CAM_FROM_HEAD
from dialogbuild.head.model import HeadModel
from dialogbuild.media.clock import FPS
from dialogbuild.stages import fit_flame
from dialogbuild.tables import Columns, write_table

Array = np.ndarray[Any, np.dtype[Any]]
MOTION, QUALITY, NPZ, OVERLAY, SUMMARY = "motion.parquet", "quality.parquet", "faces.npz", "overlay.mp4", "summary.json"
_ROWS = ("expr", "root_rad", "neck_rad", "jaw_rad", "eyes_rad", "lids", "transl_m")
_METHODS = {"photometric": "pixels and landmarks"}
_NO_FLAME = "not FLAME: for trying out, not for publishing"


def write_tables(out: Path, faces: Sequence[Fitted], quality: Sequence[Columns]) -> None:
    """``motion.parquet`` and ``quality.parquet``, rows by face, then tick."""
    for name, parts in ((MOTION, [f.motion for f in faces]), (QUALITY, list(quality))):
        write_table(out / name, {k: np.concatenate([part[k] for part in parts]) for k in parts[0]})


def npz_arrays(head: HeadModel, faces: Sequence[Fitted], video_sha256: str) -> dict[str, Array]:
    """The arrays of ``faces.npz``. N rows: row n is face ``face[n]`` at tick ``tick[n]``; F faces, by index.

    Per row: face, tick, src_frame (N,) i32, time_s (N,) f64; expr (N, E), root_rad, neck_rad, jaw_rad (N, 3), eyes_rad
    (N, 6: left, right), lids (N, 2), transl_m (N, 3) f32; valid, interpolated (N,) bool: fitted from what is seen;
    bridged. Rows with neither hold zeros. FLAME's ``full_pose`` is root, neck, jaw, eyes in this order, axis-angle.
    principal_px (N, 2): the principal point, which in a split picture is the pane's centre.
    Per face: shape, shape_sigma (F, S), camera (F, 5): focal_px, cx_px, cy_px (at its first tick), width_px, height_px;
    focal_sigma_px (F,).
    ``x_cam = cam_from_head @ x_flame + transl_m``: x right, y down, z forward, metres.
    One value: fps, model_id, sha256 (of the head's file), video_sha256; expr_names (E,).
    """
    motion = {
        k: np.concatenate([f.motion[k] for f in faces]) for k in ("face", "tick", "frame", *_ROWS, "cx_px", "cy_px")
    }
    names = ("focal_px", "cx_px", "cy_px", "width_px", "height_px")
    return {
        "face": motion["face"],
        "tick": motion["tick"],
        "src_frame": motion["frame"],
        "time_s": (motion["tick"] + 0.5) / float(FPS),
        **{k: motion[k] for k in _ROWS},
        "principal_px": np.stack([motion["cx_px"], motion["cy_px"]], axis=1),
        "valid": np.concatenate([has(f, fit_flame.FIT_OK) for f in faces]),
        "interpolated": np.concatenate([has(f, fit_flame.INTERPOLATED) for f in faces]),
        "shape": np.stack([f.shape for f in faces]),
        "shape_sigma": np.stack([f.shape_sigma for f in faces]),
        "camera": np.array([[getattr(f.camera, name) for name in names] for f in faces], np.float64),
        "focal_sigma_px": np.array([f.focal_sigma_px for f in faces], np.float64),
        "cam_from_head": CAM_FROM_HEAD,
        "fps": np.array(float(FPS)),
        "expr_names": np.array(head.expr_names, dtype=np.str_),
        "model_id": np.array(head.model_id),
        "sha256": np.array(head.sha256),
        "video_sha256": np.array(video_sha256),
    }


def face_record(f: Fitted, quality: Columns) -> dict[str, Any]:
    """One face in ``summary.json``."""
    verdict, reason = quality["verdict"], quality["reason"]
    fitted = has(f, fit_flame.FIT_OK)
    counts = Counter(verdict.tolist())
    doubts = Counter(reason[verdict == DOUBTFUL].tolist())
    lost = Counter(reason[~fitted].tolist())
    start, end = f.face.start_tick / float(FPS), f.face.end_tick / float(FPS)

    def median(name: str) -> float | None:
        return round(float(np.median(quality[name][fitted])), 3) if fitted.any() else None

    return {
        "face": f.face.face,
        "shot": f.face.shot,
        "start_s": round(start, 3),
        "end_s": round(end, 3),
        "seconds": round(end - start, 3),
        "frames": len(fitted),
        "fitted": int(fitted.sum()),
        "median_reproj_px": median("reproj_px"),
        "median_reproj_pct_iod": median("reproj_pct_iod"),
        "median_face_size_px": median("face_size_px"),
        "focal_px": round(f.camera.focal_px, 2),
        "focal_sigma_px": round(f.focal_sigma_px, 2),
        "verdicts": {name: counts[name] for name in VERDICTS},
        "doubts": dict(sorted(doubts.items())),
        "not_fitted": dict(sorted(lost.items())),
    }


def lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary for a terminal."""
    video, head = summary["video"], summary["head"]
    note = f" ({_NO_FLAME})" if head["model_id"] == PROCEDURAL else ""
    out = [
        f"{video['name']}: {video['seconds']:g} s, {video['width_px']}x{video['height_px']} px, "
        f"{video['shots']} shot{'s' * (video['shots'] != 1)}, {'sound' if video['sound'] else 'silent'}",
        f"head {head['model_id']}{note}; fitted to {_METHODS[summary['method']]} on {summary['device']}",
        "",
        "face   from s     to s   fitted          error             good  doubtful  bridged  none   why",
    ]
    for face in summary["faces"]:
        counts = face["verdicts"]
        why = ", ".join(f"{k} {n}" for k, n in (face["doubts"] | face["not_fitted"]).items())
        error = (
            "-"
            if face["median_reproj_px"] is None
            else f"{face['median_reproj_px']:.2f} px = {face['median_reproj_pct_iod']:.1f} %"
        )
        out.append(
            f"{face['face']:>4} {face['start_s']:>8.2f} {face['end_s']:>8.2f} "
            f"{face['fitted']:>5}/{face['frames']:<7} {error:<18} "
            f"{counts['good']:>4} {counts['doubtful']:>9} {counts['interpolated']:>8} {counts['none']:>5}   {why}"
        )
    out += ["", "error: median over frames of the mean landmark distance, px and % of the outer-eye distance"]
    out += [f"note: {text}" for text in summary["notes"]]
    return out
