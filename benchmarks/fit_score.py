"""How far a tracked head is from the true one: pure functions on poses, and a score per clip that can be pooled.

Poses are compared in one head model. A bent neck and a turned root move the face alike, so both poses have the neck
folded into the root (``fold_neck``) before anything is compared. "Skull frame" = root, neck and translation at zero:
what remains is identity, expression, jaw and eyes, compared without alignment and without scale.

Per frame, meaned over the frames that the method fitted:

px                   distance of projected face vertices that truly face the camera
vertex_mm, lip_mm    distance of face and lip vertices in the skull frame
lip_gap_mm           error of the opening between the inner lips; lip_gap_bias_mm is signed, positive = too open
rotation_deg         angle between the heads' rotations; rotation_rel_deg without the clip's constant offset (diagnosis)
depth_pct, depth_mm  error of the face centre's distance; focal_pct of the focal length; depth_over_focal_pct of their
                     ratio, which the face's size in the picture shows (diagnosis: a long lens looks like a far head)
gaze_deg             angle between the eyes' directions in the skull frame, of eyes whose true lid is open

Shares of events: blink_recall, blink_precision, closure_recall, closure_precision, bilabial_recall, and coverage68,
coverage95 (errors within 1 and 1.96 sigma). Per clip: jitter_m_s2, and ok, the share of frames with a fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fit_data import FitClip

from dialogbuild.fit.params import ParamLayout
from dialogbuild.head.camera import CAM_FROM_HEAD
from dialogbuild.head.model import NECK, ROOT, HeadModel
from dialogbuild.head.pose import HeadPose, joints_at, pose_head, to_camera
from dialogbuild.head.rotation import log_so3, rodrigues
from dialogbuild.render.shading import vertex_normals

Array = npt.NDArray[Any]
Camera3 = tuple[float, float, float]
Count = tuple[int, int]  # hits, total

CLOSED_MM = 1.0
BLINK_TRUE, BLINK_FOUND, BLINK_TOLERANCE_S = 0.7, 0.5, 0.08
LID_OPEN = 0.5
FACE_STEP, LIP_STEP = 7, 3  # every n-th vertex of a region: about 1,000 of the face, 350 of the lips
_INNER_LIPS = (13, 14)


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method says of a clip. T frames, P = 18 + E in the order of ``ParamLayout``.

    Attributes:
        theta: (T, P);  shape: (S,);  camera: focal_px, cx_px, cy_px of the whole frame.
        sigma: (T, P) standard deviations, 0 = held, or None;  sigma_lip_mm: (T,) of the lip gap, or None.
        seconds: part of the method -> wall time for the whole clip.
        ok: (T,) bool, the frame has a fit; the others are not scored, only counted.
    """

    theta: Array
    shape: Array
    camera: Camera3
    sigma: Array | None
    sigma_lip_mm: Array | None
    seconds: Mapping[str, float]
    ok: Array


Method = Callable[[FitClip, HeadModel], MethodResult]


@dataclass(frozen=True, eq=False)
class Score:
    """One clip's errors: per-frame values (n,) of the fitted frames, counts of events, one number per clip."""

    frames: Mapping[str, Array]
    counts: Mapping[str, Count]
    clip: Mapping[str, float]


def score(clip: FitClip, result: MethodResult, model: HeadModel) -> Score:
    """Compare a result with the clip's truth."""
    ok = result.ok.astype(bool)
    true = fold_neck(model, clip.true_pose)
    found = fold_neck(model, ParamLayout(model.n_expr).unpack(result.theta, result.shape))
    gap_mm, true_gap_mm = lip_gap_mm(model, found), 1e3 * clip.true_lip_gap_m
    assert model.lid_expr is not None
    lids = np.clip(found.expr[:, list(model.lid_expr)], 0.0, 1.0)
    frames: dict[str, Array] = {}
    if ok.any():
        frames = _frame_errors(model, true.frames(ok), found.frames(ok), clip.true_camera, result.camera)
        frames["gaze_deg"] = gaze_error_deg(true.eyes_rad[ok], found.eyes_rad[ok], clip.true_lids[ok])
        frames["lip_gap_bias_mm"] = (gap_mm - true_gap_mm)[ok]
        frames["lip_gap_mm"] = np.abs(frames["lip_gap_bias_mm"])
    blinks = blink_counts(clip.true_lids.mean(1), np.where(ok, lids.mean(1), 0.0), round(BLINK_TOLERANCE_S * clip.fps))
    counts = {**blinks, **closure_counts(true_gap_mm, np.where(ok, gap_mm, np.inf), clip.bilabial)}
    if result.sigma is not None and ok.any():
        errors = normalised_errors(true.frames(ok), found.frames(ok), result.sigma[ok])
        if result.sigma_lip_mm is not None:
            errors["lip_gap"] = frames["lip_gap_mm"] / result.sigma_lip_mm[ok]
        counts |= coverage_counts(errors)
    one = {"jitter_m_s2": jitter_m_s2(model, true, found, ok, clip.fps), "ok": float(ok.mean())}
    return Score(frames, counts, one)


def pool(scores: Sequence[Score]) -> dict[str, float]:
    """One number per metric over several clips: every frame and every event weighs alike; NaN where there is none.

    ``coverage68`` and ``coverage95`` are means over parameter groups, because expressions have many entries and the
    lip gap one; ``coverage68_root`` and so on are the groups'.
    """
    out = {}
    for name in {name: None for s in scores for name in s.frames}:
        values = np.concatenate([s.frames[name] for s in scores if name in s.frames])
        out[name] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    for name in {name: None for s in scores for name in s.counts}:
        hits, total = np.sum([s.counts[name] for s in scores if name in s.counts], axis=0)
        out[name] = float(hits / total) if total else float("nan")
    for level in ("coverage68", "coverage95"):
        groups = [v for k, v in out.items() if k.startswith(f"{level}_")]
        if groups:
            out[level] = float(np.mean(groups))
    for name in {name: None for s in scores for name in s.clip}:
        values = np.array([s.clip[name] for s in scores])
        out[name] = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
    return out


def _frame_errors(
    model: HeadModel, true: HeadPose, found: HeadPose, true_camera: Camera3, camera: Camera3
) -> dict[str, Array]:
    face, lips = model.masks["face"][::FACE_STEP], model.masks["lips"][::LIP_STEP]
    x_true, x_found = (to_camera(pose_head(model, p, face), p.transl_m) for p in (true, found))
    angle, relative = rotation_error_deg(true.root_rad, found.root_rad)
    z_true, z_found = x_true[..., 2].mean(1), x_found[..., 2].mean(1)
    ratio = (z_found / camera[0]) / (z_true / true_camera[0])
    return {
        "px": pixel_error(x_true, x_found, true_camera, camera, facing_camera(model, true, face)),
        "vertex_mm": skull_error_mm(model, true, found, face),
        "lip_mm": skull_error_mm(model, true, found, lips),
        "rotation_deg": angle,
        "rotation_rel_deg": relative,
        "depth_pct": 100 * np.abs(z_found / z_true - 1),
        "depth_mm": 1e3 * np.abs(z_found - z_true),
        "depth_over_focal_pct": 100 * np.abs(ratio - 1),
        "focal_pct": np.full(len(true), 100 * abs(camera[0] / true_camera[0] - 1)),
    }


def fold_neck(model: HeadModel, pose: HeadPose) -> HeadPose:
    """The pose with a straight neck that puts the skull, and all that hangs on it, at the same place in the camera.

    With neck joint n and root joint r of the posed person: R = R_root R_neck and, in head axes,
    t' = t + (R_root - R) (n - r). Vertices weighted to the root (torso) move; face and lips have none.
    """
    joints = joints_at(model, pose.shape, pose.expr)
    root, neck = rodrigues(pose.root_rad), rodrigues(pose.neck_rad)
    both = root @ neck
    lever = joints[:, NECK] - joints[:, ROOT]
    shift = np.einsum("tij,tj->ti", root - both, lever) * np.diag(CAM_FROM_HEAD)
    return replace(
        pose,
        root_rad=log_so3(both).astype(np.float32),
        neck_rad=np.zeros_like(pose.neck_rad),
        transl_m=(pose.transl_m + shift).astype(np.float32),
    )


def skull_vertices_m(model: HeadModel, pose: HeadPose, ids: Array) -> Array:
    """Vertices (T, N, 3) m with root, neck and translation at zero."""
    still = replace(pose, root_rad=np.zeros_like(pose.root_rad), neck_rad=np.zeros_like(pose.neck_rad))
    return pose_head(model, still, ids)


def skull_error_mm(model: HeadModel, true: HeadPose, found: HeadPose, ids: Array) -> Array:
    """Mean distance (T,) mm of vertices in the skull frame. No alignment: a wrong size of the head counts."""
    difference = skull_vertices_m(model, found, ids) - skull_vertices_m(model, true, ids)
    return np.asarray(1e3 * np.linalg.norm(difference, axis=-1).mean(1))


def facing_camera(model: HeadModel, pose: HeadPose, ids: Array) -> Array:
    """Which vertices turn towards the camera, (T, N) bool, from the expressionless person's normals."""
    shaped = model.v_template + model.shape_dirs @ pose.shape.astype(np.float32)
    flip = np.diag(CAM_FROM_HEAD)
    rotation = rodrigues(pose.root_rad) @ rodrigues(pose.neck_rad)
    normals = np.einsum("tij,nj->tni", rotation, vertex_normals(shaped, model.faces)[ids]) * flip
    points = to_camera(pose_head(model, pose, ids), pose.transl_m)
    return np.asarray((normals * points).sum(-1) < 0)


def pixel_error(x_true: Array, x_found: Array, true_camera: Camera3, camera: Camera3, seen: Array) -> Array:
    """Mean distance (T,) px of projected points (T, N, 3) m, each through its own camera, over ``seen`` (T, N)."""

    def project(x: Array, view: Camera3) -> Array:
        return np.asarray(x[..., :2] * (view[0] / x[..., 2:]) + np.array(view[1:]))

    distance = np.linalg.norm(project(x_found, camera) - project(x_true, true_camera), axis=-1)
    return np.asarray((distance * seen).sum(1) / np.maximum(seen.sum(1), 1))


def rotation_error_deg(true_rad: Array, found_rad: Array) -> tuple[Array, Array]:
    """Angle (T,) between rotations given as (T, 3) axis-angle, as it is and after the mean offset is removed."""
    difference = np.swapaxes(rodrigues(true_rad), 1, 2) @ rodrigues(found_rad)
    offset = rodrigues(log_so3(difference).mean(0))
    both = (difference, offset.T @ difference)
    angle, relative = (np.degrees(np.linalg.norm(log_so3(d), axis=1)) for d in both)
    return np.asarray(angle), np.asarray(relative)


def gaze_error_deg(true_rad: Array, found_rad: Array, true_lids: Array) -> Array:
    """Angle (T,) between the eyes' forward axes in the skull frame, from eye rotations (T, 6).

    The mean over the eyes whose true lid (T, 2) is less than half closed; NaN where both are.
    """
    a, b = (rodrigues(r.reshape(len(r), 2, 3))[..., 2] for r in (true_rad, found_rad))
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))
    seen = true_lids < LID_OPEN
    return np.asarray(np.where(seen.any(1), (angle * seen).sum(1) / np.maximum(seen.sum(1), 1), np.nan))


def lip_gap_mm(model: HeadModel, pose: HeadPose) -> Array:
    """Opening (T,) mm between the middles of the inner lips along the skull's vertical, as in the truth."""
    embedding = model.landmarks["mp478"]
    rows = [int(np.flatnonzero(embedding.index == i)[0]) for i in _INNER_LIPS]
    corners, bary = embedding.vertices(model.faces)[rows], embedding.bary[rows]
    y = skull_vertices_m(model, pose, corners.ravel())[..., 1].reshape(-1, 2, 3)
    upper, lower = np.einsum("tnc,nc->nt", y, bary)
    return np.asarray(1e3 * (upper - lower))


def jitter_m_s2(model: HeadModel, true: HeadPose, found: HeadPose, ok: Array, fps: float) -> float:
    """Acceleration (root mean square, m/s^2) of the face in the skull frame, found minus true; negative = too smooth.

    Over all three neighbouring frames that have a fit; NaN without any. 0.1 mm of noise per frame is 0.15 at 25 fps.
    """
    three = ok[:-2] & ok[1:-1] & ok[2:]
    if not three.any():
        return float("nan")
    face = model.masks["face"][::FACE_STEP]

    def rms(pose: HeadPose) -> float:
        acceleration = np.diff(skull_vertices_m(model, pose, face).astype(np.float64), n=2, axis=0)[three] * fps**2
        return float(np.sqrt((acceleration**2).sum(-1).mean()))

    return rms(found) - rms(true)


def runs(mask: Array) -> list[tuple[int, int]]:
    """Maximal runs of True in (T,), as half-open ranges."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def blink_counts(true: Array, found: Array, tolerance: int) -> dict[str, Count]:
    """Blinks found, from the lids' closure (T,), the mean of both eyes.

    A true blink is a run of frames with a true closure above 0.7; it is recalled by a run of found closures above 0.5
    that comes within ``tolerance`` frames of it, and no run recalls two. A found run is right if the true closure
    exceeds 0.5 within ``tolerance`` frames of it, so that a half blink that is found does no harm.
    """
    events, answers = runs(true > BLINK_TRUE), runs(found > BLINK_FOUND)
    unused, hits = list(answers), 0
    for start, end in events:
        match = next((r for r in unused if r[0] < end + tolerance and r[1] > start - tolerance), None)
        if match is not None:
            unused.remove(match)
            hits += 1
    right = sum(bool((true[max(a - tolerance, 0) : b + tolerance] > BLINK_FOUND).any()) for a, b in answers)
    return {"blink_recall": (hits, len(events)), "blink_precision": (right, len(answers))}


def closure_counts(true_mm: Array, found_mm: Array, bilabial: Array) -> dict[str, Count]:
    """Closed lips found, from the gap (T,) mm; closed = below 1 mm.

    Recall and precision count frames, silence included. A bilabial (number per frame, -1 = none) is recalled if the
    found gap closes in any of its frames.
    """
    true, found = true_mm < CLOSED_MM, found_mm < CLOSED_MM
    both = int((true & found).sum())
    spoken = [found[bilabial == number].any() for number in np.unique(bilabial[bilabial >= 0])]
    return {
        "closure_recall": (both, int(true.sum())),
        "closure_precision": (both, int(found.sum())),
        "bilabial_recall": (int(np.sum(spoken)), len(spoken)),
    }


def normalised_errors(true: HeadPose, found: HeadPose, sigma: Array) -> dict[str, Array]:
    """|error| / sigma by parameter group, of poses with folded necks; entries whose sigma is 0 are held and left out.

    Of the jaw only the opening, of the eyes pitch and yaw: the other axes never move in truth and would flatter.
    """
    layout = ParamLayout(true.expr.shape[1])
    error = np.abs(layout.pack(found) - layout.pack(true))
    entries = {
        "root": np.arange(0, 3),
        "transl": np.arange(3, 6),
        "jaw": np.array([9]),
        "eyes": np.array([12, 13, 15, 16]),
        "expr": np.arange(18, layout.size),
    }
    out = {}
    for group, at in entries.items():
        free = sigma[:, at] > 0
        out[group] = error[:, at][free] / sigma[:, at][free]
    return out


def coverage_counts(errors: Mapping[str, Array]) -> dict[str, Count]:
    """Errors within 1 and within 1.96 sigma, by group; honest sigmas give 68 and 95 %."""
    out = {}
    for group, e in errors.items():
        if len(e):
            out[f"coverage68_{group}"] = (int((e <= 1.0).sum()), len(e))
            out[f"coverage95_{group}"] = (int((e <= 1.96).sum()), len(e))
    return out
