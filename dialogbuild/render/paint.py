"""Painting into a texture without an imaging library: smooth polygons, strokes, spots and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, map_coordinates

Array = NDArray[np.float32]


def smooth_curve(points: NDArray[Any], n: int, closed: bool) -> NDArray[np.float64]:
    """``n`` points on the cubic spline through (k, 2) points, evenly spaced in the parameter."""
    p = np.concatenate([points, points[:1]]) if closed else np.asarray(points)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1))])
    spline = CubicSpline(length, p, bc_type="periodic" if closed else "natural")
    return np.asarray(spline(np.linspace(0, length[-1], n, endpoint=not closed)))


def fill_polygon(size: int, polygon: NDArray[Any], blur_px: float) -> Array:
    """(size, size) coverage of a closed (k, 2) polygon in pixels, x right and y down, softened by a Gaussian."""
    out = np.zeros((size, size), np.float32)
    low = np.floor(polygon.min(0)).astype(int) - 1
    high = np.ceil(polygon.max(0)).astype(int) + 2
    xs, ys = np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5
    inside = np.zeros((len(ys), len(xs)), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if y0 != y1:
            crosses = (y0 > ys) != (y1 > ys)
            inside ^= crosses[:, None] & (xs[None] < (x0 + (x1 - x0) / (y1 - y0) * (ys - y0))[:, None])
    out[low[1] : high[1], low[0] : high[0]] = inside
    return np.asarray(gaussian_filter(out, blur_px))


def splat(size: int, points: NDArray[Any], amount: ArrayLike, blur_px: float) -> Array:
    """Sum of soft dots: each (x, y) adds ``amount`` spread over its four nearest pixels, then a Gaussian."""
    out = np.zeros((size, size), np.float32)
    corner = np.floor(points - 0.5).astype(int)
    fraction = points - 0.5 - corner
    amounts = np.broadcast_to(np.asarray(amount, np.float64), len(points))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - fraction[:, 0]) * np.abs(1 - dy - fraction[:, 1])
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            keep = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            np.add.at(out, (y[keep], x[keep]), (weight * amounts)[keep])
    return np.asarray(gaussian_filter(out, blur_px))


def stroke(size: int, curve: NDArray[Any], width_px: float, blur_px: float) -> Array:
    """(size, size) coverage, at most 1, of a line of some width along (k, 2) points."""
    step = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    n = max(2, int(step.sum() * 2))
    at = np.concatenate([[0.0], np.cumsum(step)])
    t = np.linspace(0, at[-1], n)
    dense = np.stack([np.interp(t, at, curve[:, k]) for k in range(2)], 1)
    drawn = splat(size, dense, 0.5, max(width_px / 2.5, blur_px))
    return np.minimum(drawn * (width_px / 1.0), 1.0)


def noise(size: int, cells: int, rng: np.random.Generator) -> Array:
    """(size, size) smooth noise of unit variance at its nodes, ``cells`` cells across."""
    grid = rng.standard_normal((cells + 3, cells + 3))
    at = (np.arange(size) + 0.5) / size * cells + 1
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return np.asarray(map_coordinates(grid, [rows, columns], order=1 if cells > size // 4 else 3), np.float32)


def blend(image: Array, mask: Array, colour: ArrayLike, strength: float = 1.0) -> Array:
    """``image`` (..., 3) with a colour laid over it where ``mask`` (...) is."""
    alpha = np.clip(mask * strength, 0, 1)[..., None]
    return np.asarray(image * (1 - alpha) + alpha * np.asarray(colour, np.float32), np.float32)
