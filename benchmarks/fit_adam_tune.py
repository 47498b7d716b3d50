"""Choose Adam's rates, in its favour, on calibration clips; ``fit_adam`` holds what came out.

    python benchmarks/fit_adam_tune.py --cache FOLDER

A group's rate is the root-mean-square distance that the solution lies from the start: a diagonal scaling taken from the
answer. A factor per budget and the schedule are then searched on a grid. Points are judged by their energy, pixels by
theirs.
"""

from __future__ import annotations

import os

os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fit_adam import GROUPS, PLANS, RATES, AdamPlan, adam_pixel, adam_points
from fit_data import CALIBRATION_SEEDS, load_clip
from fit_frames import Frames, energy_of, gauss_newton, prepare, spread_over
from fit_paint import Paint, paint_of, scene_of
from fit_torch import LandmarkEnergy, PixelEnergy, PriorEnergy

from dialogbuild.head import load_head

Array = npt.NDArray[Any]
FACTORS = (0.05, 0.1, 0.2, 0.4, 0.8)


def pixel_energy(frames: Frames, theta: Array, paint: Paint) -> Array:
    """The energy (n,) that Adam on pixels minimises."""
    seen, out = frames.block(frames.theta).weight.sum(axis=1), []
    for k in range(len(theta)):
        at = torch.from_numpy(theta[k : k + 1].astype(np.float32))
        rows = np.array([k])
        pixels = PixelEnergy(scene_of(frames, k, paint, float(seen[k])))
        blocks = (pixels, LandmarkEnergy(frames.landmarks, rows), PriorEnergy(frames.known.prior.block))
        out.append(sum(float(block(at).detach()) for block in blocks))
    return np.array(out)


def main() -> None:
    """Print the distances, and the energy for every plan of the grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for rendered clips")
    parser.add_argument("--frames", type=int, default=32, help="per clip, points")
    parser.add_argument("--pixel-frames", type=int, default=2, help="per clip")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_head()
    clips = [load_clip(seed, 8.0, args.cache) for seed in CALIBRATION_SEEDS[:2]]
    problems = [prepare(clip, model, spread_over(clip, args.frames)) for clip in clips]
    solved = [gauss_newton(p) for p in problems]
    moved = np.concatenate([s - p.theta for s, p in zip(solved, problems, strict=True)])
    found = {name: round(float(np.sqrt((moved[:, where] ** 2).mean())), 4) for name, where in GROUPS.items()}
    print("distance of the solution from the start", found, "rates in use", RATES)
    few = [prepare(clip, model, spread_over(clip, args.pixel_frames)) for clip in clips]
    paints = [paint_of(p, model) for p in few]
    print(f"{'points':<18} start {mean_energy(problems, [p.theta for p in problems]):.2f}")
    print(f"{'points':<18} gauss-newton {mean_energy(problems, solved):.2f}")
    print(f"{'pixels':<18} start {mean_pixel(few, [p.theta for p in few], paints):.2f}")
    print(f"{'pixels':<18} gauss-newton on points {mean_pixel(few, [gauss_newton(p) for p in few], paints):.2f}")
    for name, plan in PLANS.items():
        for cosine in (False, True):
            for factor in FACTORS:
                try_plan(name, replace(plan, factor=factor, cosine=cosine), problems, few, paints)


def try_plan(name: str, plan: AdamPlan, problems: list[Frames], few: list[Frames], paints: list[Paint]) -> None:
    """One line of the grid."""
    if plan.pixel:
        energy = mean_pixel(few, [adam_pixel(p, plan, paint) for p, paint in zip(few, paints, strict=True)], paints)
    else:
        energy = mean_energy(problems, [adam_points(p, plan) for p in problems])
    shape = "cosine" if plan.cosine else "constant"
    print(f"{name:<18} {shape:<9} factor {plan.factor:<5g} {energy:.2f}", flush=True)


def mean_energy(problems: list[Frames], thetas: list[Array]) -> float:
    """Mean over frames of the energy of points."""
    each = [energy_of(p, t, p.block(p.theta)) for p, t in zip(problems, thetas, strict=True)]
    return float(np.concatenate(each).mean())


def mean_pixel(few: list[Frames], thetas: list[Array], paints: list[Paint]) -> float:
    """Mean over frames of the energy of pixels."""
    each = [pixel_energy(p, t, paint) for p, t, paint in zip(few, thetas, paints, strict=True)]
    return float(np.concatenate(each).mean())


if __name__ == "__main__":
    main()
