"""quality: numbers that say how good a clip's labels are. Stores numbers only; the gate decides.

reads   ingest     ticks.parquet, video.json
        landmarks  landmarks.parquet   lmk_px; occluded; disagree, where a second opinion was asked for
        tracks, assign                 which rows belong to whom
        segment    clips.parquet       clip_id, start_tick, end_tick, speak_s_0, speak_s_1, overlap_s
        identity   identity.parquet, camera.json
        fit_flame  motion.parquet      poses, principal points, sigmas, colour errors, fit_reason and valid bits
writes  quality.parquet  same rows as motion: person, tick, reproj_px, reproj_lips_px, reproj_eyes_px, reproj_brows_px
                         (means; reproj_px without the outline), reproj_pct_iod, face_size_px (outer-eye distance at
                         zero yaw), yaw_deg, pitch_deg, roll_deg, blur (sharpness), brightness, jitter_mm, lip_gap_px,
                         lid_gap_px (fitted minus detected opening), visible; and from motion, to have them beside the
                         others: colour_psnr_db, visible_frac, sigma_face_mm
        quality.json     the same per person as medians and percentiles, coverage, speech, how far shapes from halves of
                         the keyframes differ (shape_split_half_mm, where measured), and how far a second detector
                         is from the landmarks (disagree_median, fraction of the outer-eye distance, where asked for),
                         and at which share of ticks over a 20th of the face is covered (occluded_frac)

Rows without a fit hold zeros.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from dialogbuild.artifact import Inputs, Stage, write_json
from dialogbuild.config import StageConfig
from dialogbuild.dataset.schema import FIT_REASONS
from dialogbuild.errors import ConfigError
from dialogbuild.quality import metrics
from dialogbuild.tables import Columns, column_names, read_table, write_table

if TYPE_CHECKING:
    from dialogbuild.head.camera import Camera
    from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
_FIT_OK, _INTERPOLATED = 1 << 1, 1 << 2
_COVERED = 0.05  # share of the face's outline; less is a finger at the chin
_FROM_MOTION = ("colour_psnr_db", "visible_frac", "sigma_face_mm")


class Config(StageConfig):
    """What is measured on pixels and how densely."""

    head: str = Field("procedural-v1", description="built-in model name or path; the one that stage identity used")
    pixels_every_ticks: int = Field(
        5, ge=1, description="ticks between measurements of sharpness and brightness; between them the last one holds"
    )
    face_scale: float = Field(
        1.6, gt=0, description="half side of the measured patch / outer-eye distance: brows to chin"
    )
    min_inside: float = Field(0.9, ge=0, le=1, description="share of landmarks in the picture for a face to be visible")
    jitter_vertices: int = Field(400, ge=10, description="face vertices whose acceleration is measured; evenly thinned")


@dataclass(frozen=True, eq=False)
class _Person:
    """One person's rows: motion columns, detections (T, 478, 2), whether there are any (T,), second opinions and
    shares of the face that are covered, (K,) each."""

    person: int
    motion: Columns
    shape: Array
    detected_px: Array
    has_landmarks: Array
    disagree: Array = field(default_factory=lambda: np.zeros(0))
    occluded: Array = field(default_factory=lambda: np.zeros(0))


def geometry(head: HeadModel, camera: Camera, p: _Person, config: Config) -> Columns:
    """Everything that needs no pixels. (T,) columns."""
    from dialogbuild.fit.regions import LEFT_LID_PAIRS, LIP_PAIRS, OVAL, REGIONS, RIGHT_LID_PAIRS
    from dialogbuild.fit.rig import model_rig
    from dialogbuild.head.rotation import rodrigues

    rig = model_rig(head).with_shape(p.shape)
    theta = _theta(p.motion)
    fitted = (p.motion["valid"] & _FIT_OK) > 0
    shown = fitted | ((p.motion["valid"] & _INTERPOLATED) > 0)
    projected = _projected(rig, theta, camera, p.motion, shown)
    detected = p.detected_px[:, rig.index]
    known = fitted & p.has_landmarks
    errors = np.where(known[:, None], metrics.landmark_errors_px(projected, detected), 0.0)
    inner = ~np.isin(rig.index, OVAL)
    regions = metrics.region_means(errors, rig.index, REGIONS)
    size = np.where(shown, _face_size_px(rig, theta, camera), 0.0)
    mean = errors[:, inner].mean(axis=1)
    rotation = rodrigues(p.motion["root_rad"]) @ rodrigues(p.motion["neck_rad"])
    angles = np.where(shown[:, None], metrics.euler_deg(rotation), 0.0)
    inside = metrics.inside_fraction(projected, camera.width_px, camera.height_px)
    gaps = {
        name: np.where(known, metrics.gap_error_px(projected, detected, rig.index, pairs), 0.0)
        for name, pairs in (("lip_gap_px", LIP_PAIRS), ("lid_gap_px", LEFT_LID_PAIRS + RIGHT_LID_PAIRS))
    }
    return {
        "reproj_px": mean,
        "reproj_lips_px": regions["lips"],
        "reproj_eyes_px": regions["eyes"],
        "reproj_brows_px": regions["brows"],
        "reproj_pct_iod": 100 * mean / np.maximum(size, 1e-6),
        "face_size_px": size,
        "yaw_deg": angles[:, 0],
        "pitch_deg": angles[:, 1],
        "roll_deg": angles[:, 2],
        "jitter_mm": metrics.acceleration_rms(_stabilised_mm(head, p, config), fitted),
        **gaps,
        "visible": known & (inside >= config.min_inside),
    }


def _theta(motion: Columns) -> Array:
    names = ("root_rad", "transl_m", "neck_rad", "jaw_rad", "eyes_rad", "expr")
    return np.concatenate([motion[name].astype(np.float64) for name in names], axis=1)


def _projected(rig: Any, theta: Array, camera: Camera, motion: Columns, shown: Array) -> Array:
    """Landmarks of the fitted head (T, N, 2) through each tick's own principal point; zeros where there is none."""
    from dialogbuild.fit.rig import pose_points, project_points

    out = np.zeros((len(theta), rig.n_points, 2))
    at = np.flatnonzero(shown)
    if len(at):
        points = pose_points(rig, theta[at]).points
        out[at], _ = project_points(points, theta[at, 3:6], (camera.focal_px, camera.cx_px, camera.cy_px))
        centre = np.stack([motion["cx_px"], motion["cy_px"]], axis=1)[at].astype(np.float64)
        out[at] += (centre - (camera.cx_px, camera.cy_px))[:, None]
    return out


def _face_size_px(rig: Any, theta: Array, camera: Camera) -> Array:
    from dialogbuild.fit.init import face_size_m

    return np.asarray(camera.focal_px * face_size_m(rig) / np.maximum(theta[:, 5], 1e-3))


def _stabilised_mm(head: HeadModel, p: _Person, config: Config) -> Array:
    """Face vertices (T, V, 3) in mm with the head held still: what is left is expression, jaw and noise."""
    from dialogbuild.head.pose import HeadPose, pose_head

    ids = head.masks["face"]
    ids = ids[:: max(1, len(ids) // config.jitter_vertices)]
    still = np.zeros_like(p.motion["root_rad"])
    m = p.motion
    pose = HeadPose(p.shape, m["expr"], still, still, m["jaw_rad"], np.zeros_like(m["eyes_rad"]), still)
    return np.asarray(1e3 * pose_head(head, pose, ids))


def pixel_numbers(
    frames: Iterator[tuple[int, Array]], people: Sequence[tuple[Array, Array]], config: Config
) -> list[Columns]:
    """Sharpness and brightness of each person's face on the frames given, held in between.

    Args:
        frames: (tick of the clip, rgb), ascending.
        people: for each person centre (T, 2) px and half side (T,) px; half side 0 = no face at that tick.
    """
    n = [len(half) for _, half in people]
    out = [{"blur": np.full(k, np.nan), "brightness": np.full(k, np.nan)} for k in n]
    for tick, rgb in frames:
        for (centre, half), columns in zip(people, out, strict=True):
            if half[tick] > 0:
                luma = metrics.face_patch(rgb, centre[tick], float(half[tick]))
                columns["blur"][tick], columns["brightness"][tick] = metrics.sharpness(luma), metrics.brightness(luma)
    return [
        {name: np.where(half > 0, _held(values), 0.0) for name, values in columns.items()}
        for (_, half), columns in zip(people, out, strict=True)
    ]


def _held(values: Array) -> Array:
    """Each gap (NaN) takes the nearest measured value; all zeros when nothing was measured."""
    at = np.flatnonzero(~np.isnan(values))
    if not len(at):
        return np.zeros(len(values))
    middle = (at[1:] + at[:-1]) / 2
    return np.asarray(values[at[np.searchsorted(middle, np.arange(len(values)))]])


def person_numbers(
    columns: Columns, motion: Columns, speech_s: float, split_half_mm: float | None = None
) -> dict[str, float]:
    """One person's clip-level numbers, from which the gate decides. Colours count where pixels were used."""
    fitted = (motion["valid"] & _FIT_OK) > 0
    compared = fitted & (motion["fit_reason"] == FIT_REASONS["ok"])
    size = np.maximum(columns["face_size_px"], 1e-6)
    inner = fitted & (columns["jitter_mm"] > 0)
    numbers = {
        "coverage": float(fitted.mean()),
        "interpolated": float(((motion["valid"] & _INTERPOLATED) > 0).mean()),
        "visible": float(columns["visible"].mean()),
        "reproj_px_median": metrics.percentile(columns["reproj_px"], fitted, 50),
        "reproj_pct_median": metrics.percentile(columns["reproj_pct_iod"], fitted, 50),
        "reproj_pct_p95": metrics.percentile(columns["reproj_pct_iod"], fitted, 95),
        "face_size_px_median": metrics.percentile(columns["face_size_px"], fitted, 50),
        "face_size_px_p5": metrics.percentile(columns["face_size_px"], fitted, 5),
        "yaw_deg_median": metrics.percentile(columns["yaw_deg"], fitted, 50),
        "yaw_deg_p95": metrics.percentile(np.abs(columns["yaw_deg"]), fitted, 95),
        "pitch_deg_p95": metrics.percentile(np.abs(columns["pitch_deg"]), fitted, 95),
        "blur_median": metrics.percentile(columns["blur"], fitted, 50),
        "brightness_median": metrics.percentile(columns["brightness"], fitted, 50),
        "jitter_mm_median": metrics.percentile(columns["jitter_mm"], inner, 50),
        "jitter_mm_p95": metrics.percentile(columns["jitter_mm"], inner, 95),
        "lip_gap_pct_p95": metrics.percentile(100 * np.abs(columns["lip_gap_px"]) / size, fitted, 95),
        "lid_gap_pct_p95": metrics.percentile(100 * np.abs(columns["lid_gap_px"]) / size, fitted, 95),
        "sigma_lip_mm_median": metrics.percentile(motion["sigma_lip_mm"], fitted, 50),
        "sigma_lid_mm_median": metrics.percentile(motion["sigma_lid_mm"], fitted, 50),
        "sigma_face_mm_median": metrics.percentile(motion["sigma_face_mm"], fitted, 50),
        "pixels_used": float(compared.mean()),
        "occluded": float((motion["fit_reason"] == FIT_REASONS["occluded"]).mean()),
        "visible_frac_median": metrics.percentile(motion["visible_frac"], fitted, 50),
        "colour_l1_median": metrics.percentile(motion["colour_l1"], compared, 50),
        "colour_psnr_db_median": metrics.percentile(motion["colour_psnr_db"], compared, 50),
        "speech_s": speech_s,
    }
    if split_half_mm is not None:
        numbers["shape_split_half_mm"] = split_half_mm
    return {name: round(value, 5) for name, value in numbers.items()}


def opinion_numbers(disagree: Array) -> dict[str, float]:
    """The median of (K,) disagreements over those that were measured (not -1); empty where none was."""
    measured = disagree[disagree >= 0]
    return {"disagree_median": round(float(np.median(measured)), 5)} if len(measured) else {}


def occlusion_numbers(occluded: Array) -> dict[str, float]:
    """Share of ticks (K,) at which more than a 20th of the face is covered; empty where nobody looked."""
    return {"occluded_frac": round(float((occluded > _COVERED).mean()), 5)} if len(occluded) else {}


def model_files(config: Config) -> Sequence[Path]:
    """What the head is made of."""
    from dialogbuild.head import head_files

    return head_files(config.head)


def run(inputs: Inputs, out: Path, config: Config) -> None:
    """Measure geometry from the tables and pixels from the frames; write rows and clip-level numbers."""
    from dialogbuild.head import load_head
    from dialogbuild.head.camera import Camera

    view = json.loads((inputs["identity"] / "camera.json").read_text())
    head = load_head(config.head)
    if head.sha256 != view["head_sha256"]:
        raise ConfigError(f"quality.head is {head.model_id}, the fit used {view['model_id']}: give both the same head")
    camera = Camera(**{k: view[k] for k in ("focal_px", "cx_px", "cy_px", "width_px", "height_px")})
    clips = read_table(inputs["segment"] / "clips.parquet")
    clip = int(np.flatnonzero(clips["clip_id"] == inputs.item)[0])
    start, end = int(clips["start_tick"][clip]), int(clips["end_tick"][clip])
    people = _people(inputs, start, end)
    rows = [geometry(head, camera, p, config) for p in people]
    patches = [_patch(p, r, config) for p, r in zip(people, rows, strict=True)]
    for columns, pixels in zip(rows, pixel_numbers(_frames(inputs, start, end, config), patches, config), strict=True):
        columns.update(pixels)
    parts, numbers = [], {}
    for p, columns in zip(people, rows, strict=True):
        columns.update({name: p.motion[name] for name in _FROM_MOTION})
        cast = {k: v if v.dtype == bool else v.astype(np.float32) for k, v in columns.items()}
        parts.append({"person": p.motion["person"], "tick": p.motion["tick"], **cast})
        speech_s, halves = float(clips[f"speak_s_{p.person}"][clip]), view["persons"][str(p.person)]
        numbers[str(p.person)] = person_numbers(columns, p.motion, speech_s, halves["shape_split_half_mm"])
        numbers[str(p.person)] |= opinion_numbers(p.disagree) | occlusion_numbers(p.occluded)
    write_table(out / "quality.parquet", {k: np.concatenate([part[k] for part in parts]) for k in parts[0]})
    write_json(
        out / "quality.json",
        {
            "persons": numbers,
            "n_ticks": end - start,
            "overlap_s": round(float(clips["overlap_s"][clip]), 5),
            "model_id": view["model_id"],
            "method": view["method"],
        },
    )


def _people(inputs: Inputs, start: int, end: int) -> list[_Person]:
    from dialogbuild.fit.evidence import LANDMARK_COLUMNS, gather

    motion = read_table(inputs["fit_flame"] / "motion.parquet")
    identity = read_table(inputs["identity"] / "identity.parquet")
    tracks = read_table(inputs["tracks"] / "tracks.parquet", ["track", "tick", "shot", "detected"])
    path = inputs["landmarks"] / "landmarks.parquet"
    more = {"disagree", "occluded"} & set(column_names(path))
    landmarks = read_table(path, [*LANDMARK_COLUMNS, *more])
    track_person = read_table(inputs["assign"] / "track_person.parquet")
    out = []
    for person, shape in zip(identity["person"], identity["shape"], strict=True):
        mine = motion["person"] == person
        evidence = gather(tracks, landmarks, track_person, int(person), start, end)
        own = {name: values[mine] for name, values in motion.items()}
        rows = evidence.row[evidence.usable]
        disagree, occluded = (landmarks[k][rows] if k in more else np.zeros(0) for k in ("disagree", "occluded"))
        out.append(_Person(int(person), own, shape, evidence.landmarks_px, evidence.usable, disagree, occluded))
    return out


def _patch(p: _Person, columns: Columns, config: Config) -> tuple[Array, Array]:
    """Centre (T, 2) and half side (T,) of the measured square; half side 0 where nothing was detected."""
    centre = p.detected_px.mean(axis=1)
    seen = p.has_landmarks & (columns["face_size_px"] > 0)
    return centre, np.where(seen, config.face_scale * columns["face_size_px"], 0.0)


def _frames(inputs: Inputs, start: int, end: int, config: Config) -> Iterator[tuple[int, Array]]:
    from dialogbuild.media.chosen import open_video

    pts = read_table(inputs["ingest"] / "ticks.parquet", ["pts"])["pts"][start:end]
    wanted = np.arange(0, end - start, config.pixels_every_ticks)
    with open_video(inputs.source, inputs["ingest"]) as video:
        for done, (tick, (_, rgb)) in enumerate(zip(wanted, video.frames(pts[wanted].tolist()), strict=True)):
            yield int(tick), rgb
            inputs.progress(done + 1, len(wanted))


STAGE = Stage(
    name="quality",
    version=5,
    unit="clip",
    config=Config,
    run=run,
    reads=("ingest", "tracks", "landmarks", "assign", "segment", "identity", "fit_flame"),
    models=model_files,
)
