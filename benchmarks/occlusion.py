"""What something in front of a face does to its fit, without and with masks, on rendered clips with known truth.

    python benchmarks/occlusion.py --seeds 2 --seconds 8 --cache FOLDER

Half of every clip's frames get an object that moves over mouth and cheek: an ellipse in this person's own skin colour
(about a hand) or a dark disc on a stick (about a microphone). Landmarks are detected again in the covered pictures. The
person's shape and look come from the clean clip. ``none``: the fit knows of nothing; ``found``: cells from the colours
of the landmarks through the clip, as the stage landmarks finds them, but without its hand finder, which an ellipse does
not fool; ``true``: the pasted cells. Errors are those of the covered frames; ``clean`` is the clip without the object,
in the same frames. Means of ``fit_score``'s numbers; cov 68 and 95: shares of errors inside the sigmas, of all
parameters together. ok: share of these frames whose pixels were used. The last line is one JSON object.
"""

from __future__ import annotations

import os

os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from fit_data import FIRST_TEST_SEED, FitClip, load_clip
from fit_methods import identity_of
from fit_photometric import clip_crops, known_of
from fit_score import MethodResult, fold_neck, normalised_errors, score

from dialogbuild.faces.covered import covered_cells, covered_points, sample_points
from dialogbuild.faces.labels import OCCLUDER, pack_labels
from dialogbuild.faces.mesh import FaceMesher, cut, square_crop
from dialogbuild.fit.clip import ClipFit, ClipOptions, fit_clip
from dialogbuild.fit.cover import NOTHING, Cover, read_cover
from dialogbuild.fit.evidence import Evidence
from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.rig import model_rig
from dialogbuild.fit.track import TrackOptions, track_clip
from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
COLUMNS = ("px", "vertex_mm", "lip_mm", "lip_gap_mm", "rotation_deg", "cov68", "cov95", "ok")
KINDS = ("skin", "microphone")
_SCALE = 1.9
_MOUTH, _CHEEK = 13, 50


@dataclass(frozen=True, eq=False)
class Covered:
    """A clip with an object in front: the clip with its new detections, which frames have it, and the two covers."""

    clip: FitClip
    frames: Array
    covers: Mapping[str, Cover]


def paste(window: Array, at: Array, width: float, kind: str, colour: Array) -> Array:
    """Draw an object into a window (R, R, 3) in place; returns where it is, (R, R) bool."""
    mask = np.zeros(window.shape[:2], np.uint8)
    x, y = (round(v) for v in at)
    if kind == "skin":
        cv2.ellipse(mask, (x, y), (round(0.55 * width), round(0.32 * width)), 25.0, 0.0, 360.0, 255, -1)
    else:
        cv2.circle(mask, (x, y), round(0.3 * width), 255, -1)
        cv2.line(mask, (x, y), (x + round(0.2 * width), y + round(2 * width)), 255, max(round(0.15 * width), 1))
    soft = cv2.GaussianBlur(mask, (0, 0), 1.0)[..., None] / 255
    grain = np.random.default_rng(0).normal(0, 3, (*mask.shape, 1))
    window[:] = np.clip(window * (1 - soft) + (colour + grain) * soft, 0, 255).astype(np.uint8)
    return np.asarray(mask > 0)


def cover_clip(clip: FitClip, kind: str) -> Covered:
    """The clip with an object over the middle half of its frames."""
    T = len(clip)
    frames = clip.frames_rgb.copy()
    true = clip.true_landmarks_px - clip.origin_px[:, None]
    width = np.median(np.linalg.norm(true[:, 33] - true[:, 263], axis=1))
    on = (np.arange(T) >= T // 4) & (np.arange(T) < 3 * T // 4) & clip.usable
    points, z_px = clip.landmarks_px.copy(), clip.z_px.copy()
    parts = {name: np.array([bytes(1024)] * T, object) for name in ("found", "true")}
    crops, colours = np.zeros((T, 4), np.float32), np.zeros((T, 468, 3), np.uint8)
    pasted = np.zeros((T, *frames.shape[1:3]), bool)
    with FaceMesher() as mesher:
        for t in np.flatnonzero(clip.usable):
            box = np.concatenate([points[t].min(axis=0), points[t].max(axis=0)]) - np.tile(clip.origin_px[t], 2)
            crop = square_crop(box.astype(np.float32), _SCALE)
            if on[t]:
                phase = 2 * np.pi * (t - T // 4) / (T / 2)
                place = true[t, _MOUTH] + (true[t, _CHEEK] - true[t, _MOUTH]) * 0.5 * (1 - np.cos(2 * phase))
                skin = np.median(frames[t][tuple(true[t, [50, 280, 101, 330]].astype(int).T[::-1])], axis=0)
                colour = 0.8 * skin if kind == "skin" else np.array([45.0, 45.0, 50.0])
                pasted[t] = paste(frames[t], place, width, kind, colour)
            mesh = mesher(frames[t], crop)
            if mesh is not None:
                points[t], z_px[t] = mesh.points_px + clip.origin_px[t], mesh.z_px
            colours[t] = sample_points(cut(frames[t], crop), points[t] - clip.origin_px[t], crop)
            crops[t] = crop + np.array([*clip.origin_px[t], 0, 0])
    usable = np.flatnonzero(clip.usable)
    hidden = np.zeros((T, 468), bool)
    hidden[usable] = covered_points(points[usable], colours[usable])
    for t in usable:
        shifted = crops[t] - np.array([*clip.origin_px[t], 0, 0], np.float32)
        seen = cut(np.repeat(pasted[t][..., None].astype(np.uint8) * 255, 3, axis=2), shifted, 64)[..., 0] > 127
        parts["true"][t] = _parts(seen)
        parts["found"][t] = _parts(covered_cells(points[t], hidden[t], crops[t]))
    covers = {name: read_cover(p, crops, points, clip.usable) for name, p in parts.items()}
    new = replace(clip, frames_rgb=frames, landmarks_px=points, z_px=z_px, whole=clip)
    return Covered(new, on, {"none": NOTHING, **covers})


def _parts(cells: Array) -> bytes:
    return pack_labels(np.where(cells, np.uint8(OCCLUDER), np.uint8(0)), cells)[1]


def fitted(clip: FitClip, cover: Cover, model: HeadModel, pixels: bool) -> tuple[MethodResult, Array]:
    """The tracker, or the fit to landmarks alone, with a cover; and where pixels (or landmarks) were used (T,)."""
    known = known_of(clip, model)
    e = clip.evidence
    evidence = Evidence(e.row, e.landmarks_px, e.z_px, e.usable, e.box_detected, e.linked, cover)
    shape, camera, used = known.fit.shape, known.camera, clip.usable
    if pixels:
        fit = track_clip(
            known.person, known.prior, camera, evidence, clip_crops(clip), known.walk, model.lid_expr, TrackOptions()
        )
        motion, used = fit.clip, fit.reason == 0
    else:
        motion = _landmark_fit(clip, evidence, known.walk, model)
        identity = identity_of(clip, model)
        shape, camera = identity.fit.shapes[0], identity.camera(clip)
    result = MethodResult(motion.theta, shape, camera, motion.sigma, motion.sigma_lip_mm, {}, motion.fit_ok)
    return result, used


def _landmark_fit(clip: FitClip, evidence: Evidence, walk: Array, model: HeadModel) -> ClipFit:
    identity = identity_of(clip, model)
    rig = model_rig(model).with_shape(identity.fit.shapes[0])
    return fit_clip(rig, identity.prior, identity.camera(clip), evidence, walk, model.lid_expr, ClipOptions())


def numbers(clip: FitClip, result: MethodResult, used: Array, frames: Array, model: HeadModel) -> dict[str, Array]:
    """Per-frame errors of the frames that count, and hits of the sigmas."""
    both = frames & result.ok
    values = {k: v[frames[result.ok]] for k, v in score(clip, result, model).frames.items() if k in COLUMNS}
    true = fold_neck(model, clip.true_pose).frames(both)
    found = fold_neck(model, ParamLayout(model.n_expr).unpack(result.theta, result.shape)).frames(both)
    assert result.sigma is not None
    errors = np.concatenate([e.ravel() for e in normalised_errors(true, found, result.sigma[both]).values()])
    return {**values, "cov68": errors < 1, "cov95": errors < 1.96, "ok": used[frames]}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--first-seed", type=int, default=FIRST_TEST_SEED)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a video")
    parser.add_argument("--cache", type=Path, help="folder for rendered clips; default: made anew, then deleted")
    parser.add_argument("--look", type=Path, help="write covered windows as a PNG to this folder")
    given = parser.parse_args()
    model = load_head()
    rows: dict[str, list[dict[str, Array]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            clip = load_clip(seed, given.seconds, given.cache or Path(scratch))
            for kind in KINDS:
                case = cover_clip(clip, kind)
                if given.look:
                    shown = case.clip.frames_rgb[case.frames][:: max(1, int(case.frames.sum()) // 8)]
                    cv2.imwrite(str(given.look / f"occlusion_{seed}_{kind}.png"), np.hstack(list(shown))[..., ::-1])
                for method in ("landmarks", "pixels"):
                    plain = fitted(clip, NOTHING, model, method == "pixels")
                    rows.setdefault(f"{method} {kind} clean", []).append(numbers(clip, *plain, case.frames, model))
                    for name, cover in case.covers.items():
                        covered = fitted(case.clip, cover, model, method == "pixels")
                        rows.setdefault(f"{method} {kind} {name}", []).append(
                            numbers(clip, *covered, case.frames, model)
                        )
    print(f"{'':<32}" + "".join(f"{c:>14}" for c in COLUMNS))
    out = {}
    for name, several in rows.items():
        out[name] = {c: round(float(np.concatenate([s[c] for s in several]).mean()), 4) for c in COLUMNS}
        print(f"{name:<32}" + "".join(f"{out[name][c]:>14.3f}" for c in COLUMNS))
    print(json.dumps(out))


if __name__ == "__main__":
    main()
