"""Levenberg-Marquardt of a whole batch without leaving the device: the tensor twin of ``gauss_newton.solve_frames``.

Steps, acceptance and damping are decided per frame by the same rules, with masks instead of lists, for a fixed number
of iterations. A trial's cost and normal equations are computed in one pass, so that a rejected step costs as much as a
good one; nothing is read back before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dialogbuild.errors import ConfigError
from dialogbuild.fit.gauss_newton import FrameFit, SolverOptions, plausible
from dialogbuild.fit.normal import NormalEquations
from dialogbuild.fit.params import Prior
from dialogbuild.fit.torch_engine import CHUNK_FRAMES, TorchBlock, TorchEquations, TorchPrior

Array = np.ndarray[Any, np.dtype[Any]]


class State(NamedTuple):
    """A solve in progress: theta (n, P), H, g and cost there, damping (n,), iterations (n,), and verdicts (n,) bool."""

    theta: Tensor
    H: Tensor
    g: Tensor
    cost: Tensor
    damping: Tensor
    iterations: Tensor
    converged: Tensor
    stuck: Tensor


def solve_frames_torch(
    blocks: Sequence[TorchBlock],
    prior: Prior,
    theta: Array,
    options: SolverOptions,
    capture: bool = False,
    chunk_frames: int | None = None,
) -> FrameFit:
    """Minimise the blocks' cost plus the prior for each frame of theta (T, P).

    Args:
        blocks: at least one, all on one device.
        capture: record one iteration as a CUDA graph and replay it. Untested on CUDA hardware so far.
        chunk_frames: frames solved at once; None = what suits the device.

    Raises:
        ConfigError: ``capture`` without a CUDA device.
    """
    device = blocks[0].device
    if capture and device.type != "cuda":
        raise ConfigError(f"capture needs blocks on a CUDA device, not {device.type}")
    everything = (*blocks, TorchPrior.from_block(prior.block, device))
    free = torch.as_tensor(prior.free).to(device)
    parts = []
    size = chunk_frames or CHUNK_FRAMES[device.type]
    for a in range(0, len(theta), size):
        start = torch.as_tensor(np.ascontiguousarray(theta[a : a + size], np.float64)).to(device)
        frames = torch.arange(a, a + len(start), device=device)
        parts.append(_solve_chunk(everything, free, start, frames, options, capture))
    found = State(*(torch.cat(field) for field in zip(*parts, strict=True)))
    H, g, cost, end = (x.cpu().numpy() for x in (found.H, found.g, found.cost, found.theta))
    iterations, converged = found.iterations.cpu().numpy(), found.converged.cpu().numpy()
    return FrameFit(end, NormalEquations(H, g, cost), iterations, converged, plausible(end, cost))


def _solve_chunk(
    blocks: Sequence[TorchBlock], free: Tensor, theta: Tensor, frames: Tensor, options: SolverOptions, capture: bool
) -> State:
    n = len(theta)
    no = torch.zeros(n, dtype=torch.bool, device=theta.device)
    damping = torch.full((n,), options.damping, dtype=torch.float64, device=theta.device)
    iterations = torch.zeros(n, dtype=torch.int64, device=theta.device)
    state = State(theta, *_assembled(blocks, theta, frames), damping, iterations, no, no)

    def iterate(s: State) -> State:
        return _iterate(s, blocks, free, frames, options.tolerance)

    if capture:
        return _replayed(iterate, state, options.max_iterations)
    for _ in range(options.max_iterations):
        # on a GPU, asking whether all are done would wait for it; idle iterations are cheaper
        if theta.device.type == "cpu" and bool((state.converged | state.stuck).all()):
            break
        state = iterate(state)
    return state


def _assembled(blocks: Sequence[TorchBlock], theta: Tensor, frames: Tensor) -> TorchEquations:
    parts = [block.equations(theta, frames) for block in blocks]
    H, g, cost = (torch.stack(field).sum(0) for field in zip(*parts, strict=True))
    return TorchEquations(H, g, cost)


def _iterate(s: State, blocks: Sequence[TorchBlock], free: Tensor, frames: Tensor, tolerance: float) -> State:
    """One damped step of every frame that is neither converged nor stuck; the others stay as they are."""
    active = ~(s.converged | s.stuck)
    step, predicted = damped_step(s.H, s.g, s.damping, free)
    trial = s.theta + step
    new = _assembled(blocks, trial, frames)
    drop = s.cost - new.cost
    better = active & torch.isfinite(new.cost) & (drop > 0)
    gain = torch.where(better, drop, 0.0) / predicted.clamp_min(1e-12)
    damping = torch.where(gain > 0.25, s.damping * 0.2, torch.where(better, s.damping, s.damping * 6)).clamp_min(1e-7)
    damping = torch.where(active, damping, s.damping)
    done = torch.where(better, drop, predicted) < tolerance
    return State(
        theta=torch.where(better[:, None], trial, s.theta),
        H=torch.where(better[:, None, None], new.H, s.H),
        g=torch.where(better[:, None], new.g, s.g),
        cost=torch.where(better, new.cost, s.cost),
        damping=damping,
        iterations=s.iterations + active,
        converged=s.converged | (active & done),
        stuck=s.stuck | (damping > 1e8),
    )


def damped_step(H: Tensor, g: Tensor, damping: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """See ``gauss_newton.damped_step``; by Cholesky. Where it fails, the step is 0 and inf is promised."""
    A = H.index_select(1, free).index_select(2, free)
    diagonal = torch.sqrt(A.diagonal(dim1=1, dim2=2).clamp_min(1e-12))
    scaled = A / (diagonal[:, :, None] * diagonal[:, None])
    scaled.diagonal(dim1=1, dim2=2).copy_((1.0 + damping)[:, None].expand_as(diagonal))
    gradient = g.index_select(1, free)
    factor, info = torch.linalg.cholesky_ex(scaled)
    solved = -torch.cholesky_solve((gradient / diagonal)[..., None], factor)[..., 0] / diagonal
    good = (info == 0) & torch.isfinite(solved).all(1)
    solved = torch.where(good[:, None], solved, 0.0)
    curvature = ((A @ solved[..., None])[..., 0] * solved).sum(1)
    predicted = torch.where(good, -(gradient * solved).sum(1) - 0.5 * curvature, torch.inf)
    return torch.zeros_like(g).index_copy(1, free, solved), predicted


def _replayed(iterate: Callable[[State], State], state: State, count: int) -> State:
    """``count`` iterations as replays of one CUDA graph. Untested on CUDA hardware so far."""
    static = State(*(x.clone() for x in state))
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries allocate their workspaces on the first call
        iterate(static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for kept, new in zip(static, iterate(static), strict=True):
            kept.copy_(new)
    for _ in range(count):
        graph.replay()
    return static
