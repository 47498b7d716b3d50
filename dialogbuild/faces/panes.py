"""Which pane of a split picture shows a face, and where the camera of that pane points."""

from __future__ import annotations

from typing import Any

import numpy as np

from dialogbuild.tables import Columns

Array = np.ndarray[Any, np.dtype[Any]]
PANE_COLUMNS = ("shot", "pane", "box_px", "confidence")
TRACK_COLUMNS = ("track", "shot", "box_px")
_INSIDE, _OUTSIDE = 0.6, 0.05  # share of a face's box; between them the face lies across a border
_NEAR = 0.01  # of the picture's side; a pane's centre this near the picture's centre is there: bars are seldom exact


def track_views(tracks: Columns, panes: Columns, image_px: tuple[int, int]) -> tuple[Array, Array]:
    """The pane of each row's track.

    Of panes that hold a face the smallest shows it: insets lie over others. No face lies across a border: panes that a
    track of the shot lies across are none after all, and what they hold is seen by the picture's own camera. So is what
    the only pane of a shot holds if its centre is the picture's: bars around it say nothing of the lens.

    Args:
        tracks: columns track, shot, box_px (N, 4).
        panes: columns shot, box_px (K, 4).
        image_px: width and height of the picture.

    Returns:
        offset_px (N, 2) int32, the pane's centre minus the picture's; box_px (N, 4) int32, the pane.
    """
    whole = np.array([0, 0, *image_px], np.int32)
    offset, box = np.zeros((len(tracks["track"]), 2), np.int32), np.tile(whole, (len(tracks["track"]), 1))
    for shot in np.unique(tracks["shot"]):
        boxes = panes["box_px"][panes["shot"] == shot].reshape(-1, 4)
        in_shot = tracks["shot"] == shot
        own = {int(t): np.flatnonzero(in_shot & (tracks["track"] == t)) for t in np.unique(tracks["track"][in_shot])}
        share = np.array([_inside(tracks["box_px"][rows], boxes) for rows in own.values()])  # (tracks, K)
        refuted = ((share > _OUTSIDE) & (share < _INSIDE)).any(axis=0)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        for rows, mine in zip(own.values(), share, strict=True):
            holding = np.flatnonzero((mine >= _INSIDE) & ~refuted)
            pane = boxes[holding[area[holding].argmin()]] if len(holding) else whole
            off = pane_offset(pane, image_px)
            if len(boxes) > 1 or off.any():
                offset[rows], box[rows] = off, pane
    return offset, box


def pane_offset(box_px: Array, image_px: tuple[int, int]) -> Array:
    """A pane's centre minus the picture's, (2,) int32; zero along an axis on which they differ by hardly a pixel."""
    size = np.asarray(image_px, float)
    off = (np.asarray(box_px[:2]) + np.asarray(box_px[2:]) - size) / 2
    return np.where(np.abs(off) <= _NEAR * size, 0, np.rint(off)).astype(np.int32)


def camera_scale(box_px: Array, image_px: tuple[int, int]) -> Array:
    """Size of the smallest picture of the video's shape that holds each pane (N, 4), over the video's. (N,) in (0, 1].

    The cameras of panes are taken to have pictures of the video's shape, scaled to fill the pane and cut at its sides.
    """
    side = (box_px[..., 2:] - box_px[..., :2]) / np.asarray(image_px, float)
    scale = side.max(axis=-1)
    return np.where(scale > 1 - 2 * _NEAR, 1.0, scale)


def _inside(face_px: Array, boxes: Array) -> Array:
    """Median share of a track's face boxes (n, 4) that lies in each of K boxes. (K,)."""
    low = np.maximum(face_px[:, None, :2], boxes[:, :2])
    high = np.minimum(face_px[:, None, 2:], boxes[:, 2:])
    both = np.maximum(high - low, 0).prod(axis=2)
    area = np.maximum((face_px[:, 2:] - face_px[:, :2]).prod(axis=1), 1e-6)
    return np.asarray(np.median(both / area[:, None], axis=0))
