"""fit_flame: head pose, expression, jaw, eyes and lids of both persons for every tick, each with its uncertainty.

reads   ingest     ticks.parquet       tick, frame, pts
        tracks     tracks.parquet      track, tick, shot, detected
        landmarks  landmarks.parquet   track, tick, lmk_px, lmk_z_px, presence, ok
        assign     track_person.parquet  track, person
        segment    clips.parquet       clip_id, start_tick, end_tick
        identity   identity.parquet    person, shape;  camera.json
writes  motion.parquet  person, tick, src_tick, frame, pts, expr (E), root_rad (3), neck_rad (3), jaw_rad (3),
                        eyes_rad (6), lids (2), transl_m (3), sigma_root_rad, sigma_transl_m, sigma_expr,
                        sigma_jaw_rad, sigma_lip_mm, reproj_px, valid (bits); every person and tick has a row
        fit.json        counts and medians per person

A sigma is the root mean square over the entries of its block; it holds the posterior, the detector's constant errors
and the focal length's share (``fit.uncertainty``). ``reproj_px`` is the mean landmark error without the
outline. The neck stays at zero: one view cannot tell it from the root, which carries the head's whole rotation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.errors import ConfigError
from dialogbuild.tables import Columns, read_table, write_table

if TYPE_CHECKING:
    from dialogbuild.fit.clip import ClipFit
    from dialogbuild.fit.evidence import Evidence

Array = np.ndarray[Any, np.dtype[Any]]
DETECTED, FIT_OK, INTERPOLATED, OCCLUDED, SYNC_OK, SHOT_BOUNDARY, LANDMARKS_OK, EYES_OK = (1 << k for k in range(8))
_EYES_CLOSED = 0.7  # lid closure from which the iris is hidden


class Config(StageConfig):
    """Which head, how evidence is weighed, and how much the trajectory is smoothed."""

    head: str = Field("procedural-v1", description="built-in model name or path; the one that stage identity used")
    expr_sigma: float | None = Field(
        None,
        gt=0,
        description="prior of an expression coefficient; none = 1 for statistical models, 0.5 for blendshapes",
    )
    independence: float = Field(
        0.15, gt=0, le=1, description="independent share of the landmarks; neighbours err together. Scales the sigmas"
    )
    student_dof: float = Field(4.0, gt=1, description="tails of the landmark error; smaller = outliers count less")
    smoothing: float = Field(1.0, gt=0, le=10, description="factor on the smoothness: steps' sigmas are divided by it")
    depth_sigma: float = Field(
        0.06, gt=0, description="sigma of a landmark depth's change / face size: weak evidence of nods, large = unused"
    )
    max_error: float = Field(0.10, gt=0, description="median landmark error / face size above which a frame has no fit")
    max_gap_ticks: int = Field(8, ge=0, description="ticks without a fit that are interpolated (0.32 s, a fast nod)")
    max_iterations: int = Field(30, ge=1, description="damped steps per frame; most need 5 to 8")


def valid_bits(fit: ClipFit, evidence: Evidence) -> Array:
    """The mask of every tick, (T,) uint32. Bits 3 (occluded) and 4 (sync_ok) belong to later stages and stay clear."""
    first = np.concatenate([[True], ~evidence.linked])
    last = np.concatenate([~evidence.linked, [True]])
    bits = np.where(evidence.box_detected, DETECTED, 0)
    bits |= np.where(fit.fit_ok, FIT_OK, 0) | np.where(fit.interpolated, INTERPOLATED, 0)
    seen = evidence.row >= 0
    bits |= np.where(seen & (first | last), SHOT_BOUNDARY, 0) | np.where(evidence.usable, LANDMARKS_OK, 0)
    bits |= np.where(fit.fit_ok & (fit.lids.max(axis=1) < _EYES_CLOSED), EYES_OK, 0)
    return np.asarray(bits, np.uint32)


def motion_columns(fit: ClipFit, evidence: Evidence, person: int, ticks: Columns) -> Columns:
    """One person's rows. ``ticks`` has tick, frame and pts of the clip's ticks."""
    n = len(fit.theta)

    def block(a: int, b: int) -> Array:
        return np.asarray(fit.theta[:, a:b], np.float32)

    def rms(a: int, b: int) -> Array:
        return np.asarray(np.sqrt((fit.sigma[:, a:b] ** 2).mean(axis=1)), np.float32)

    return {
        "person": np.full(n, person, np.int32),
        "tick": np.arange(n, dtype=np.int32),
        "src_tick": ticks["tick"].astype(np.int32),
        "frame": ticks["frame"].astype(np.int32),
        "pts": ticks["pts"].astype(np.int64),
        "expr": block(18, fit.theta.shape[1]),
        "root_rad": block(0, 3),
        "neck_rad": block(6, 9),
        "jaw_rad": block(9, 12),
        "eyes_rad": block(12, 18),
        "lids": fit.lids.astype(np.float32),
        "transl_m": block(3, 6),
        "sigma_root_rad": rms(0, 3),
        "sigma_transl_m": rms(3, 6),
        "sigma_expr": rms(18, fit.theta.shape[1]),
        "sigma_jaw_rad": rms(9, 12),
        "sigma_lip_mm": fit.sigma_lip_mm.astype(np.float32),
        "reproj_px": fit.error_px.astype(np.float32),
        "valid": valid_bits(fit, evidence),
    }


def summary(fit: ClipFit) -> dict[str, Any]:
    """Counts and medians of one person, for ``fit.json``."""
    ok = fit.fit_ok
    return {
        "n_ticks": len(ok),
        "n_fit_ok": int(ok.sum()),
        "n_interpolated": int(fit.interpolated.sum()),
        "n_restarted": int(fit.restarted.sum()),
        "median_reproj_px": round(float(np.median(fit.error_px[ok])), 4) if ok.any() else None,
        "mean_iterations": round(float(fit.iterations[ok].mean()), 3) if ok.any() else None,
    }


def model_files(config: Config) -> Sequence[Path]:
    """What the head is made of."""
    from dialogbuild.head import head_files

    return head_files(config.head)


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Fit each person of the clip and write a row for every tick."""
    from dataclasses import replace

    from dialogbuild.fit.clip import ClipOptions, fit_clip
    from dialogbuild.fit.evidence import LANDMARK_COLUMNS, gather
    from dialogbuild.fit.gauss_newton import SolverOptions
    from dialogbuild.fit.normal import Robust
    from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
    from dialogbuild.fit.regions import LandmarkNoise
    from dialogbuild.fit.rig import model_rig
    from dialogbuild.fit.smoother import WalkSigmas, walk_sigma
    from dialogbuild.fit.uncertainty import DetectorBias, with_systematic
    from dialogbuild.head import load_head

    camera = json.loads((inputs["identity"] / "camera.json").read_text())
    head = load_head(config.head)
    if head.sha256 != camera["head_sha256"]:
        raise ConfigError(
            f"fit_flame.head is {head.model_id}, but the identity was solved with {camera['model_id']}: "
            "give both stages the same head"
        )
    clips = read_table(inputs["segment"] / "clips.parquet")
    start, end = _clip_range(clips, inputs.item)
    tracks = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected"])
    landmarks = read_table(inputs["landmarks"] / "landmarks.parquet", list(LANDMARK_COLUMNS))
    track_person = read_table(inputs["assign"] / "track_person.parquet")
    ticks = {k: v[start:end] for k, v in read_table(inputs["ingest"] / "ticks.parquet").items()}
    identity = read_table(inputs["identity"] / "identity.parquet")
    layout = ParamLayout(head.n_expr)
    prior = make_prior(layout, head, PriorSigmas(expr=config.expr_sigma))
    walk = walk_sigma(layout, WalkSigmas(), head.lid_expr) / config.smoothing
    options = ClipOptions(
        noise=replace(LandmarkNoise(), independence=config.independence),
        robust=Robust("student", config.student_dof),
        solver=SolverOptions(max_iterations=config.max_iterations),
        max_error=config.max_error,
        max_gap=config.max_gap_ticks,
        depth_sigma=config.depth_sigma,
    )
    rig, view = model_rig(head), (camera["focal_px"], camera["cx_px"], camera["cy_px"])
    parts, report = [], {}
    for done, (person, shape) in enumerate(zip(identity["person"], identity["shape"], strict=True)):
        evidence = gather(tracks, landmarks, track_person, int(person), start, end)
        fit = fit_clip(rig.with_shape(shape), prior, view, evidence, walk, head.lid_expr, options)
        fit = with_systematic(fit, DetectorBias(), camera["focal_sigma_px"] / camera["focal_px"])
        parts.append(motion_columns(fit, evidence, int(person), ticks))
        report[str(person)] = summary(fit)
        inputs.progress(done + 1, len(identity["person"]))
    write_table(out / "motion.parquet", {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    write_json(out / "fit.json", {"model_id": head.model_id, "persons": report})


def _clip_range(clips: Columns, clip_id: str) -> tuple[int, int]:
    at = np.flatnonzero(clips["clip_id"] == clip_id)
    if len(at) != 1:
        raise ValueError(f"clips.parquet has {len(at)} rows for {clip_id}")
    return int(clips["start_tick"][at[0]]), int(clips["end_tick"][at[0]])


STAGE = Stage(
    name="fit_flame",
    version=2,
    unit="clip",
    config=Config,
    run=run,
    reads=("ingest", "tracks", "landmarks", "assign", "segment", "identity"),
    models=model_files,
)
