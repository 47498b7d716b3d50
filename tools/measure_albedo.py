"""Which colours people have on the built-in head: makes ``procedural_albedo.npz``.

    python tools/measure_albedo.py                      paint, analyse, write the file, print figures (4 minutes)
    python tools/measure_albedo.py --samples F.npz      the same, but keep the painted people in F (or reuse them)
    python tools/measure_albedo.py --dry-run            without writing the file

Random people of a random stream that nothing else uses are painted by the renderer's own painter. Their textures,
linear, are read where each vertex has its texture coordinate, at the level of 512 pixels: the renderer blends towards
the same colours. Mean and principal directions over people become the ``albedo`` of the head, and what the directions
leave becomes its residual. Vertices count alike, so the densely meshed lips and eyes count more than their area.

The residual, and the figures printed, come from two halves of the people: directions of one half explain the other,
whose coefficients are found from all of its colours. The people of the synthetic dialogues, whose palettes are fixed
and drawn by nobody's random numbers, are a second check; nothing is measured on them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.head import load_head
from dialogbuild.head.generate import write_npz
from dialogbuild.head.model import HeadModel
from dialogbuild.head.procedural.albedo import ALBEDO_MASKS, ALBEDO_PATH
from dialogbuild.render.appearance import Appearance, make_appearance
from dialogbuild.render.palette import random_palette
from dialogbuild.synth.scene import appearance_of

Array = npt.NDArray[Any]
STREAM = 456789  # first seed; dialogues and tests use small numbers, calibrate_landmarks 987654 and on
LEVEL = 1  # of the texture: 512 px
N_DIRS = 12
DIALOGUE_SEEDS = (0, 1, 2)  # the three pairs of palettes


@dataclass(frozen=True, eq=False)
class Statistics:
    """Colours over people at K vertices: mean (K, 3) and directions (K, 3, A), one standard deviation each."""

    mean: Array
    dirs: Array

    def explain(self, people: Array) -> Array:
        """The nearest colours that the directions reach, for people (N, K, 3)."""
        flat = self.dirs.reshape(-1, self.dirs.shape[2])
        centred = (people - self.mean).reshape(len(people), -1)
        coefficients = np.linalg.solve(flat.T @ flat, flat.T @ centred.T)
        return np.asarray(self.mean + (flat @ coefficients).T.reshape(people.shape))


def known_vertices(model: HeadModel) -> Array:
    """Sorted ids (K,) of the vertices whose colours are measured."""
    return np.asarray(np.unique(np.concatenate([model.masks[name] for name in ALBEDO_MASKS])))


def colours_at(appearance: Appearance, uv: Array) -> Array:
    """Linear colours (K, 3) of a texture at coordinates (K, 2) with v up, bilinear; pixel centres at i + 0.5."""
    texture = appearance.textures[LEVEL][..., :3].astype(np.float64)
    size = len(texture)
    at = np.clip(np.stack([1 - uv[:, 1], uv[:, 0]], 1).astype(np.float64) * size - 0.5, 0, size - 1.001)
    (row, column), (fy, fx) = at.astype(int).T, (at % 1).T[..., None]
    top = texture[row, column] * (1 - fx) + texture[row, column + 1] * fx
    bottom = texture[row + 1, column] * (1 - fx) + texture[row + 1, column + 1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy)


def paint(model: HeadModel, people: int) -> Array:
    """Colours (N, K, 3) of N random people."""
    uv = model.uv[known_vertices(model)]
    out = []
    for seed in range(STREAM, STREAM + people):
        out.append(colours_at(make_appearance(model, seed, random_palette(seed)), uv))
        sys.stderr.write(f"\r{len(out)}/{people} people")
    sys.stderr.write("\n")
    return np.array(out)


def analyse(people: Array, n_dirs: int = N_DIRS) -> Statistics:
    """Mean and principal directions of people (N, K, 3); a direction's sign is such that it brightens."""
    mean = people.mean(0)
    _, spread, axes = np.linalg.svd((people - mean).reshape(len(people), -1), full_matrices=False)
    axes = axes[:n_dirs] * np.sign(axes[:n_dirs].sum(1, keepdims=True))
    dirs = (axes * spread[:n_dirs, None] / np.sqrt(len(people) - 1)).T
    return Statistics(mean, dirs.reshape(*mean.shape, n_dirs))


def relative(errors: Array, mean: Array) -> Array:
    """Root mean square (K,) of errors (N, K, 3) over people and channels, in units of the mean colour (K, 3)."""
    return np.asarray(np.sqrt((errors**2).mean((0, 2))) / mean.mean(1))


def held_out_errors(people: Array, n_dirs: int = N_DIRS) -> Array:
    """What the directions of one half of the people leave of the other half, both ways: (N, K, 3)."""
    errors = np.empty_like(people)
    for half in (0, 1):
        rest = people[1 - half :: 2]
        errors[1 - half :: 2] = rest - analyse(people[half::2], n_dirs).explain(rest)
    return errors


def evidence(model: HeadModel, people: Array) -> str:
    """Shares of the variance and a table of residuals by region, medians over vertices, % of the mean colour."""
    ids, found = known_vertices(model), analyse(people)
    centred, held_out = people - found.mean, held_out_errors(people)
    own = people - found.explain(people)
    actors = np.array([
        colours_at(appearance_of(model, seed, k), model.uv[ids]) for seed in DIALOGUE_SEEDS for k in (0, 1)
    ])  # fmt: skip
    acted = actors - found.explain(actors)
    share = [1 - (e**2).sum() / (centred**2).sum() for e in (own, held_out)]
    line = f"{len(people)} people, {len(ids)} vertices, {N_DIRS} directions: explained {100 * share[0]:.2f} %"
    out = [f"{line} of the variance, {100 * share[1]:.2f} % of held-out people's"]
    by_count = [1 - (held_out_errors(people, n) ** 2).sum() / (centred**2).sum() for n in (1, 2, 4, 8, 16, 24)]
    out.append("held out with 1, 2, 4, 8, 16, 24 directions: " + " ".join(f"{100 * s:.2f}" for s in by_count))
    out.append(f"{'% of the mean':<16}{'spread':>8}{'same':>8}{'held out':>10}{'(95 %)':>8}{'dialogues':>11}")
    columns = np.stack([relative(e, found.mean) for e in (centred, own, held_out, acted)], 1)
    for name in (*ALBEDO_MASKS, "skin"):
        inside = 100 * columns[np.isin(ids, model.masks[name])]
        row, high = np.median(inside, 0), np.percentile(inside[:, 2], 95)
        out.append(f"{name:<16}{row[0]:>8.1f}{row[1]:>8.1f}{row[2]:>10.1f}{high:>8.1f}{row[3]:>11.1f}")
    return "\n".join(out)


def main() -> None:
    """Paint, analyse, write, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=120)
    parser.add_argument("--samples", type=Path, help="keep the painted colours here, or reuse them")
    parser.add_argument("--dry-run", action="store_true", help="print only")
    args = parser.parse_args()
    model = load_head()
    if args.samples and args.samples.exists():
        with np.load(args.samples) as stored:
            people = stored["people"]
    else:
        people = paint(model, args.people)
        if args.samples:
            np.savez(args.samples, people=people)
    sys.stdout.write(evidence(model, people) + "\n")
    if args.dry_run:
        return
    found = analyse(people)
    arrays = {
        "vertices": known_vertices(model).astype(np.uint16),
        "mean": found.mean.astype(np.float16),
        "dirs": found.dirs.astype(np.float16),
        "residual": relative(held_out_errors(people), found.mean).astype(np.float16),
    }
    write_npz(ALBEDO_PATH, arrays)
    sys.stdout.write(f"wrote {ALBEDO_PATH.name}, {ALBEDO_PATH.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
