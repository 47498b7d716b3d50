"""The tracker's solver and Adam on a sample of frames, each frame alone: accuracy, energy and CPU time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fit_adam import PLANS, AdamPlan, adam_pixel, adam_points
from fit_data import FitClip
from fit_frames import Frames, energy_of, gauss_newton, prepare, spread_over
from fit_paint import paint_of
from fit_score import MethodResult, Score, score
from fit_speed import pick

from dialogbuild.head.model import HeadModel

Array = npt.NDArray[Any]
Solve = Callable[[Frames], Array]


@dataclass(frozen=True, eq=False)
class Sampled:
    """One method on the sampled frames of all clips.

    ``energy`` is a mean over frames; ``ms`` is CPU time per frame, landmark start included.
    """

    method: str
    frames: int
    scores: Sequence[Score]
    energy: float
    ms: float


def sample(
    plans: Sequence[str], clips: Sequence[FitClip], model: HeadModel, count: int, pixel_count: int
) -> list[Sampled]:
    """Start, the tracker's solver and the named plans, on ``count`` or, to draw, ``pixel_count`` frames per clip."""
    torch.set_num_threads(1)
    out = []
    for pixel, frames_per_clip, suffix in ((False, count, ""), (True, pixel_count, " few")):
        mine = {name: PLANS[name] for name in plans if PLANS[name].pixel == pixel}
        if not mine:
            continue
        problems = [prepare(clip, model, spread_over(clip, frames_per_clip)) for clip in clips]
        gauss_newton(problems[0])
        out.append(_try(f"landmark start{suffix}", lambda frames: frames.theta, problems, model))
        out.append(_try(f"gauss-newton{suffix}", gauss_newton, problems, model))
        for name, plan in mine.items():
            _solver(replace(plan, steps=2), problems[:1], model)(problems[0])  # what torch does once, is not timed
            solve = _solver(plan, problems, model)
            out.append(_try(name, solve, problems, model))
    return out


def _solver(plan: AdamPlan, problems: Sequence[Frames], model: HeadModel) -> Solve:
    """A plan as a function of frames; a person is painted before the clock starts, as are the points."""
    if not plan.pixel:
        return lambda frames: adam_points(frames, plan)
    paints = {p.clip: paint_of(p, model) for p in problems}
    return lambda frames: adam_pixel(frames, plan, paints[frames.clip])


def _try(name: str, solve: Solve, problems: Sequence[Frames], model: HeadModel) -> Sampled:
    scores, energy, spent = [], [], 0.0
    for frames in problems:
        start = time.process_time()
        theta = solve(frames)
        spent += time.process_time() - start + frames.start_s * len(theta)
        energy.append(energy_of(frames, theta, frames.block(frames.theta)))
        scores.append(_score(frames, theta, model))
    n = sum(len(p.theta) for p in problems)
    return Sampled(name, n, scores, float(np.concatenate(energy).mean()), 1e3 * spent / n)


def _score(frames: Frames, theta: Array, model: HeadModel) -> Score:
    n = len(theta)
    clip = pick(frames.clip, frames.at, np.zeros(n - 1, bool))
    known = frames.known
    return score(clip, MethodResult(theta, known.fit.shape, known.camera, None, None, {}, np.ones(n, bool)), model)
