"""Numbers that say how far a frame's labels can be trusted. Pure functions of arrays; no thresholds here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
PATCH_PX = 112  # side of the patch on which sharpness is measured, so that it does not grow with the picture


def landmark_errors_px(projected_px: Array, detected_px: Array) -> Array:
    """Distance of each projected landmark from its detection: two (T, N, 2) to (T, N)."""
    return np.asarray(np.linalg.norm(projected_px - detected_px, axis=2))


def region_means(errors_px: Array, index: Array, regions: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Mean error of each region per frame, (T,); 0 where the model has no landmark of the region.

    Args:
        errors_px: (T, N).
        index: (N,) which landmark of the scheme each column is.
    """
    out = {}
    for name, members in regions.items():
        columns = np.isin(index, members)
        out[name] = errors_px[:, columns].mean(axis=1) if columns.any() else np.zeros(len(errors_px))
    return out


def gap_error_px(projected_px: Array, detected_px: Array, index: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """Mean difference of opening, projected minus detected, over pairs of opposite landmarks, (T,) px, signed.

    Positive = the fitted lips or lids are wider open than seen. 0 where the model has none of the pairs.
    """
    row = {int(i): k for k, i in enumerate(index)}
    known = [(row[a], row[b]) for a, b in pairs if a in row and b in row]
    if not known:
        return np.zeros(len(projected_px))
    a, b = np.array(known).T
    fitted, seen = (np.linalg.norm(p[:, a] - p[:, b], axis=2) for p in (projected_px, detected_px))
    return np.asarray((fitted - seen).mean(axis=1))


def euler_deg(rotation: Array) -> Array:
    """Yaw, pitch, roll (T, 3) in degrees of head rotations (T, 3, 3), with R = Ry(yaw) Rx(pitch) Rz(roll).

    Yaw > 0: the subject turns to its left. Pitch > 0: it looks down. Roll > 0: its head tilts to its right shoulder
    (in the image: clockwise is roll < 0).
    """
    yaw = np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = -np.arcsin(np.clip(rotation[:, 1, 2], -1, 1))
    roll = np.arctan2(rotation[:, 1, 0], rotation[:, 1, 1])
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=1)))


def acceleration_rms(values: Array, valid: Array) -> Array:
    """Root mean square second difference around each tick, (T,); 0 unless the tick and both neighbours are valid.

    Args:
        values: (T, V, k), for example head-stabilised vertices in mm: then jitter (plus what is real motion).
        valid: (T,) bool.
    """
    out = np.zeros(len(values))
    if len(values) >= 3:
        second = values[2:] - 2 * values[1:-1] + values[:-2]
        known = valid[2:] & valid[1:-1] & valid[:-2]
        out[1:-1] = np.where(known, np.sqrt((second**2).sum(axis=2).mean(axis=1)), 0.0)
    return out


def inside_fraction(points_px: Array, width_px: float, height_px: float) -> Array:
    """Share of the points (T, N, 2) that lie in the picture, (T,)."""
    x, y = points_px[..., 0], points_px[..., 1]
    return np.asarray(((x >= 0) & (x < width_px) & (y >= 0) & (y < height_px)).mean(axis=1))


def face_patch(rgb: Array, centre_px: Array, half_px: float) -> Array:
    """Luma of the square about a face, resampled to PATCH_PX by area means or bilinear steps; (PATCH_PX, PATCH_PX).

    Args:
        rgb: (H, W, 3) uint8.
        centre_px: (2,);  half_px: half the square's side. Outside the picture its edge is repeated.
    """
    height, width = rgb.shape[:2]
    steps = max(1, int(np.ceil(2 * half_px / PATCH_PX)))  # samples per patch pixel and axis
    at = ((np.arange(PATCH_PX * steps) + 0.5) / (PATCH_PX * steps) * 2 - 1) * half_px - 0.5
    x, y = np.clip(at + centre_px[0], 0, width - 1.001), np.clip(at + centre_px[1], 0, height - 1.001)
    x0, y0 = int(x[0]), int(y[0])
    window = rgb[y0 : int(y[-1]) + 2, x0 : int(x[-1]) + 2].astype(np.float32) @ np.array(
        [0.299, 0.587, 0.114], np.float32
    )
    along_y = _interpolate(window, y - y0)
    luma = _interpolate(along_y.T, x - x0).T
    return np.asarray(luma.reshape(PATCH_PX, steps, PATCH_PX, steps).mean(axis=(1, 3)))


def _interpolate(rows: Array, at: Array) -> Array:
    first = np.minimum(at.astype(np.int64), len(rows) - 2) if len(rows) > 1 else np.zeros(len(at), np.int64)
    last = np.minimum(first + 1, len(rows) - 1)
    part = (at - first)[:, None].astype(np.float32)
    return np.asarray(rows[first] * (1 - part) + rows[last] * part)


def sharpness(luma: Array) -> float:
    """Variance of the Laplacian over the variance of the patch: free of contrast and exposure. Higher = sharper.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (ICPR 2000), normalised.
    """
    laplacian = luma[1:-1, :-2] + luma[1:-1, 2:] + luma[:-2, 1:-1] + luma[2:, 1:-1] - 4 * luma[1:-1, 1:-1]
    return float(laplacian.var() / max(float(luma.var()), 1.0))


def brightness(luma: Array) -> float:
    """Mean luma, 0 to 255."""
    return float(luma.mean())


def percentile(values: Array, keep: Array, q: float) -> float:
    """The q-th percentile over kept entries; 0 where none is kept."""
    return float(np.percentile(values[keep], q)) if keep.any() else 0.0
