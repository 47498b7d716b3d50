"""Factors that make the photometric fit's sigmas honest, from rendered people that no test or score uses.

    python benchmarks/calibrate_sigmas.py --seeds 16 --seconds 6 --cache DIR

Prints a ``Calibration`` for ``dialogbuild/fit/uncertainty.py``, and the coverage it gives on its own people; the
coverage that counts is ``benchmarks/fit.py``'s, on others. ``frame``: how much a person's errors scatter around their
mean, over the posterior's sigma. ``common``: bisected so that 1 and 1.96 sigma together hold what they should.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fit_data import load_clip
from fit_photometric import track
from fit_score import fold_neck, lip_gap_mm, skull_vertices_m

from dialogbuild.fit.params import ParamLayout
from dialogbuild.fit.regions import LEFT_LID_PAIRS, RIGHT_LID_PAIRS
from dialogbuild.fit.track import TrackOptions
from dialogbuild.fit.uncertainty import CALIBRATED_BLOCKS
from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel
from dialogbuild.head.pose import HeadPose

Array = npt.NDArray[Any]
FIRST_SEED = 300
ONE_SIGMA, TWO_SIGMA = 0.6827, 0.95
# Axes that never move in the rendered people would flatter.
ENTRIES = {"jaw": [9], "eyes": [12, 13, 15, 16]}


def bisect(error: Array, frame: Array, common: Array) -> float:
    """The factor on ``common`` with which 1 and 1.96 sigma hold 68 and 95 % of the errors, their sum that is."""
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        scaled = np.abs(error) / np.maximum(np.hypot(frame, middle * common), 1e-12)
        held = (scaled <= 1).mean() + (scaled <= 1.96).mean()
        low, high = (middle, high) if held < ONE_SIGMA + TWO_SIGMA else (low, middle)
    return high


def face_m(model: HeadModel, pose: HeadPose) -> Array:
    """Face points (T, N, 3) m in the skull frame, without what shifts the face as a whole."""
    points = skull_vertices_m(model, pose, np.asarray(model.masks["face"])[::40])
    return np.asarray(points - points.mean(axis=1, keepdims=True))


def lid_gap_mm(model: HeadModel, pose: HeadPose) -> Array:
    """Opening (T, 2) mm between the middles of the subject's left and right lids, along the skull's vertical."""
    embedding = model.landmarks["mp478"]
    pairs = (LEFT_LID_PAIRS[0], RIGHT_LID_PAIRS[0])
    rows = [int(np.flatnonzero(embedding.index == i)[0]) for pair in pairs for i in pair]
    corners, bary = embedding.vertices(model.faces)[rows], embedding.bary[rows]
    y = skull_vertices_m(model, pose, corners.ravel())[..., 1].reshape(-1, 4, 3)
    points = np.einsum("tnc,nc->tn", y, bary)
    return np.asarray(1e3 * (points[:, ::2] - points[:, 1::2]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--cache", type=Path)
    args = parser.parse_args()
    model = load_head()
    layout = ParamLayout(model.n_expr)
    people: list[dict[str, Array]] = []
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        clip = load_clip(seed, args.seconds, args.cache)
        known, fit, _ = track(clip, model, TrackOptions(calibration=None))
        ok = fit.clip.fit_ok
        pose = layout.unpack(fit.clip.theta, known.fit.shape)
        true, found = fold_neck(model, clip.true_pose), fold_neck(model, pose)
        people.append(
            {
                "error": (layout.pack(found) - layout.pack(true))[ok],
                "frame": fit.clip.sigma[ok],
                "common": np.broadcast_to(known.fit.look.theta_sigma, fit.clip.sigma[ok].shape),
                "lip": (lip_gap_mm(model, found) - lip_gap_mm(model, true))[ok],
                "lid": (lid_gap_mm(model, found) - lid_gap_mm(model, true))[ok],
                "face": 1e3 * (face_m(model, found) - face_m(model, true))[ok].reshape(int(ok.sum()), -1),
                "lip_frame": fit.clip.sigma_lip_mm[ok],
                "lid_frame": fit.clip.sigma_lid_mm[ok],
                "face_frame": fit.clip.sigma_face_mm[ok],
            }
        )
        sys.stderr.write(f"\r{seed - FIRST_SEED + 1}/{args.seeds} people")
    sys.stderr.write("\n")
    line: dict[str, Any] = {"frame": [], "common": [], "coverage68": [], "coverage95": []}
    for name in CALIBRATED_BLOCKS:
        where = layout.blocks[name]
        at = np.array(ENTRIES.get(name, list(range(where.start, where.stop))))
        error, frame, common = (np.concatenate([p[k][:, at] for p in people]) for k in ("error", "frame", "common"))
        scatter = np.concatenate([p["error"][:, at] - p["error"][:, at].mean(0) for p in people])
        a = float(np.sqrt((scatter**2).mean() / (frame**2).mean()))
        c = bisect(error, a * frame, common)
        sigma = np.hypot(a * frame, c * common)
        line["frame"].append(round(a, 2))
        line["common"].append(round(c, 2))
        line["coverage68"].append(round(float((np.abs(error) <= sigma).mean()), 3))
        line["coverage95"].append(round(float((np.abs(error) <= 1.96 * sigma).mean()), 3))
        print(f"{name:<8} frame x {a:5.2f}  common x {c:5.2f}  rms error {np.sqrt((error**2).mean()):.4f}")
    for name in ("lip", "lid", "face"):
        error = np.concatenate([p[name].reshape(len(p["error"]), -1) for p in people])
        frame = np.concatenate([p[f"{name}_frame"] for p in people])[:, None]
        line[f"{name}_mm"] = round(bisect(error, frame, np.ones_like(frame)), 2)
        sigma = np.hypot(frame, line[f"{name}_mm"])
        print(f"{name:<8} {line[f'{name}_mm']:.2f} mm; 95 %: {(np.abs(error) <= 1.96 * sigma).mean():.3f}")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
