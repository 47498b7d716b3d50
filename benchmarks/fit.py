"""How far tracked heads are from the truth, and what that costs, method by method, on rendered single-person clips.

    python benchmarks/fit.py --seeds 6 --seconds 8 --cache FOLDER

Every seed gives two clips: the video at 25 frames per second, and a fast one, every k-th of its frames, in which the
face moves by about 6 px per frame. The identity (shape, focal length) is solved once per video, from its landmarks; a
method starts from there. What the columns mean: ``fit_score``. Milliseconds are CPU time of this one thread, so that a
busy machine does not count; fps_2cores is wall time of two workers. Adam (``fit_adam``) is run on a sample of the slow
clips' frames, and compared there with the tracker's own solver, without smoother; ``energy`` is the mean over frames of
the cost that solver and Adam on points minimise. A ratio is Adam's CPU time per frame, landmark start included, over
the tracker's, smoother and sigmas included. The last line is one JSON object.
"""

from __future__ import annotations

import os

os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fit_adam import PLANS
from fit_data import FIRST_TEST_SEED, FitClip, every_nth, fast_variant, load_clip
from fit_methods import identity_of, landmarks
from fit_photometric import known_of, photometric
from fit_sample import Sampled, sample
from fit_score import Method, Score, pool, score
from fit_speed import fps_together, worker_memory

from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel

METHODS: Mapping[str, Method] = {"landmarks": landmarks, "photometric": photometric}
COLUMNS = {
    "px": "px slow",
    "px_fast": "px fast",
    "vertex_mm": "vert mm",
    "lip_mm": "lip mm",
    "lip_gap_mm": "gap mm",
    "depth_pct": "depth %",
    "depth_mm": "depth mm",
    "focal_pct": "focal %",
    "rotation_deg": "rot deg",
    "rotation_rel_deg": "rot rel",
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
_FIRST = ("px_fast", "vertex_mm", "lip_mm", "rotation_deg", "blink_recall", "closure_recall", "gaze_deg")
KEYS = {
    "px": "px_slow",
    **{key: key for key in (*_FIRST, "coverage68", "coverage95")},
}  # figure to name
Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class Run:
    """One method on one clip; ``seconds`` of CPU."""

    method: str
    clip: FitClip
    score: Score
    seconds: float


def raw_px(clip: FitClip) -> float:
    """Mean distance (px) of the detected landmarks from the true ones, where there are any: the named baseline."""
    distance = np.linalg.norm(clip.landmarks_px - clip.true_landmarks_px, axis=-1)
    return float(distance[clip.usable].mean())


def header() -> str:
    """Titles of the table."""
    return f"{'':<34}{'ms/frame':>9}{'ratio':>7}{'energy':>8}" + "".join(f"{t:>9}" for t in COLUMNS.values())


def row(name: str, values: Mapping[str, float]) -> str:
    """One line of the table; a blank where a method has no such figure."""

    def cell(key: str, width: int, digits: int) -> str:
        value = values.get(key, float("nan"))
        return f"{value:>{width}.{digits}f}" if np.isfinite(value) else " " * width

    front = cell("ms", 9, 1) + cell("ratio", 7, 2) + cell("energy", 8, 1)
    return f"{name:<34}{front}" + "".join(cell(key, 9, 2) for key in COLUMNS)


def run_all(methods: Sequence[str], clips: Sequence[FitClip], model: HeadModel) -> list[Run]:
    """Score every method on every clip, and print as it goes."""
    warm = replace(every_nth(clips[0], 8), whole=None)
    for name in methods:
        METHODS[name](warm, model)
    out = []
    for clip in clips:
        for name in methods:
            result = METHODS[name](clip, model)
            out.append(Run(name, clip, score(clip, result, model), sum(result.seconds.values())))
            ms = 1e3 * out[-1].seconds / len(clip)
            print(row(f"{clip.name} {name}", {**pool([out[-1].score]), "ms": ms}), flush=True)
    return out


def pooled(runs: Sequence[Run], name: str) -> Numbers:
    """A method's figures: of the slow clips, and the pixel error of the fast ones."""
    slow = [r for r in runs if r.method == name and r.clip.every == 1]
    fast = [r for r in runs if r.method == name and r.clip.every > 1]
    ms = 1e3 * sum(r.seconds for r in slow) / sum(len(r.clip) for r in slow)
    return {**pool([r.score for r in slow]), "px_fast": pool([r.score for r in fast])["px"], "ms": ms}


def print_sampled(sampled: Sequence[Sampled], ours_ms: float) -> dict[str, Numbers]:
    """The table of the sampled frames, and its figures by method. ``ours_ms``: the tracker's CPU time per frame."""
    out = {}
    for s in sampled:
        values = {**pool(s.scores), "energy": s.energy, "ms": s.ms}
        for key in ("blink_recall", "blink_precision", "bilabial_recall", "jitter_m_s2"):
            values.pop(key, None)  # events need neighbouring frames
        if s.method in PLANS:
            values["ratio"] = s.ms / ours_ms
        out[s.method] = values
        print(row(f"{s.method} ({s.frames} frames)", values), flush=True)
    return out


def rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    """For JSON: four digits, None for what is not a number."""
    return {k: round(float(v), 4) if np.isfinite(v) else None for k, v in values.items()}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="how many")
    parser.add_argument("--first-seed", type=int, default=FIRST_TEST_SEED, help="400: test; 300: calibration")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a video")
    parser.add_argument("--cache", type=Path, help="folder for rendered clips; default: made anew, then deleted")
    names = [*METHODS, *PLANS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names)
    parser.add_argument("--no-speed", action="store_true", help="leave out fps_2cores and worker_mb")
    parser.add_argument("--quick", action="store_true", help="2 videos of 4 s, few frames for Adam: a smoke test")
    args = parser.parse_args()
    args.frames, args.pixel_frames, args.speed_s, args.long = 32, 4, 20.0, 3000
    if args.quick:
        args.seeds, args.seconds, args.frames, args.pixel_frames, args.speed_s, args.long = 2, 4.0, 4, 1, 4.0, 300
    return args


def measure(args: argparse.Namespace, cache: Path) -> dict[str, float | None]:
    """Print the tables; give what the JSON line holds."""
    model = load_head()
    whole = [load_clip(args.first_seed + k, args.seconds, cache) for k in range(args.seeds)]
    clips = [*whole, *(fast_variant(clip) for clip in whole)]
    for clip in clips:
        lens = clip.true_camera[0] / clip.width_px
        print(
            f"{clip.name:<10}{len(clip):>5} frames, face moves {clip.motion_px:.2f} px/frame, lens {lens:.2f}, "
            f"detected landmarks {raw_px(clip):.2f} px off, tracks and landmarks {clip.detect_ms:.0f} ms/frame"
        )
    methods, plans = ([n for n in args.methods if n in group] for group in (METHODS, PLANS))
    print(header())
    runs = run_all(methods, clips, model)
    figures = {name: pooled(runs, name) for name in methods}
    print(f"\n{len(whole)} videos, slow but for the one column, together:\n{header()}")
    for name, values in figures.items():
        print(row(name, values))
    sampled = {}
    if plans:
        assert "photometric" in figures, "ratios need the tracker's time"
        print("\nframes alone, without smoother, on a sample of the slow clips:")
        found = sample(plans, whole, model, args.frames, args.pixel_frames)
        sampled = print_sampled(found, figures["photometric"]["ms"])
    extra = {
        "identity_s": float(np.mean([identity_of(clip, model).seconds for clip in whole])),
        "slow_px_per_frame": float(np.mean([c.motion_px for c in whole])),
        "fast_px_per_frame": float(np.mean([c.motion_px for c in clips[len(whole) :]])),
        "raw_px": float(np.mean([raw_px(c) for c in whole])),
        "videos": len(whole),
    }
    if "photometric" in figures:
        extra["bundle_s"] = float(np.mean([known_of(clip, model).seconds for clip in whole]))
        print(f"\nonce per video, CPU: identity {extra['identity_s']:.2f} s, bundle and look {extra['bundle_s']:.2f} s")
    speed = {} if args.no_speed else speeds(args, cache)
    return line(figures, sampled, speed, extra)


def speeds(args: argparse.Namespace, cache: Path) -> Numbers:
    """Throughput of two workers and memory of one."""
    seeds = (args.first_seed, args.first_seed + 1)
    load = os.getloadavg()[0]
    both = fps_together(seeds, args.speed_s, cache)
    print(
        f"two workers, {both['frames']:.0f} frames, identity to sigmas: {both['fps']:.1f} fps; {both['wall_s']:.1f} s "
        f"wall, {both['cpu_s']:.1f} s CPU of both; load average before {load:.1f}"
    )
    one = worker_memory(args.first_seed, args.speed_s, cache, args.long)
    print(
        f"one worker, {args.long} frames: {one['mb']:.0f} MB, before the fit {one['before_mb']:.0f}, windows "
        f"{one['crops_mb']:.0f}; {one['long_ms']:.1f} ms/frame, of {args.speed_s:.0f} s alone {one['once_ms']:.1f}"
    )
    # two processes that share both cores with nothing else would take as long as the busier one's CPU time
    idle = 2 * both["frames"] / both["cpu_s"]
    extra = {"fps_2cores_by_cpu_time": idle, "load_average": load}
    memory = {"worker_before_mb": one["before_mb"], "worker_crops_mb": one["crops_mb"]}
    more = {"long_ms_per_frame": one["long_ms"], "short_ms_per_frame": one["once_ms"]}
    return {"fps_2cores": both["fps"], "worker_mb": one["mb"], **extra, **memory, **more}


def line(figures: Mapping[str, Numbers], sampled: Mapping[str, Numbers], speed: Numbers, extra: Numbers) -> Numbers:
    """Everything for the last line, what is asked for most first."""
    nan = float("nan")
    ours = figures.get("photometric", {})
    ratio = {f"ratio_{n.replace('-', '_')}": values["ratio"] for n, values in sampled.items() if n in PLANS}
    first = {"fps_2cores": speed.get("fps_2cores", nan)}
    first |= {key: ratio.get(key, nan) for key in ("ratio_adam_points_50", "ratio_adam_pixel_50")}
    first |= {name: ours.get(key, nan) for key, name in KEYS.items()}
    first["worker_mb"] = speed.get("worker_mb", nan)
    rest = {key: ours.get(key, nan) for key in ("depth_pct", "depth_mm", "focal_pct", "lip_gap_mm", "rotation_rel_deg")}
    rest |= {"photometric_ms": ours.get("ms", nan), **ratio, **extra, **speed}
    known = figures.get("landmarks", {})
    more = {"depth_pct": "depth_pct", "ms": "ms"}
    rest |= {f"landmarks_{name}": known.get(key, nan) for key, name in {**KEYS, **more}.items()}
    for name, values in sampled.items():
        for key in ("energy", "ms", "px", "vertex_mm", "lip_mm", "rotation_deg"):
            rest[f"{name.replace('-', '_').replace(' ', '_')}_{key}"] = values.get(key, nan)
    return {**first, **{k: v for k, v in rest.items() if k not in first}}


def main() -> None:
    """Print the tables and the JSON line."""
    args = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(rounded(measure(args, args.cache or Path(scratch)))))


if __name__ == "__main__":
    main()
