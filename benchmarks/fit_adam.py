"""Adam on the tracker's own problem: same person, light, frames, start, targets and robust costs, another optimiser.

Every frame is a problem of its own that starts from its landmark fit. The smoother, which couples frames, is left out
for all methods here, so that only the optimisers differ.

``points``  the tracker's surface points, bilinear colours, visibility held as found at the start. 32 frames are
            one batch: in torch that costs a seventh, per frame, of one at a time, and larger batches gain no more.
            ``alone`` is one at a time, which is all that a tracker can do whose frames start from their neighbours.
``pixel``   every pixel of the face, as analysis-by-synthesis trackers compare it: the mesh is drawn anew in each step
            (compiled rasteriser, torch interpolation at fixed visibility), frame by frame. Weights are scaled so that
            the pixels count as much as the points do.

Budgets: 50 steps per frame, as VHAP (Qian, 2024) takes in sequential tracking, and 310, as metrical-tracker (Zielonka
et al., ECCV 2022). Rates: ``fit_adam_tune``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fit_frames import Frames
from fit_paint import Paint, scene_of
from fit_torch import LandmarkEnergy, PixelEnergy, PointEnergy, PriorEnergy
from torch import Tensor

Array = npt.NDArray[Any]
Energy = Callable[[Tensor], Tensor]
_LAST_RATE = 0.05  # where a cosine ends, relative to its start


@dataclass(frozen=True)
class AdamPlan:
    """A budget of steps. The rate of a parameter is ``factor`` times its group's in ``RATES``, constant or a cosine.

    ``batch`` frames are one tensor, if they are points.
    """

    pixel: bool
    steps: int
    factor: float
    cosine: bool
    batch: int = 32


GROUPS = {
    "root": slice(0, 3),
    "xy": slice(3, 5),
    "z": slice(5, 6),
    "jaw": slice(9, 12),
    "eyes": slice(12, 18),
    "expr": slice(18, None),
}
RATES = {"root": 0.009, "xy": 0.0011, "z": 0.0048, "jaw": 0.0071, "eyes": 0.041, "expr": 0.06}
PLANS = {
    "adam-points-50": AdamPlan(False, 50, 0.2, False),
    "adam-points-150": AdamPlan(False, 150, 0.2, False),
    "adam-points-50-alone": AdamPlan(False, 50, 0.2, False, batch=1),
    "adam-pixel-50": AdamPlan(True, 50, 0.2, False),
    "adam-pixel-310": AdamPlan(True, 310, 0.2, False),
}


def adam(energies: Sequence[Energy], theta: Array, free: Array, plan: AdamPlan) -> Array:
    """Minimise the sum of energies over theta (n, P) from its start; what is not ``free`` stays."""
    start = torch.from_numpy(theta.astype(np.float32))
    scale = torch.zeros(theta.shape[1])
    scale[free] = torch.from_numpy(rates_of(theta.shape[1])[free].astype(np.float32)) * plan.factor
    moved = torch.zeros_like(start, requires_grad=True)  # in units of one full step, so that one rate serves all
    optimiser = torch.optim.Adam([moved], lr=1.0)
    for step in range(plan.steps):
        if plan.cosine:
            share = 0.5 * (1 + np.cos(np.pi * step / plan.steps))
            optimiser.param_groups[0]["lr"] = _LAST_RATE + (1 - _LAST_RATE) * float(share)
        optimiser.zero_grad()
        at = start + moved * scale
        torch.stack([energy(at).sum() for energy in energies]).sum().backward()
        optimiser.step()
    return np.asarray((start + moved.detach() * scale).double().numpy())


def rates_of(size: int) -> Array:
    """``RATES`` per entry of theta (P,)."""
    out = np.zeros(size)
    for name, where in GROUPS.items():
        out[where] = RATES[name]
    return out


def adam_points(frames: Frames, plan: AdamPlan) -> Array:
    """Adam on the points, in batches: theta (n, P)."""
    prior, parts = frames.known.prior, []
    block = frames.block(frames.theta)
    for first in range(0, len(frames.theta), plan.batch):
        rows = np.arange(first, min(first + plan.batch, len(frames.theta)))
        energies = [PointEnergy(block, rows), LandmarkEnergy(frames.landmarks, rows), PriorEnergy(prior.block)]
        parts.append(adam(energies, frames.theta[rows], prior.free, plan))
    return np.concatenate(parts)


def adam_pixel(frames: Frames, plan: AdamPlan, paint: Paint) -> Array:
    """Adam on drawn pixels, frame by frame: theta (n, P)."""
    prior, out = frames.known.prior, []
    seen = frames.block(frames.theta).weight.sum(axis=1)
    for k in range(len(frames.theta)):
        energies = [
            PixelEnergy(scene_of(frames, k, paint, float(seen[k]))),
            LandmarkEnergy(frames.landmarks, np.array([k])),
            PriorEnergy(prior.block),
        ]
        out.append(adam(energies, frames.theta[k : k + 1], prior.free, plan))
    return np.concatenate(out)
