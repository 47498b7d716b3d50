"""Milliseconds per frame and iteration of the normal-equation engines, on the procedural head.

    python benchmarks/engines.py                      or    --batches 1 16 64 --device cuda --expr 100

One Gauss-Newton iteration needs the normal equations of pixels and of landmarks. They are timed apart, at parameters
near the truth of rendered windows, for batches of several sizes; best of ``--repeats`` rounds, one thread. The named
baseline is the compiled engine (numba and BLAS, float32, one frame after another) in the same process.

numba           ``PhotometricBlock.assemble``, ``LandmarkBlock.assemble``
torch           the batched engine in float32, by the same calls: data on its device, parameters and results not
torch float64   the reference
solve           three damped steps on both blocks, per frame and step: ``solve_frames``, and ``solve_frames_torch``,
                which stays on its device; both assemble once more at the start

``--expr`` pads the head's 40 expressions with random smooth ones, to the size of larger models. Only half of the points
are visible in a typical frame: the compiled engine leaves the others out, the batched one multiplies them by zero.
"""

from __future__ import annotations

import os

os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from dialogbuild.fit.gauss_newton import SolverOptions, solve_frames
from dialogbuild.fit.landmarks import LandmarkBlock, facing_weight, landmark_block
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import ParamLayout, Prior, PriorSigmas, make_prior
from dialogbuild.fit.photometric import PhotometricBlock, PhotometricNoise
from dialogbuild.fit.photometric_kernel import sample_points
from dialogbuild.fit.regions import N_LANDMARKS, LandmarkNoise
from dialogbuild.fit.rig import model_rig, pose_points, project_points
from dialogbuild.fit.surface import build_surface
from dialogbuild.fit.torch_engine import TorchBlock, TorchLandmarks, TorchPhotometric
from dialogbuild.fit.torch_rig import resolve_device
from dialogbuild.fit.torch_solver import solve_frames_torch
from dialogbuild.fit.visibility import build_mesh, view_points
from dialogbuild.head import HeadModel, load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import pose_head, to_camera
from dialogbuild.render.appearance import make_appearance
from dialogbuild.render.scene import render_head
from dialogbuild.render.shading import studio_light

SIDE_PX = 256
CAMERA = (640.0, 128.0, 108.0)
STEPS = 3
BASELINE = "numba"


@dataclass(frozen=True, eq=False)
class Case:
    """Both blocks of n frames, parameters near their truth, and the prior."""

    landmarks: LandmarkBlock
    pixels: PhotometricBlock
    theta: np.ndarray
    prior: Prior


def padded(model: HeadModel, n_expr: int) -> HeadModel:
    """The head with further expressions, linear mixtures of its own, so that it has ``n_expr``."""
    extra = n_expr - model.n_expr
    if extra <= 0:
        return model
    mixture = np.random.default_rng(0).normal(size=(model.n_expr, extra)) / model.n_expr**0.5
    more = (model.expr_dirs.reshape(-1, model.n_expr) @ mixture).reshape(*model.expr_dirs.shape[:2], extra)
    return replace(
        model,
        expr_dirs=np.concatenate([model.expr_dirs, more.astype(np.float32)], axis=2),
        expr_names=(*model.expr_names, *(f"mixture{i}" for i in range(extra))),
    )


def make_case(model: HeadModel, n: int, n_points: int) -> Case:
    """Render n windows and pair them with their own colours and landmarks, a little wrong."""
    rng = np.random.default_rng(n)
    layout, base = ParamLayout(model.n_expr), load_head()
    theta = np.zeros((n, layout.size))
    theta[:, :3] = rng.uniform(-0.3, 0.3, (n, 3))
    theta[:, 5] = 0.6
    theta[:, 9] = rng.uniform(0, 0.2, n)
    theta[:, 18 : 18 + base.n_expr] = rng.uniform(0, 0.3, (n, base.n_expr))
    shape = np.zeros(model.n_shape)
    pose = layout.unpack(theta, shape)
    painted, camera = make_appearance(base, seed=1), Camera(*CAMERA, SIDE_PX, SIDE_PX)
    wall = np.full((SIDE_PX, SIDE_PX, 3), 100, np.uint8)
    vertices = to_camera(pose_head(model, pose), pose.transl_m)
    images = np.stack([render_head(base, painted, v, camera, studio_light(), wall) for v in vertices])
    surface, cameras = build_surface(model, n_points), np.repeat([CAMERA], n, axis=0)
    bounds = np.repeat([[0, 0, SIDE_PX, SIDE_PX]], n, axis=0)
    view = view_points(build_mesh(model, surface, shape), surface, theta, cameras, bounds, SIDE_PX)
    pixels, _ = project_points(pose_points(surface.rig, theta).points, theta[:, 3:6], CAMERA)
    sampled = np.empty((n, surface.n_points, 3, 3), np.float32)
    for k in range(n):
        sample_points(images[k], pixels[k].astype(np.float32), np.float32(1), sampled[k])
    noise = PhotometricNoise()
    block = PhotometricBlock(
        surface.rig, cameras, images, 0, view.weight, np.ascontiguousarray(sampled[..., 0]), noise.sigma(surface.eye),
        noise.dof, noise.independence,
    )  # fmt: skip
    rig = model_rig(model)
    found = np.zeros((n, N_LANDMARKS, 2))
    found[:, rig.index] = project_points(pose_points(rig, theta).points, theta[:, 3:6], CAMERA)[0]
    facing = facing_weight(rig, theta[:, :3], theta[:, 3:6])
    marks = landmark_block(rig, CAMERA, found, np.ones(n, bool), np.full(n, 90.0), facing, LandmarkNoise(), Robust())
    scale = np.full(layout.size, 0.03)
    scale[:18], scale[3:6], scale[6:9] = 0.005, 0.001, 0.0
    return Case(marks, block, theta + scale * rng.normal(size=theta.shape), make_prior(layout, model, PriorSigmas()))


def best_ms(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Best of some rounds after one that warms up."""
    times = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if i:
            times.append(time.perf_counter() - start)
    return min(times) * 1000


def measure(case: Case, repeats: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Milliseconds per frame (and step): row to engine to time."""
    n, frames = len(case.theta), np.arange(len(case.theta))
    out: dict[str, dict[str, float]] = {}
    tensors: dict[torch.dtype, list[TorchBlock]] = {
        dtype: [
            TorchPhotometric.from_block(case.pixels, device, dtype),
            TorchLandmarks.from_block(case.landmarks, device, dtype),
        ]
        for dtype in (torch.float32, torch.float64)
    }
    for row, (name, block) in enumerate((("pixels", case.pixels), ("landmarks", case.landmarks))):
        works: dict[str, Callable[[], object]] = {
            BASELINE: lambda b=block: b.assemble(case.theta, frames),  # type: ignore[misc]
            "torch": lambda b=tensors[torch.float32][row]: b.assemble(case.theta, frames),  # type: ignore[misc]
            "torch float64": lambda b=tensors[torch.float64][row]: b.assemble(case.theta, frames),  # type: ignore[misc]
        }
        out[name] = {engine: best_ms(work, repeats, device) / n for engine, work in works.items()}
    options = SolverOptions(STEPS, 0.0)
    host = [case.landmarks, case.pixels]
    solves: dict[str, Callable[[], object]] = {
        BASELINE: lambda: solve_frames(host, case.prior, case.theta, options),
        "torch": lambda: solve_frames_torch(tensors[torch.float32], case.prior, case.theta, options),
    }
    if device.type == "cuda":
        solves["torch captured"] = lambda: solve_frames_torch(
            tensors[torch.float32], case.prior, case.theta, options, capture=True
        )
    out["solve"] = {engine: best_ms(work, max(1, repeats // 2), device) / n / STEPS for engine, work in solves.items()}
    return out


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--expr", type=int, default=0, help="pad the expressions to this many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda, for torch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = resolve_device(options.device)
    model = padded(load_head(), options.expr)
    results = {}
    for n in options.batches:
        case = make_case(model, n, options.points)
        table = measure(case, options.repeats, device)
        visible = float((case.pixels.weight > 0).mean())
        results[str(n)] = {row: {k: round(v, 3) for k, v in times.items()} for row, times in table.items()}
        P = case.theta.shape[1]
        print(
            f"\nbatch {n}: {options.points} points ({visible:.0%} visible), {P} parameters, ms per frame and iteration"
        )
        for row, times in table.items():
            for engine, ms in times.items():
                note = "  <- baseline" if engine == BASELINE else f"  x {ms / times[BASELINE]:.2f}"
                print(f"  {row:10s} {engine:15s} {ms:9.3f}{note}")
    print(
        json.dumps(
            {
                "benchmark": "engines",
                "baseline": BASELINE,
                "device": str(device),
                "torch": torch.__version__,
                "machine": platform.machine(),
                "points": options.points,
                "parameters": model.n_expr + 18,
                "ms_per_frame_iteration": results,
            }
        )
    )


if __name__ == "__main__":
    main()
