"""Fitted faces, and for every frame of them how good the fit is: numbers first, then a verdict with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.view import View, centred
from dialogbuild.fitvideo.prepare import Face
from dialogbuild.fitvideo.seam import FaceFit
from dialogbuild.head.camera import Camera
from dialogbuild.head.model import HeadModel
from dialogbuild.stages import fit_flame, quality
from dialogbuild.stages.gate import Config as GateConfig
from dialogbuild.tables import Columns

Array = np.ndarray[Any, np.dtype[Any]]
GOOD, DOUBTFUL, INTERPOLATED, NONE = VERDICTS = ("good", "doubtful", "interpolated", "none")


@dataclass(frozen=True, eq=False)
class Fitted:
    """One face with its motion: columns as in the stage's ``motion.parquet`` plus ``face``, a row per tick.

    Attributes:
        shape, shape_sigma: (S,).
        camera: at the first tick; where panes change, ``motion`` has each tick's principal point.
        detected_px: (T, 478, 2) detected landmarks, zeros where ``has_landmarks`` (T,) is False.
    """

    face: Face
    motion: Columns
    shape: Array
    shape_sigma: Array
    camera: Camera
    focal_sigma_px: float
    detected_px: Array
    has_landmarks: Array


def fitted_face(face: Face, fit: FaceFit, evidence: Evidence, view: View, ticks: Columns, shot: Array) -> Fitted:
    """Put a face's fit into columns. ``ticks``: tick, frame and pts of the whole video; ``shot``: (2,) its ticks."""
    span = slice(face.start_tick, face.end_tick)
    own = {k: v[span] for k, v in ticks.items()}
    columns = fit_flame.motion_columns(fit.motion, centred(evidence, view), face.face, own, fit.pixels)
    columns["tick"] = columns["src_tick"].copy()
    for end, edge in ((0, shot[0]), (-1, shot[1] - 1)):  # a face may come and go within a shot
        if columns["tick"][end] != edge:
            columns["valid"][end] &= ~np.uint32(fit_flame.SHOT_BOUNDARY)
    shape, sigma = (np.asarray(values, np.float32) for values in (fit.shape, fit.shape_sigma))
    motion = {"face": columns["person"], **columns, **view.columns()}
    width, height = (int(side) for side in view.image_px)
    camera = Camera(fit.focal_px, float(motion["cx_px"][0]), float(motion["cy_px"][0]), width, height)
    return Fitted(
        face, motion, shape, sigma, camera, fit.focal_sigma_px, evidence.landmarks_px, evidence.usable.astype(bool)
    )


def has(fitted: Fitted, bit: int) -> Array:
    """(T,) bool, a bit of ``valid``."""
    return np.asarray((fitted.motion["valid"] & bit) > 0)


def shown(fitted: Fitted) -> Array:
    """(T,) bool: there is a head to draw, fitted or interpolated."""
    return has(fitted, fit_flame.FIT_OK | fit_flame.INTERPOLATED)


def measure(
    head: HeadModel,
    faces: Sequence[Fitted],
    frames: Iterator[tuple[int, Array]],
    config: quality.Config,
    gate: GateConfig,
) -> list[Columns]:
    """The quality columns of each face: those of the stage, errors of regions in % of the face size, the verdict.

    Args:
        frames: (tick, rgb) ascending, of some of the faces' ticks; sharpness and brightness are taken from them.
    """
    first = min(f.face.start_tick for f in faces)
    length = max(f.face.end_tick for f in faces) - first
    people = [quality._Person(f.face.face, f.motion, f.shape, f.detected_px, f.has_landmarks) for f in faces]
    rows = [quality.geometry(head, f.camera, p, config) for f, p in zip(faces, people, strict=True)]
    patches = []
    for f, p, columns in zip(faces, people, rows, strict=True):
        where = slice(f.face.start_tick - first, f.face.end_tick - first)
        centre, half = np.zeros((length, 2)), np.zeros(length)
        centre[where], half[where] = quality._patch(p, columns, config)
        patches.append((centre, half))
    pixels = quality.pixel_numbers(((tick - first, rgb) for tick, rgb in frames), patches, config)
    out = []
    for f, columns, more in zip(faces, rows, pixels, strict=True):
        where = slice(f.face.start_tick - first, f.face.end_tick - first)
        columns.update({name: values[where] for name, values in more.items()})
        out.append(_complete(f, columns, gate))
    return out


def _complete(f: Fitted, columns: Columns, gate: GateConfig) -> Columns:
    size = np.maximum(columns["face_size_px"], 1e-6)
    for region in ("lips", "eyes", "brows"):
        columns[f"reproj_{region}_pct_iod"] = 100 * columns[f"reproj_{region}_px"] / size
    numbers = {k: v if v.dtype == bool else v.astype(np.float32) for k, v in columns.items()}
    verdict, reason = verdicts(f, columns, gate)
    keys = {name: f.motion[name] for name in ("face", "tick")}
    return {**keys, **numbers, "verdict": verdict, "reason": reason}


def verdicts(f: Fitted, columns: Columns, gate: GateConfig) -> tuple[Array, Array]:
    """Verdict and reason of each tick, (T,) strings; thresholds are those of the stage ``gate``, applied to one frame.

    ``good``; ``doubtful``: fitted, but a number is beyond its threshold, named as the gate names it;
    ``interpolated``: bridged; ``none``. Reasons of the last two: ``no_landmarks``, ``no_fit`` (the head does not
    explain the landmarks).
    """
    size = np.maximum(columns["face_size_px"], 1e-6)
    lips = 100 * np.abs(columns["lip_gap_px"]) / size
    rules = (
        ("partly_outside", ~columns["visible"].astype(bool)),
        ("small_face", columns["face_size_px"] < gate.min_face_px),
        ("extreme_yaw", np.abs(columns["yaw_deg"]) > gate.max_yaw_deg),
        ("too_dark", columns["brightness"] < gate.min_brightness),
        ("too_bright", columns["brightness"] > gate.max_brightness),
        ("blurry", columns["blur"] < gate.min_sharpness),
        ("high_reprojection", columns["reproj_pct_iod"] > gate.max_reproj_pct),
        ("loose_lips", lips > gate.max_lip_gap_pct),
    )
    ok, bridged = has(f, fit_flame.FIT_OK), has(f, fit_flame.INTERPOLATED)
    reason = np.where(f.has_landmarks, "no_fit", "no_landmarks").astype(object)
    reason[ok] = ""
    for name, bad in rules:
        reason[ok & bad & (reason == "")] = name
    verdict = np.where(bridged, INTERPOLATED, NONE).astype(object)
    verdict[ok] = np.where(reason[ok] == "", GOOD, DOUBTFUL)
    return verdict, reason
