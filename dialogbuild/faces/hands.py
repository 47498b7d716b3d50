"""Hands near a face: mediapipe's palm detector and hand landmarks, and which cells of a crop they cover.

A hand has the colour of the face that it covers, so colour cannot find it; its shape does (Zhang et al., "MediaPipe
Hands", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.faces import mp
from dialogbuild.faces.labels import MASK_SIDE
from dialogbuild.faces.mesh import cut

Array = npt.NDArray[Any]
MAX_HANDS = 2
_REACH = 1.5  # the picture that hands are looked for in, times the crop: a palm that is cut off is not detected
_DOWN = 0.25  # of what that adds: hands come from below
_INPUT_PX = 320
_FINE = 4  # subcells per cell and axis
_PALM = (0, 1, 5, 9, 13, 17)
_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
# Widths as parts of the palm's length (wrist to the middle finger's knuckle, some 9 cm).
_FINGER, _RIM, _WRIST, _FOREARM = 0.26, 0.16, 0.55, 0.6


class HandFinder:
    """Up to two hands around a face crop; stateless from call to call."""

    def __init__(self, min_score: float = 0.5) -> None:
        self._model = mp.make(
            "Hands", static_image_mode=True, max_num_hands=MAX_HANDS, model_complexity=0,
            min_detection_confidence=min_score,
        )  # fmt: skip

    def __enter__(self) -> HandFinder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._model.close()

    def __call__(self, rgb: npt.NDArray[np.uint8], crop: Array) -> npt.NDArray[np.float32]:
        """Landmarks of the hands, (n <= 2, 21, 2) px of the whole image.

        Args:
            rgb: (H, W, 3) uint8 whole image;  crop: (4,) of the face.
        """
        wide = widened(crop)
        found = mp.process(self._model, cut(rgb, wide, _INPUT_PX)).multi_hand_landmarks or []
        points = np.array([[(p.x, p.y) for p in hand.landmark] for hand in found], np.float32).reshape(-1, 21, 2)
        return np.asarray(points * wide[2] + (wide[:2] - wide[2] // 2), np.float32)


def widened(crop: Array) -> npt.NDArray[np.float32]:
    """The square that hands of a crop are looked for in, (4,) -> (4,)."""
    side = 2 * round(float(crop[2]) * _REACH / 2)
    down = round((side - float(crop[2])) * _DOWN)
    return np.array([crop[0], crop[1] + down, side, 0.0], np.float32)


def hand_cells(hands_px: Array, crop: Array) -> npt.NDArray[np.bool_]:
    """Cells of a crop that hands and the beginning of their forearms cover.

    Args:
        hands_px: (n, 21, 2) px of the whole image;  crop: (4,).

    Returns:
        (64, 64) bool.
    """
    side = MASK_SIDE * _FINE
    canvas = np.zeros((side, side), np.uint8)
    corner = np.floor(crop[:2]) - np.floor(crop[2] / 2)
    for hand in (hands_px - corner) * (side / float(crop[2])):
        _draw(canvas, hand)
    return np.asarray(cv2.resize(canvas, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA) >= 128)


def _draw(canvas: npt.NDArray[np.uint8], hand: Array) -> None:
    palm = float(np.linalg.norm(hand[9] - hand[0]))
    across = float(np.linalg.norm(hand[17] - hand[5]))
    size = max(palm, 1.3 * across)  # a hand that points at the camera is not small
    cv2.fillConvexPoly(canvas, cv2.convexHull(_whole(hand[list(_PALM)])), 255)
    _lines(canvas, hand, (*_PALM, _PALM[0]), _RIM * size)
    for finger in _FINGERS:
        _lines(canvas, hand, finger, _FINGER * size)
    arm = (hand[0] - hand[9]) / max(palm, 1e-3)
    _lines(canvas, np.stack([hand[0], hand[0] + _FOREARM * size * arm]), (0, 1), _WRIST * size)


def _lines(canvas: npt.NDArray[np.uint8], points: Array, order: Sequence[int], width: float) -> None:
    thick = int(np.clip(round(width), 1, 255))
    cv2.polylines(canvas, [_whole(points[list(order)])], False, 255, thick)


def _whole(points: Array) -> Array:
    return np.asarray(np.round(np.clip(points, -4096, 4096)), np.int32).reshape(-1, 1, 2)
