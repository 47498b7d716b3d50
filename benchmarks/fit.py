"""How far tracked heads are from the truth, method by method, on rendered single-person clips.

    python benchmarks/fit.py --seeds 6 --seconds 8 --cache FOLDER --methods landmarks

Every seed gives two clips: the video at 25 frames per second, and a fast one, every k-th of its frames, in which the
face moves by about 6 px per frame. The identity (shape, focal length) is solved once per video, from its landmarks; a
method starts from there. What the columns mean: ``fit_score``. The last line is one JSON object.
"""

from __future__ import annotations

import os

os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fit_data import FIRST_TEST_SEED, FitClip, every_nth, fast_variant, load_clip
from fit_methods import identity_of, landmarks
from fit_photometric import known_of, photometric
from fit_score import Method, MethodResult, Score, pool, score

from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel

COLUMNS = {
    "px": "px",
    "vertex_mm": "vert mm",
    "lip_mm": "lip mm",
    "lip_gap_mm": "gap mm",
    "rotation_deg": "rot deg",
    "rotation_rel_deg": "rot rel",
    "depth_pct": "depth %",
    "focal_pct": "focal %",
    "depth_over_focal_pct": "z/f %",
    "gaze_deg": "gaze",
    "blink_recall": "blink R",
    "blink_precision": "blink P",
    "closure_recall": "clos R",
    "closure_precision": "clos P",
    "bilabial_recall": "bilab R",
    "coverage68": "cov 68",
    "coverage95": "cov 95",
    "jitter_m_s2": "jit m/s2",
    "ok": "ok",
}


METHODS: Mapping[str, Method] = {"landmarks": landmarks, "photometric": photometric}


@dataclass(frozen=True, eq=False)
class Run:
    """One method on one clip."""

    method: str
    clip: FitClip
    score: Score
    seconds: Mapping[str, float]


def raw_px(clip: FitClip) -> float:
    """Mean distance (px) of the detected landmarks from the true ones, where there are any: the named baseline."""
    distance = np.linalg.norm(clip.landmarks_px - clip.true_landmarks_px, axis=-1)
    return float(distance[clip.usable].mean())


def row(name: str, values: Mapping[str, float], ms: Mapping[str, float]) -> str:
    """One line of the table."""
    numbers = "".join(f"{values.get(key, float('nan')):>9.2f}" for key in COLUMNS)
    return f"{name:<24}{numbers}   {' '.join(f'{part} {t:.1f}' for part, t in ms.items())}"


def ms_per_frame(runs: list[Run]) -> dict[str, float]:
    """Part of a method -> wall milliseconds per frame over all runs."""
    frames = sum(len(r.clip) for r in runs)
    parts = {part: None for r in runs for part in r.seconds}
    return {part: 1e3 * sum(r.seconds.get(part, 0.0) for r in runs) / frames for part in parts}


def run_all(methods: list[str], clips: list[FitClip], model: HeadModel) -> list[Run]:
    """Score every method on every clip, and print as it goes."""
    warm = replace(every_nth(clips[0], 8), whole=None)
    for name in methods:
        METHODS[name](warm, model)
    print(f"{'clip':<24}" + "".join(f"{title:>9}" for title in COLUMNS.values()) + "   ms/frame")
    out = []
    for clip in clips:
        for name in methods:
            result = METHODS[name](clip, model)
            out.append(Run(name, clip, score(clip, result, model), result.seconds))
            print(row(f"{clip.name} {name}", pool([out[-1].score]), ms_per_frame([out[-1]])), flush=True)
    return out


def summary(runs: list[Run], methods: list[str]) -> dict[str, dict[str, float | None]]:
    """Print and return the pooled figures, by method and speed."""
    out: dict[str, dict[str, float | None]] = {}
    for name in methods:
        for speed in ("slow", "fast"):
            mine = [r for r in runs if r.method == name and (r.clip.every > 1) == (speed == "fast")]
            values, ms = pool([r.score for r in mine]), ms_per_frame(mine)
            print(row(f"all {speed} {name}", values, ms))
            numbers = {**values, **{f"ms_{part}": t for part, t in ms.items()}}
            out[f"{name}_{speed}"] = {k: round(v, 4) if np.isfinite(v) else None for k, v in numbers.items()}
    return out


def main() -> None:
    """Print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="how many")
    parser.add_argument("--first-seed", type=int, default=FIRST_TEST_SEED, help="400: test; 300: calibration")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a video")
    parser.add_argument("--cache", type=Path, help="folder for rendered clips; default: made anew, then deleted")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=sorted(METHODS))
    args = parser.parse_args()
    model = load_head()
    with tempfile.TemporaryDirectory() as tmp:
        seeds = range(args.first_seed, args.first_seed + args.seeds)
        whole = [load_clip(seed, args.seconds, args.cache or Path(tmp)) for seed in seeds]
    clips = [*whole, *(fast_variant(clip) for clip in whole)]
    for clip in clips:
        lens = clip.true_camera[0] / clip.width_px
        print(
            f"{clip.name:<10}{len(clip):>5} frames, face moves {clip.motion_px:.2f} px/frame, lens {lens:.2f}, "
            f"detected landmarks {raw_px(clip):.2f} px off, tracks and landmarks {clip.detect_ms:.0f} ms/frame"
        )
    runs = run_all(args.methods, clips, model)
    print()
    line = summary(runs, args.methods)
    identities = [identity_of(clip, model).seconds for clip in whole]
    print(f"identity: {np.mean(identities):.2f} s per video")
    motion = {
        "slow_px_per_frame": round(float(np.mean([c.motion_px for c in whole])), 3),
        "fast_px_per_frame": round(float(np.mean([c.motion_px for c in clips[len(whole) :]])), 3),
        "raw_px": round(float(np.mean([raw_px(c) for c in whole])), 3),
        "identity_s": round(float(np.mean(identities)), 3),
        "videos": len(whole),
    }
    print(json.dumps({**line, **motion}))


if __name__ == "__main__":
    main()
