"""Pixels of one face through a clip: square windows that follow it, at the source's own pixels where they fit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numba as nb
import numpy as np

from dialogbuild.fit.cover import NOTHING, Cover

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]

FACE_SPAN = 2.9  # side of a window / outer-eye distance: brows to chin with room for a turned or tilted head
MAX_SIDE_PX = 288  # beyond this many pixels a face is averaged down; more detail moves the fit by no measurable amount


@dataclass(frozen=True, eq=False)
class Crops:
    """Windows of T ticks. A source pixel (x, y) lies at ((x, y) - origin) / step in its window.

    Attributes:
        rgb: (T, R, R, 3) uint8; zeros where nothing was cut.
        origin_px: (T, 2) int32, top-left corner in the source picture; may be negative.
        step: source pixels per window pixel and axis; windows are box averages.
        bounds: (T, 4) int32, the half-open part x0, y0, x1, y1 of the window that shows the picture; empty if not cut.
        cover: what is in front of the face, placed in the source picture.
    """

    rgb: Array
    origin_px: Array
    step: int
    bounds: Array
    cover: Cover = field(default_factory=lambda: NOTHING)

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def side_px(self) -> int:
        """R."""
        return int(self.rgb.shape[1])

    def cameras(self, camera: Camera3) -> Array:
        """(T, 3) float64 focal_px, cx_px, cy_px of the windows, from the picture's camera."""
        focal, cx, cy = camera
        out = np.empty((len(self), 3))
        out[:, 0] = focal / self.step
        out[:, 1] = (cx - self.origin_px[:, 0]) / self.step
        out[:, 2] = (cy - self.origin_px[:, 1]) / self.step
        return out

    def part(self, ticks: Any) -> Crops:
        """The windows of some ticks."""
        return Crops(self.rgb[ticks], self.origin_px[ticks], self.step, self.bounds[ticks], self.cover[ticks])


def plan_windows(landmarks_px: Array, usable: Array, face_px: float) -> tuple[Array, int, int]:
    """Where to cut.

    Args:
        landmarks_px: (T, 478, 2);  usable: (T,) bool;  face_px: typical outer-eye distance at zero yaw.

    Returns:
        origin_px (T, 2) int32, step, side R. R is a multiple of 8, for the pyramid.
    """
    span = FACE_SPAN * max(face_px, 8.0)
    step = max(1, int(np.ceil(span / MAX_SIDE_PX)))
    side = int(np.clip(8 * np.ceil(span / step / 8), 64, MAX_SIDE_PX))
    low, high = landmarks_px[:, :468].min(axis=1), landmarks_px[:, :468].max(axis=1)
    centre = np.where(usable[:, None], (low + high) / 2, 0.0)
    return np.floor(centre - side * step / 2 + 0.5).astype(np.int32), step, side


def cut_crops(frames: Iterable[tuple[int, Array]], origin_px: Array, usable: Array, step: int, side: int) -> Crops:
    """Cut windows out of pictures.

    Args:
        frames: (tick, rgb (H, W, 3) uint8); ticks that are not usable are passed over.
        origin_px, step, side: from ``plan_windows``.
    """
    rgb = np.zeros((len(usable), side, side, 3), np.uint8)
    bounds = np.zeros((len(usable), 4), np.int32)
    for tick, picture in frames:
        if usable[tick]:
            x0, y0 = (int(v) for v in origin_px[tick])
            _cut(np.ascontiguousarray(picture), x0, y0, step, rgb[tick])
            height, width = picture.shape[:2]
            low, high = -np.array([x0, y0]) / step, (np.array([width, height]) - [x0, y0]) / step
            bounds[tick] = np.clip([*np.ceil(low), *np.floor(high)], 0, side)
    return Crops(rgb, origin_px, step, bounds)


@nb.njit(cache=True)
def _cut(picture, x0, y0, step, out):  # type: ignore[no-untyped-def]
    """Box averages; what lies outside the picture is repeated from its edge (``bounds`` says where)."""
    height, width, _ = picture.shape
    side, area = out.shape[0], step * step
    for row in range(side):
        for column in range(side):
            for c in range(3):
                total = 0
                for i in range(step):
                    y = min(max(y0 + row * step + i, 0), height - 1)
                    for j in range(step):
                        x = min(max(x0 + column * step + j, 0), width - 1)
                        total += picture[y, x, c]
                out[row, column, c] = (total + area // 2) // area


def halved(images: Array) -> Array:
    """Box averages over 2 x 2 pixels: (n, R, R, 3) of any dtype -> (n, R/2, R/2, 3) float32, same units."""
    out = np.empty((len(images), images.shape[1] // 2, images.shape[2] // 2, 3), np.float32)
    _halve(images, out)
    return out


@nb.njit(cache=True)
def _halve(images, out):  # type: ignore[no-untyped-def]
    for n in range(out.shape[0]):
        for row in range(out.shape[1]):
            for column in range(out.shape[2]):
                for c in range(3):
                    a = np.float32(images[n, 2 * row, 2 * column, c]) + np.float32(
                        images[n, 2 * row, 2 * column + 1, c]
                    )
                    b = np.float32(images[n, 2 * row + 1, 2 * column, c]) + np.float32(
                        images[n, 2 * row + 1, 2 * column + 1, c]
                    )
                    out[n, row, column, c] = np.float32(0.25) * (a + b)
