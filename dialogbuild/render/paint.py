"""Painting into a texture without an imaging library: smooth polygons, strokes, spots and noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix

Array = NDArray[np.float32]


def smooth_curve(points: NDArray[Any], n: int, closed: bool) -> NDArray[np.float64]:
    """``n`` points on the cubic spline through (k, 2) points, evenly spaced in the parameter."""
    p = np.concatenate([points, points[:1]]) if closed else np.asarray(points)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    spline = CubicSpline(length, p, bc_type="periodic" if closed else "natural")
    return np.asarray(spline(np.linspace(0, length[-1], n, endpoint=not closed)))


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask on a window of the texture, so that small marks cost little."""

    rows: slice
    columns: slice
    mask: Array


def _window(size: int, points: NDArray[Any], margin_px: float) -> tuple[slice, slice]:
    low = np.clip(np.floor(points.min(0) - margin_px), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin_px), 0, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def fill_polygon(size: int, polygon: NDArray[Any], blur_px: float) -> Patch:
    """Coverage of a closed (k, 2) polygon in pixels, x right and y down, softened by a Gaussian."""
    rows, columns = _window(size, polygon, 4 * blur_px + 1)
    xs = np.arange(columns.start, columns.stop) + 0.5
    ys = np.arange(rows.start, rows.stop) + 0.5
    inside = np.zeros((len(ys), len(xs)), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if y0 != y1:
            crosses = (y0 > ys) != (y1 > ys)
            inside ^= crosses[:, None] & (xs[None] < (x0 + (x1 - x0) / (y1 - y0) * (ys - y0))[:, None])
    return Patch(rows, columns, gaussian_filter(inside.astype(np.float32), blur_px))


def splat(size: int, points: NDArray[Any], amount: ArrayLike, blur_px: float) -> Patch:
    """Sum of soft dots: each (x, y) adds ``amount`` spread over its four nearest pixels, then a Gaussian."""
    rows, columns = _window(size, points, 4 * blur_px + 2)
    out = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32)
    corner = np.floor(points - 0.5).astype(int)
    fraction = points - 0.5 - corner
    amounts = np.broadcast_to(np.asarray(amount, np.float64), len(points))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1]) * amounts
            x, y = corner[:, 0] + dx - columns.start, corner[:, 1] + dy - rows.start
            keep = (x >= 0) & (x < out.shape[1]) & (y >= 0) & (y < out.shape[0])
            np.add.at(out, (y[keep], x[keep]), weight[keep])
    return Patch(rows, columns, gaussian_filter(out, blur_px))


def stroke(size: int, curve: NDArray[Any], width_px: float) -> Patch:
    """Coverage, at most 1, of a soft line of some width along (k, 2) points."""
    step = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    at = np.concatenate([[0.0], np.cumsum(step)])
    t = np.linspace(0, at[-1], max(2, int(at[-1] * 2)))
    dense = np.stack([np.interp(t, at, curve[:, k]) for k in range(2)], 1)
    drawn = splat(size, dense, 0.5, max(width_px / 2.5, 1.0))
    return Patch(drawn.rows, drawn.columns, np.minimum(drawn.mask * width_px, 1.0))


def noise(size: int, cells: int, rng: np.random.Generator) -> Array:
    """(size, size) smooth noise of about unit variance, ``cells`` cells across: a cubic B-spline of random values."""
    grid = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    at = (np.arange(size) + 0.5) / size * cells
    cell = np.minimum(at.astype(int), cells - 1)
    t = at - cell
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    index = (np.repeat(np.arange(size), 4), (cell[:, None] + np.arange(4)).ravel())
    basis = csr_matrix((weights.astype(np.float32).ravel(), index), shape=(size, cells + 3))
    # a cubic B-spline keeps 0.48 of the nodes' standard deviation per axis on average
    return np.asarray(basis @ (basis @ grid.T).T, np.float32) / 0.48


def lay(image: Array, patch: Patch, colour: ArrayLike, strength: float = 1.0) -> None:
    """Lay a colour over ``image`` (T, T, 3) where the patch is, in place."""
    window = image[patch.rows, patch.columns]
    alpha = np.clip(patch.mask * strength, 0, 1)[..., None]
    window += alpha * (np.asarray(colour, np.float32) - window)
