"""A cartoon face, drawn by us: what the procedural head's proportions are read from. Used by ``generate`` only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE_PX = 512
_SKIN, _SHADE, _HAIR = (215, 170, 140), (190, 145, 115), (70, 50, 40)
_LIP_UPPER, _LIP_LOWER, _LINE, _WHITE = (190, 95, 95), (200, 105, 105), (90, 40, 50), (240, 235, 235)


@dataclass(frozen=True)
class Cartoon:
    """Measures of the drawing in pixels of the 512 px canvas, relative to its centre, y down."""

    half_width: float = 150
    half_height: float = 205
    eye_x: float = 62
    eye_y: float = -25
    eye_half_width: float = 30
    eye_half_height: float = 13
    brow_y: float = -48
    brow_tilt_deg: float = 0
    nose_y: float = 52
    nose_half_width: float = 16
    mouth_y: float = 102
    mouth_half_width: float = 48
    lip_upper: float = 10
    lip_lower: float = 16
    smile: float = 0
    chin: float = 0


VARIANTS: dict[str, Cartoon] = {
    "neutral": Cartoon(),
    "smile": Cartoon(smile=22, mouth_half_width=62),
    "pucker": Cartoon(mouth_half_width=26, lip_upper=13, lip_lower=17),
    "frown": Cartoon(smile=-20),
    "brow_up": Cartoon(brow_y=-66),
    "brow_down": Cartoon(brow_y=-38, brow_tilt_deg=10),
    "face_wide": Cartoon(half_width=175),
    "chin_long": Cartoon(chin=30),
    "nose_large": Cartoon(nose_y=66, nose_half_width=22),
    "eyes_apart": Cartoon(eye_x=70),
    "mouth_low": Cartoon(mouth_y=118),
}
"""The drawings whose landmarks are kept: the neutral face, and one change at a time."""


def draw(face: Cartoon) -> NDArray[np.uint8]:
    """RGB image (512, 512, 3) of the cartoon."""
    import cv2

    image = np.full((SIZE_PX, SIZE_PX, 3), 90, np.uint8)
    c = SIZE_PX // 2
    cv2.rectangle(
        image, _int(c - 0.55 * face.half_width, c + 150), _int(c + 0.55 * face.half_width, SIZE_PX), _SHADE, -1
    )
    cv2.fillPoly(image, [_outline(face, c)], _SKIN, cv2.LINE_AA)
    cv2.ellipse(image, _int(c, c - 110), _int(face.half_width * 1.07, 110), 0, 180, 360, _HAIR, -1, cv2.LINE_AA)
    for side in (-1, 1):
        image = _eye(image, face, c, side)
        _nose_side(image, face, c, side)
    ends = _int(face.nose_half_width + 12, 10)
    cv2.ellipse(image, _int(c, c + face.nose_y + 3), ends, 0, 0, 180, _SHADE, 3, cv2.LINE_AA)
    _mouth(image, face, c)
    cv2.ellipse(image, _int(c, c + face.mouth_y + 48), (40, 14), 0, 20, 160, _SHADE, 3, cv2.LINE_AA)
    blurred: NDArray[np.uint8] = cv2.GaussianBlur(image, (0, 0), 1.5)
    return blurred


def _int(*values: float) -> tuple[int, ...]:
    return tuple(round(v) for v in values)


def _outline(face: Cartoon, c: int) -> NDArray[np.int32]:
    angle = np.linspace(0, 2 * np.pi, 200)
    x, y = face.half_width * np.cos(angle), face.half_height * np.sin(angle) + 10
    y = np.where(y > 10, y + face.chin * np.sin(angle) ** 6, y)
    return np.asarray(np.stack([c + x, c + y], 1), np.int32)


def _eye(image: NDArray[np.uint8], face: Cartoon, c: int, side: int) -> NDArray[np.uint8]:
    import cv2

    x, y = c + side * face.eye_x, c + face.eye_y
    inside = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    cv2.ellipse(inside, _int(x, y), _int(face.eye_half_width, face.eye_half_height), 0, 0, 360, 255, -1, cv2.LINE_AA)
    ball = np.full_like(image, _WHITE)
    cv2.circle(ball, _int(x, y), 12, (40, 60, 70), -1, cv2.LINE_AA)
    cv2.circle(ball, _int(x, y), 5, (10, 10, 10), -1, cv2.LINE_AA)
    image = np.ascontiguousarray(np.where(inside[..., None] > 127, ball, image))
    lid = _int(face.eye_half_width + 2, face.eye_half_height + 5)
    cv2.ellipse(image, _int(x, y + 3), lid, 0, 180, 360, (80, 50, 40), 3, cv2.LINE_AA)
    cv2.ellipse(image, _int(x, c + face.brow_y), (40, 14), side * face.brow_tilt_deg, 190, 350, _HAIR, 8, cv2.LINE_AA)
    return image


def _nose_side(image: NDArray[np.uint8], face: Cartoon, c: int, side: int) -> None:
    import cv2

    wing = _int(c + side * (face.nose_half_width + 6), c + face.nose_y - 7)
    cv2.line(image, _int(c + side * 12, c - 20), wing, (190, 145, 115), 4, cv2.LINE_AA)
    nostril = _int(c + side * face.nose_half_width, c + face.nose_y)
    cv2.ellipse(image, nostril, (8, 4), 0, 0, 360, (110, 80, 60), -1, cv2.LINE_AA)


def _mouth(image: NDArray[np.uint8], face: Cartoon, c: int) -> None:
    import cv2

    t = np.linspace(-1, 1, 60)
    arch = 1 - t**2
    x = c + face.mouth_half_width * t
    seam = c + face.mouth_y + face.smile * (0.6 * arch - 0.4 * t**2)
    upper = seam - face.lip_upper * arch**0.6 * (1 - 0.25 * np.exp(-((t / 0.15) ** 2)))
    lower = seam + face.lip_lower * arch**0.6
    for edge, colour in ((upper, _LIP_UPPER), (lower, _LIP_LOWER)):
        ring = np.concatenate([np.stack([x, edge], 1), np.stack([x, seam], 1)[::-1]]).astype(np.int32)
        cv2.fillPoly(image, [ring], colour, cv2.LINE_AA)
    cv2.polylines(image, [np.stack([x, seam], 1).astype(np.int32)], False, _LINE, 2, cv2.LINE_AA)
