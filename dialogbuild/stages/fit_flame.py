"""fit_flame: head pose, expression, jaw, eyes and lids of both persons for every tick, each with its uncertainty.

With ``photometric`` the head is fitted to the picture's pixels and to the landmarks together, else to landmarks alone.

reads   ingest     ticks.parquet       tick, frame, pts;  video.json;  pictures from the source
        shots      panes.parquet       shot, box_px
        tracks     tracks.parquet      track, tick, shot, detected, box_px
        landmarks  landmarks.parquet   track, tick, lmk_px, lmk_z_px, presence, ok, crop_px, mask_parts
        assign     track_person.parquet  track, person
        segment    clips.parquet       clip_id, start_tick, end_tick
        identity   identity.parquet    person, shape;  camera.json;  look.npz if its method is photometric
writes  motion.parquet  person, tick, src_tick, frame, pts, expr (E), root_rad (3), neck_rad (3), jaw_rad (3),
                        eyes_rad (6), lids (2), transl_m (3), sigma_root_rad, sigma_transl_m, sigma_expr,
                        sigma_jaw_rad, sigma_eyes_rad, sigma_lip_mm, sigma_lid_mm, sigma_face_mm, reproj_px,
                        colour_l1, colour_psnr_db, visible_frac, iterations, fit_reason
                        (``dataset.schema.FIT_REASONS``), cx_px, cy_px (principal point), valid (bits); every person
                        and tick has a row
        fit.json        method and its reason; per person counts, medians and the share of ticks by reason

A sigma is the root mean square over the entries of its block (of the eyes: pitch and yaw); it holds the posterior, the
detector's constant errors, the focal length's share (``fit.uncertainty``) and a pane's centre's (``fit.view``).
``reproj_px`` is the mean landmark error without the outline. Colours are compared over the visible skin in display
units (0 to 1), before smoothing; where pixels were tried and given up (``fit_reason``) the numbers are those of the
attempt. The neck stays at zero: one view cannot tell it from the root, which carries the head's whole rotation. In a
split picture everyone has a camera of their own, whose principal point is the pane's centre: ``transl_m`` and
``root_rad`` are in that camera's axes (``fit.view``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Progress, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.dataset.schema import FIT_REASONS
from dialogbuild.errors import ConfigError
from dialogbuild.tables import Columns, read_table, write_table

if TYPE_CHECKING:
    from dialogbuild.fit.clip import ClipFit, ClipOptions
    from dialogbuild.fit.evidence import Evidence
    from dialogbuild.fit.track import TrackFit, TrackOptions
    from dialogbuild.fit.view import View
    from dialogbuild.head.model import HeadModel

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
    photometric: bool = Field(
        True, description="fit to pixels too, if stage identity learned the people's looks; false = landmarks alone"
    )
    pixel_sigma: float = Field(
        0.02, gt=0, description="a skin pixel's deviation from its predicted colour, 0-1; larger = landmarks count more"
    )
    pixel_independence: float = Field(
        0.1, gt=0, le=1, description="independent share of the pixels; neighbours err together. Scales the sigmas"
    )
    min_visible_frac: float = Field(
        0.12, ge=0, le=1, description="share of a face's points; a tick that shows fewer is fitted to landmarks alone"
    )
    max_occluded_frac: float = Field(
        0.35, ge=0, le=1, description="share of visible skin far off its colour; above, a tick counts as occluded"
    )
    max_colour_error: float = Field(
        0.10, gt=0, le=1, description="mean colour error, 0-1, above which a tick's pixels are not believed"
    )


def valid_bits(fit: ClipFit, evidence: Evidence, occluded: Array | None = None) -> Array:
    """The mask of every tick, (T,) uint32; ``occluded`` (T,) bool. Bit 4 (sync_ok) is for later stages."""
    first = np.concatenate([[True], ~evidence.linked])
    last = np.concatenate([~evidence.linked, [True]])
    bits = np.where(evidence.box_detected, DETECTED, 0)
    bits |= np.where(fit.fit_ok, FIT_OK, 0) | np.where(fit.interpolated, INTERPOLATED, 0)
    seen = evidence.row >= 0
    bits |= np.where(seen & (first | last), SHOT_BOUNDARY, 0) | np.where(evidence.usable, LANDMARKS_OK, 0)
    bits |= np.where(fit.fit_ok & (fit.lids.max(axis=1) < _EYES_CLOSED), EYES_OK, 0)
    if occluded is not None:
        bits |= np.where(occluded, OCCLUDED, 0)
    return np.asarray(bits, np.uint32)


def motion_columns(
    fit: ClipFit, evidence: Evidence, person: int, ticks: Columns, pixels: TrackFit | None = None
) -> Columns:
    """One person's rows.

    Args:
        ticks: tick, frame and pts of the clip's ticks.
        pixels: what the photometric fit says besides ``fit``; None where landmarks alone were used.
    """
    n = len(fit.theta)
    fitted = pixel_columns(fit, evidence, pixels)

    def block(a: int, b: int) -> Array:
        return np.asarray(fit.theta[:, a:b], np.float32)

    def rms(entries: slice | list[int]) -> Array:
        return np.asarray(np.sqrt((fit.sigma[:, entries] ** 2).mean(axis=1)), np.float32)

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
        "sigma_root_rad": rms(slice(0, 3)),
        "sigma_transl_m": rms(slice(3, 6)),
        "sigma_expr": rms(slice(18, None)),
        "sigma_jaw_rad": rms(slice(9, 12)),
        "sigma_eyes_rad": rms([12, 13, 15, 16]),
        "sigma_lip_mm": fit.sigma_lip_mm.astype(np.float32),
        "sigma_lid_mm": fit.sigma_lid_mm.astype(np.float32),
        "sigma_face_mm": fit.sigma_face_mm.astype(np.float32),
        "reproj_px": fit.error_px.astype(np.float32),
        **fitted,
        "valid": valid_bits(fit, evidence, fitted["fit_reason"] == FIT_REASONS["occluded"]),
    }


def pixel_columns(fit: ClipFit, evidence: Evidence, pixels: TrackFit | None) -> Columns:
    """colour_l1, colour_psnr_db, visible_frac, iterations, fit_reason of every tick."""
    steps = {"iterations": np.where(fit.fit_ok, fit.iterations, 0).astype(np.int16)}
    if pixels is None:
        none = np.zeros(len(fit.fit_ok), np.float32)
        codes = [FIT_REASONS[name] for name in ("landmarks_only", "no_fit", "no_landmarks")]
        reason = np.select([fit.fit_ok, evidence.usable], codes[:2], codes[2]).astype(np.int8)
        return {"colour_l1": none, "colour_psnr_db": none, "visible_frac": none, **steps, "fit_reason": reason}
    colours = {"colour_l1": pixels.colour.l1, "colour_psnr_db": pixels.colour.psnr_db, "visible_frac": pixels.visible}
    shown = {name: np.where(fit.fit_ok, values, 0.0).astype(np.float32) for name, values in colours.items()}
    return {**shown, **steps, "fit_reason": pixels.reason.astype(np.int8)}


def summary(fit: ClipFit, pixels: TrackFit | None, reason: Array) -> dict[str, Any]:
    """Counts and medians of one person, for ``fit.json``. Colours are compared on ticks whose pixels were used."""
    ok = fit.fit_ok
    used = reason == FIT_REASONS["ok"]
    colours = {}
    if pixels is not None and used.any():
        colours = {
            "median_psnr_db": round(float(np.median(pixels.colour.psnr_db[used])), 3),
            "median_psnr_landmarks_db": round(float(np.median(pixels.colour_start.psnr_db[used])), 3),
        }
    return {
        **colours,
        "share_by_reason": {k: round(float((reason == code).mean()), 4) for k, code in FIT_REASONS.items()},
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
    from dialogbuild.head import load_head

    camera = json.loads((inputs["identity"] / "camera.json").read_text())
    head = load_head(config.head)
    if head.sha256 != camera["head_sha256"]:
        raise ConfigError(
            f"fit_flame.head is {head.model_id}, but the identity was solved with {camera['model_id']}: "
            "give both stages the same head"
        )
    start, end = _clip_range(read_table(inputs["segment"] / "clips.parquet"), inputs.item)
    ticks = read_table(inputs["ingest"] / "ticks.parquet")
    own_ticks = {name: values[start:end] for name, values in ticks.items()}
    why_not = camera.get("method_reason", "") if config.photometric else "switched_off"
    fitter = _Fitter(head, camera, config, inputs, ticks["pts"], None if why_not else inputs["identity"] / "look.npz")
    identity = read_table(inputs["identity"] / "identity.parquet")
    parts, report = [], {}
    evidence_of = _evidence(inputs, start, end)
    for done, (person, shape) in enumerate(zip(identity["person"], identity["shape"], strict=True)):
        evidence, view = evidence_of(int(person))
        fit, pixels = fitter.fit(
            int(person), shape, evidence, view, start, _in_part(inputs.progress, done, len(identity["person"]))
        )
        columns = motion_columns(fit, evidence, int(person), own_ticks, pixels) | view.columns()
        parts.append(columns)
        report[str(person)] = summary(fit, pixels, columns["fit_reason"])
    write_table(out / "motion.parquet", {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    method = "landmarks" if why_not else "photometric"
    write_json(
        out / "fit.json",
        {"model_id": head.model_id, "method": method, "method_reason": why_not, "persons": report},
    )


def _evidence(inputs: Inputs, start: int, end: int) -> Callable[[int], tuple[Evidence, View]]:
    """Of a person: the measurements, centred by the view that comes with them."""
    from dialogbuild.faces.panes import track_views
    from dialogbuild.fit.evidence import LANDMARK_COLUMNS, gather
    from dialogbuild.fit.view import centred, person_view

    video = json.loads((inputs["ingest"] / "video.json").read_text())
    size = (int(video["width_px"]), int(video["height_px"]))
    tracks = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected", "box_px"])
    landmarks = read_table(inputs["landmarks"] / "landmarks.parquet", list(LANDMARK_COLUMNS))
    track_person = read_table(inputs["assign"] / "track_person.parquet")
    offset_px, box_px = track_views(tracks, read_table(inputs["shots"] / "panes.parquet"), size)

    def of(person: int) -> tuple[Evidence, View]:
        evidence = gather(tracks, landmarks, track_person, person, start, end)
        view = person_view(evidence, offset_px, box_px, size)
        return centred(evidence, view), view

    return of


def _in_part(progress: Progress, k: int, n: int) -> Progress:
    """The k-th of n equal parts of a progress bar of 100 n steps."""
    return lambda done, total: progress(100 * k + round(100 * done / max(total, 1)), 100 * n)


@dataclass(frozen=True, eq=False)
class _Fitter:
    """Fits one person at a time. ``looks``: the file of what the people look like, None = landmarks alone."""

    head: HeadModel
    camera: dict[str, Any]
    config: Config
    inputs: Inputs
    pts: Array
    looks: Path | None

    def fit(
        self, person: int, shape: Array, evidence: Evidence, view: View, start: int, progress: Progress
    ) -> tuple[ClipFit, TrackFit | None]:
        """Motion with its sigmas, and what pixels said."""
        from dialogbuild.fit.clip import fit_clip
        from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
        from dialogbuild.fit.rig import model_rig
        from dialogbuild.fit.smoother import WalkSigmas, walk_sigma
        from dialogbuild.fit.uncertainty import DetectorBias, with_systematic
        from dialogbuild.fit.view import with_centre_sigma

        head, camera, config = self.head, self.camera, self.config
        layout = ParamLayout(head.n_expr)
        prior = make_prior(layout, head, PriorSigmas(expr=config.expr_sigma))
        walk = walk_sigma(layout, WalkSigmas(), head.lid_expr) / config.smoothing
        lens = (camera["focal_px"], camera["cx_px"], camera["cy_px"])
        pixels = None
        if self.looks is not None and evidence.usable.any():
            from dialogbuild.pixels.follow import follow

            pixels, _ = follow(
                head, self.looks, person, shape, self.inputs.source, self.inputs["ingest"], self.pts, start, evidence,
                view, prior, lens, walk, _track_options(config), progress,
            )  # fmt: skip
            motion = pixels.clip
        else:
            rig = model_rig(head).with_shape(shape)
            motion = fit_clip(rig, prior, lens, evidence, walk, head.lid_expr, _clip_options(config))
            motion = with_systematic(motion, DetectorBias(), camera["focal_sigma_px"] / camera["focal_px"])
            progress(1, 1)
        return with_centre_sigma(motion, view, camera["focal_px"]), pixels


def _clip_options(config: Config) -> ClipOptions:
    from dialogbuild.fit.clip import ClipOptions
    from dialogbuild.fit.gauss_newton import SolverOptions
    from dialogbuild.fit.normal import Robust
    from dialogbuild.fit.regions import LandmarkNoise

    return ClipOptions(
        noise=replace(LandmarkNoise(), independence=config.independence),
        robust=Robust("student", config.student_dof),
        solver=SolverOptions(max_iterations=config.max_iterations),
        max_error=config.max_error,
        max_gap=config.max_gap_ticks,
        depth_sigma=config.depth_sigma,
    )


def _track_options(config: Config) -> TrackOptions:
    from dialogbuild.fit.photometric import PhotometricNoise
    from dialogbuild.fit.track import TrackOptions

    return replace(
        TrackOptions(),
        clip=_clip_options(config),
        noise=replace(PhotometricNoise(), skin=config.pixel_sigma, independence=config.pixel_independence),
        min_visible=config.min_visible_frac,
        max_outliers=config.max_occluded_frac,
        max_l1=config.max_colour_error,
    )


def _clip_range(clips: Columns, clip_id: str) -> tuple[int, int]:
    at = np.flatnonzero(clips["clip_id"] == clip_id)
    if len(at) != 1:
        raise ValueError(f"clips.parquet has {len(at)} rows for {clip_id}")
    return int(clips["start_tick"][at[0]]), int(clips["end_tick"][at[0]])


STAGE = Stage(
    name="fit_flame",
    version=5,
    unit="clip",
    config=Config,
    run=run,
    reads=("ingest", "shots", "tracks", "landmarks", "assign", "segment", "identity"),
    models=model_files,
)
