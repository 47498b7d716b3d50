"""Faces in one image: mediapipe's short- and full-range detectors, on the whole picture, on tiles, and around a place.

On rendered people at 1280 x 720: the whole picture shrunk to the short-range model's 128 px shows faces from about
160 px, to the full-range model's 192 px from about 50 px and not in profile; the short-range model on tiles of a third
of the height shows 40 px; and on a square of four face widths around a place where a face is expected it shows every
size down to 33 px and every yaw to 75 degrees, in 2 ms. Hence: search the whole picture now and then, and look closely
where faces were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.faces import mp

Boxes = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]
_AROUND = 4.0  # face widths: 2.5 sees a frontal face as well, but a turned one worse (0.79 against 0.90)
_AROUND_SIDE = 256  # px; the network sees 128
_TILES_HIGH = 3  # tile sides per shorter side of the picture: 128 px of network for 240 px of a 720p picture
_TILE_OVERLAP = 0.3  # of a tile's side; a face of that size is whole in one of them
_NOSE_LEAD = 1.4  # half ear distances by which the nose tip lies before the ears
_SAME = 0.5  # box sides between the middles of two boxes that are one face


@dataclass(frozen=True, eq=False)
class Sightings:
    """N faces of one image.

    Attributes:
        box_px: (N, 4) float32 x0, y0, x1, y1; from the brows to the chin, about as wide as high.
        score: (N,) float32, 0..1.
        points_px: (N, 6, 2) float32: right eye, left eye, nose tip, mouth, right ear, left ear (of the subject).
    """

    box_px: Boxes
    score: npt.NDArray[np.float32]
    points_px: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.score)

    def pick(self, rows: Any) -> Sightings:
        """Some of them: an index array or a mask."""
        return Sightings(self.box_px[rows], self.score[rows], self.points_px[rows])

    @staticmethod
    def join(parts: Sequence[Sightings]) -> Sightings:
        """All of several, in order; none of nothing."""
        none = Sightings(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, 6, 2))))
        return Sightings(*(np.concatenate([getattr(p, f.name) for p in (none, *parts)]) for f in fields(Sightings)))


class FaceDetector:
    """Finds faces from 3 % to 100 % of the image height. Not thread safe."""

    def __init__(self, min_score: float = 0.5) -> None:
        self._short, self._full = (
            mp.make("FaceDetection", model_selection=selection, min_detection_confidence=min_score)
            for selection in (0, 1)
        )

    def __enter__(self) -> FaceDetector:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._short.close()
        self._full.close()

    def __call__(self, rgb: Image) -> tuple[Boxes, npt.NDArray[np.float32]]:
        """Boxes (N, 4) px and scores (N,) of the whole picture (H, W, 3), best first."""
        found = self.everywhere(rgb)
        return found.box_px, found.score

    def everywhere(self, rgb: Image, tiles: bool = False) -> Sightings:
        """Search the whole picture, best first.

        The full-range model sees small faces and misses tight close-ups, the short-range model the reverse, so both
        look (8 ms); ``tiles`` adds the short-range model on overlapping squares (2 ms each, 32 for 16:9), for the
        smallest.
        """
        views = [(self._short, rgb, (0, 0)), (self._full, rgb, (0, 0))]
        if tiles:
            corners, side = tile_corners(rgb.shape[1], rgb.shape[0])
            views += [(self._short, np.ascontiguousarray(rgb[y : y + side, x : x + side]), (x, y)) for x, y in corners]
        return distinct(Sightings.join([_run(model, view, corner) for model, view, corner in views]))

    def around(self, rgb: Image, box_px: Boxes) -> Sightings:
        """Look closely where faces are expected: per place at most the nearest face within a box's side, best first.

        Args:
            rgb: (H, W, 3).
            box_px: (M, 4) where each was, or should be.
        """
        parts = []
        for box in box_px:
            side = max(_AROUND * float(max(box[2] - box[0], box[3] - box[1])), 32.0)
            corner = (float(box[0] + box[2]) / 2 - side / 2, float(box[1] + box[3]) / 2 - side / 2)
            found = _run(self._short, _window(rgb, corner, side), corner, side / _AROUND_SIDE)
            away = np.linalg.norm(_middles(found.box_px) - _middles(box[None]), axis=1) * _AROUND / side
            if len(away) and away.min() < 1.0:
                parts.append(found.pick([int(away.argmin())]))
        return distinct(Sightings.join(parts))


def distinct(found: Sightings) -> Sightings:
    """One sighting per face, the best, best first."""
    return found.pick(suppress(found.box_px, found.score))


def merge(first: Sightings, second: Sightings) -> Sightings:
    """Both, of a face in both the ``first``'s: one source for a face keeps its box from jumping."""
    if not len(first) or not len(second):
        return Sightings.join([first, second])
    return Sightings.join([first, second.pick(~_same(second.box_px, first.box_px).any(axis=1))])


def tile_corners(width_px: int, height_px: int) -> tuple[list[tuple[int, int]], int]:
    """Top left corners (x, y) of overlapping squares that cover a picture, and their side."""
    side = max(min(width_px, height_px) // _TILES_HIGH, 1)

    def starts(length_px: int) -> list[int]:
        steps = int(np.ceil((length_px - side) / (side * (1 - _TILE_OVERLAP)) - 1e-9))
        return [round(k * (length_px - side) / steps) for k in range(steps + 1)]

    return [(x, y) for y in starts(height_px) for x in starts(width_px)], side


def turn_rad(points_px: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How far heads are turned to the side, from six points, about +-10 degrees; positive to the image's right.

    The nose's lead over the middle of the ears against the distance of the ears, along the line through the ears'
    direction across the face. On six rendered people: within 5 degrees up to 45, 10 to 25 too little at 75.

    Args:
        points_px: (N, 6, 2).

    Returns:
        (N,) radians.
    """
    eyes, mouth = points_px[:, :2].mean(1), points_px[:, 3]
    down = (mouth - eyes) / np.maximum(np.linalg.norm(mouth - eyes, axis=1), 1e-6)[:, None]
    across = np.stack([down[:, 1], -down[:, 0]], axis=1)  # the image's right for an upright face
    half = 0.5 * ((points_px[:, 5] - points_px[:, 4]) * across).sum(1)
    lead = ((points_px[:, 2] - points_px[:, 4:].mean(1)) * across).sum(1)
    turn: npt.NDArray[np.float32] = np.arctan2(lead / _NOSE_LEAD, np.maximum(half, 1e-6)).astype(np.float32)
    return turn


def iou(a: Boxes, b: Boxes) -> npt.NDArray[np.float32]:
    """Intersection over union of every pair of boxes. (N, 4), (M, 4) px -> (N, M)."""
    inter, areas = _overlap(a, b)
    union = areas[0][:, None] + areas[1][None, :] - inter
    return np.asarray(inter / np.maximum(union, 1e-6), np.float32)


def covered(a: Boxes, b: Boxes) -> npt.NDArray[np.float32]:
    """Share of each box of ``a`` that lies in each box of ``b``. (N, 4), (M, 4) px -> (N, M)."""
    inter, areas = _overlap(a, b)
    return np.asarray(inter / np.maximum(areas[0], 1e-6)[:, None], np.float32)


def suppress(boxes: Boxes, scores: npt.NDArray[np.float32], max_iou: float = 0.3) -> npt.NDArray[np.intp]:
    """Greedy non-maximum suppression: indices of the kept boxes, best first. (N, 4) px, (N,) -> (K,)."""
    order = np.argsort(-scores, kind="stable")
    same = (iou(boxes, boxes) > max_iou) | _same(boxes, boxes)
    kept: list[int] = []
    for i in order:
        if not same[i, kept].any():
            kept.append(int(i))
    return np.array(kept, np.intp)


def _same(a: Boxes, b: Boxes) -> npt.NDArray[np.bool_]:
    """Whether boxes are one face to two detectors: middles near, and sizes alike. (N, 4), (M, 4) -> (N, M)."""
    sides = [np.maximum(np.sqrt(np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1)), 1e-6) for x in (a, b)]
    gap = np.linalg.norm(_middles(a)[:, None] - _middles(b)[None], axis=-1)
    small, large = np.minimum(sides[0][:, None], sides[1][None]), np.maximum(sides[0][:, None], sides[1][None])
    return np.asarray((gap < _SAME * small) & (large < 2 * small))


def _overlap(a: Boxes, b: Boxes) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    return inter, [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(-1) for x in (a, b)]


def _middles(boxes: Boxes) -> npt.NDArray[np.float32]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _window(rgb: Image, corner: tuple[float, float], side: float) -> Image:
    """A square of the picture as 256 x 256 pixels; outside the picture is black."""
    if side > 2 * _AROUND_SIDE:  # average first: a warp reads single pixels
        step = int(side // _AROUND_SIDE)
        height, width = rgb.shape[:2]
        x0, y0 = max(int(corner[0]), 0), max(int(corner[1]), 0)
        x1, y1 = min(int(corner[0] + side) + 1, width), min(int(corner[1] + side) + 1, height)
        if x1 - x0 >= step and y1 - y0 >= step:
            size = ((x1 - x0) // step, (y1 - y0) // step)
            rgb = np.asarray(cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)
            corner, side = ((corner[0] - x0) * size[0] / (x1 - x0), (corner[1] - y0) * size[1] / (y1 - y0)), side / step
    scale = _AROUND_SIDE / side
    to_window = np.array([[scale, 0, -corner[0] * scale], [0, scale, -corner[1] * scale]], np.float64)
    return np.asarray(cv2.warpAffine(rgb, to_window, (_AROUND_SIDE, _AROUND_SIDE)), np.uint8)


def _run(model: Any, view: Image, corner: tuple[float, float] = (0, 0), scale: float = 1.0) -> Sightings:
    """A model's answer on a view, in pixels of the picture that the view was cut from."""
    height, width = view.shape[:2]
    boxes, scores, points = [], [], []
    for found in mp.process(model, view).detections or ():
        place = found.location_data
        box = place.relative_bounding_box
        boxes.append((box.xmin, box.ymin, box.xmin + box.width, box.ymin + box.height))
        scores.append(found.score[0])
        points.append([(p.x, p.y) for p in place.relative_keypoints])
    size, origin = np.array([width, height], np.float32) * scale, np.array(corner, np.float32)
    box_px = np.array(boxes, np.float32).reshape(-1, 2, 2) * size + origin
    points_px = np.array(points, np.float32).reshape(-1, 6, 2) * size + origin
    return Sightings(box_px.reshape(-1, 4), np.array(scores, np.float32), points_px)
