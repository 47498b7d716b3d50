"""Milliseconds per frame of each rasteriser on the procedural head.

    python benchmarks/raster.py                      or    --sizes 128 256 --device cuda

The head is turned a little more in each of eight views and fills most of the image's height; best of ``--repeats``
rounds over the views, in one process with one thread. The named baseline is the numba z-buffer, one image at a time,
measured in the same process; ``x baseline`` says how many times longer a row takes.

numba, torch, reference, pytorch3d   z-buffer with ids, weights and depth, one image per call
torch x8                             the eight views in one call
torch interpolate, + gradient        8 attributes at known face ids; forward, then forward and backward to attributes
                                     and vertex positions

The reference takes seconds, and pytorch3d tests every pixel against every triangle on the CPU: both see one view,
once, and pytorch3d up to ``--pytorch3d-max`` px unless it has a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from dialogbuild.errors import MissingPart
from dialogbuild.head import HeadModel, load_head
from dialogbuild.head.camera import Camera
from dialogbuild.head.pose import neutral_pose, pose_head, to_camera
from dialogbuild.render.interpolate import interpolate
from dialogbuild.render.raster_torch import TorchRasterizer
from dialogbuild.render.rasterizers import make_rasterizer

N_VIEWS = 8
N_ATTRIBUTES = 8
BASELINE = "numba"


def views(head: HeadModel, size_px: int) -> NDArray[np.float64]:
    """(8, V, 3) x px, y px, depth m."""
    pose = neutral_pose(head, N_VIEWS, 0.7)
    root = np.zeros((N_VIEWS, 3), np.float32)
    root[:, 1] = np.linspace(-0.5, 0.5, N_VIEWS)
    verts = to_camera(pose_head(head, replace(pose, root_rad=root)) + np.array([0, 0.04, 0], np.float32), pose.transl_m)
    return Camera.centred(2.2 * size_px, size_px, size_px).project_with_depth(verts.astype(np.float64))


def best_ms(work: Callable[[], object], repeats: int, frames: int, device: str) -> float:
    """Per frame, after one warm-up call (unless only one repeat is asked for)."""
    times = []
    for i in range(repeats + (repeats > 1)):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        if i > 0 or repeats == 1:
            times.append(time.perf_counter() - start)
    return min(times) * 1000 / frames


def measure(head: HeadModel, size_px: int, repeats: int, device: str, pytorch3d_max: int) -> dict[str, float]:
    """Milliseconds per frame by row name."""
    points, size = views(head, size_px), (size_px, size_px)
    batch, faces = torch.tensor(points, device=device), torch.tensor(head.faces, device=device)
    numba, reference, tensor = make_rasterizer(), make_rasterizer("reference"), TorchRasterizer(device)

    def one_by_one() -> None:
        for b in range(N_VIEWS):
            tensor.rasterize_batch(batch[b : b + 1], faces, size)

    out = {
        BASELINE: best_ms(lambda: [numba.rasterize(p, head.faces, size) for p in points], repeats, N_VIEWS, "cpu"),
        "torch": best_ms(one_by_one, repeats, N_VIEWS, device),
        "torch x8": best_ms(lambda: tensor.rasterize_batch(batch, faces, size), repeats, N_VIEWS, device),
    }
    face_id = tensor.rasterize_batch(batch, faces, size).face_id
    attributes = torch.rand((*batch.shape[:2], N_ATTRIBUTES), device=device, requires_grad=True)
    verts = batch.float().requires_grad_()

    def forward() -> torch.Tensor:
        return interpolate(attributes, verts, faces, face_id)

    def gradient() -> object:
        return torch.autograd.grad(forward().sum(), (attributes, verts))

    with torch.no_grad():
        out["torch interpolate"] = best_ms(forward, repeats, N_VIEWS, device)
    out["torch interpolate + gradient"] = best_ms(gradient, repeats, N_VIEWS, device)
    out["reference"] = best_ms(lambda: reference.rasterize(points[0], head.faces, size), 1, 1, "cpu")
    if size_px <= pytorch3d_max or device.startswith("cuda"):
        try:
            other = make_rasterizer("pytorch3d", device)
        except MissingPart:
            return out
        out["pytorch3d"] = best_ms(lambda: other.rasterize(points[0], head.faces, size), 1, 1, device)
    return out


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512], metavar="PX")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="for torch and pytorch3d")
    parser.add_argument("--pytorch3d-max", type=int, default=128, metavar="PX")
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = load_head()
    results = {}
    for size_px in options.sizes:
        table = measure(head, size_px, options.repeats, options.device, options.pytorch3d_max)
        results[str(size_px)] = {name: round(ms, 3) for name, ms in table.items()}
        seen = (make_rasterizer().rasterize(views(head, size_px)[0], head.faces, (size_px, size_px)).face_id >= 0).sum()
        print(f"\n{size_px} x {size_px} px, {len(head.faces)} triangles, {seen} pixels covered in the first view")
        print(f"  {'':30s} {'ms/frame':>10s} {'x baseline':>11s}")
        for name, ms in table.items():
            note = "  <- baseline" if name == BASELINE else ""
            print(f"  {name:30s} {ms:10.2f} {ms / table[BASELINE]:11.1f}{note}")
    print(
        json.dumps(
            {
                "benchmark": "raster",
                "baseline": BASELINE,
                "device": options.device,
                "torch": torch.__version__,
                "machine": platform.machine(),
                "ms_per_frame": results,
            }
        )
    )


if __name__ == "__main__":
    main()
