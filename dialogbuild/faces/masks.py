"""What a face crop shows, cell by cell: face, hair, clothes, background, and what is in front of the face.

Made of what is at hand without a parsing network: the outline of the landmarks, the person mask, the colour of this
person's skin in this very picture, hands (``hands``), faces of other people that are nearer, and points of the face
whose colour is not theirs (``covered``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.faces.labels import BACKGROUND, FACE, HAIR, MASK_SIDE, OCCLUDER, OTHER

Array = npt.NDArray[Any]
# The outline of the 478-point mesh in order, from the middle of the forehead.
FACE_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148),
    *(176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_SKIN_POINTS = (50, 280, 205, 425, 101, 330, 117, 346, 151, 108, 337, 195, 5, 4, 36, 266)  # cheeks, forehead, nose
_BROW_MIDDLE, _CHIN, _LEFT_SIDE, _RIGHT_SIDE = 9, 152, 454, 234
_HAIR_TO = 0.7  # of the way from brows to chin: cells beside the face above it are hair, below may be a collar
_HAIR_END = 1.1  # the same, for what continues hair downwards: below, nothing tells dark hair from a dark jacket
_SIDEWAYS = 1.3  # face widths from its axis, beyond which a person's cell is not this person's hair
_SKIN_SIGMAS, _SKIN_FLOOR = 3.5, np.array([8.0, 4.0, 4.0])  # Lab
_NECK_FROM, _NECK_FLOOR = 0.9, np.array([16.0, 5.0, 5.0])  # the chin's shadow lies there
_HAIR_FLOOR = np.array([12.0, 5.0, 5.0])
_MIN_HAIR_CELLS = 12
_FINE = 4  # subcells per cell and axis, for outlines
_NEARER = 1.15  # another face's box is that much larger: it is in front


@dataclass(frozen=True, eq=False)
class Base:
    """A crop without what is in front of it.

    Attributes:
        labels: (64, 64) uint8, with the face's own cells as they are beneath (``FACE`` or, from a parser, also others);
        person: (64, 64) bool person mask;  parsed: the labels inside the outline were seen, not assumed.
    """

    labels: npt.NDArray[np.uint8]
    person: npt.NDArray[np.bool_]
    parsed: bool = False


def to_cells(points_px: Array, crop: Array) -> Array:
    """Points of the picture (..., 2) px in cells of a crop; (0, 0) is its top-left corner."""
    corner = np.floor(crop[:2]) - np.floor(crop[2] / 2)
    return np.asarray((points_px - corner) * (MASK_SIDE / float(crop[2])))


def oval_cells(points_px: Array, crop: Array) -> npt.NDArray[np.bool_]:
    """Cells inside the landmarks' outline. (478, 2) px, (4,) -> (64, 64) bool."""
    side = MASK_SIDE * _FINE
    canvas = np.zeros((side, side), np.uint8)
    outline = to_cells(points_px[list(FACE_OVAL)], crop) * _FINE
    cv2.fillPoly(canvas, [np.asarray(np.round(np.clip(outline, -4096, 4096)), np.int32)], 255)
    return np.asarray(cv2.resize(canvas, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA) >= 128)


def base_of(view: npt.NDArray[np.uint8], person: npt.NDArray[np.bool_], points_px: Array, crop: Array) -> Base:
    """Face, hair and the rest of a person by place and colour.

    Cells of the person outside the face are skin if they have the colour of this face (ears, neck), hair if they lie
    beside or above it or continue such cells in their colour, else clothes.

    Args:
        view: (S, S, 3) uint8 the crop's pixels;  person: (64, 64) bool;  points_px: (478, 2).
    """
    lab = cv2.cvtColor(cv2.resize(view, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    colour = lab.astype(np.float32)
    oval = oval_cells(points_px, crop)
    labels = np.where(person, OTHER, BACKGROUND).astype(np.uint8)
    outside = person & ~oval
    down, sideways = _face_axes(points_px, crop)
    samples = _skin_samples(colour, points_px, crop)
    near, far = (_like(colour, samples, floor, _SKIN_SIGMAS) for floor in (_SKIN_FLOOR, _NECK_FLOOR))
    skin = outside & np.where(down < _NECK_FROM, near, far)
    labels[skin & (sideways < _SIDEWAYS)] = FACE
    labels[_hair(colour, outside & ~skin & (sideways < _SIDEWAYS), down)] = HAIR
    labels[oval] = FACE
    return Base(labels, person | oval)


def _skin_samples(colour: Array, points_px: Array, crop: Array) -> Array:
    """Lab (n, 3) of the cells at points that are bare in nearly everybody."""
    cell = np.clip(to_cells(points_px[list(_SKIN_POINTS)], crop).astype(int), 0, MASK_SIDE - 1)
    return np.asarray(colour[cell[:, 1], cell[:, 0]])


def _like(colour: Array, samples: Array, floor: Array, sigmas: float) -> npt.NDArray[np.bool_]:
    """Cells whose colour is within some robust standard deviations of samples (n, 3)."""
    middle = np.median(samples, axis=0)
    sigma = np.maximum(1.4826 * np.median(np.abs(samples - middle), axis=0), floor)
    return np.asarray((np.abs(colour - middle) <= sigmas * sigma).all(axis=-1))


def _face_axes(points_px: Array, crop: Array) -> tuple[Array, Array]:
    """Of every cell (64, 64): how far down the face it is, 0 at the brows, 1 at the chin; distance from that line in
    face widths."""
    brow, chin, left, right = to_cells(points_px[[_BROW_MIDDLE, _CHIN, _LEFT_SIDE, _RIGHT_SIDE]], crop)
    axis = chin - brow
    length = max(float(np.linalg.norm(axis)), 1e-3)
    width = max(float(np.linalg.norm(left - right)), 0.5 * length)
    y, x = np.mgrid[:MASK_SIDE, :MASK_SIDE] + 0.5
    dx, dy = x - brow[0], y - brow[1]
    return (dx * axis[0] + dy * axis[1]) / length**2, np.abs(dx * axis[1] - dy * axis[0]) / (length * width)


def _hair(colour: Array, candidates: npt.NDArray[np.bool_], down: Array) -> npt.NDArray[np.bool_]:
    """Candidates beside and above the face, and what continues them downwards in the same colour."""
    sure = candidates & (down < _HAIR_TO)
    if sure.sum() < _MIN_HAIR_CELLS:
        return sure
    same = candidates & (down < _HAIR_END) & _like(colour, colour[sure], _HAIR_FLOOR, 2.5)
    _, parts = cv2.connectedComponents((sure | same).astype(np.uint8), connectivity=4)
    return np.asarray((sure | same) & np.isin(parts, np.unique(parts[sure])))


def nearer_face_cells(box_px: Array, others_px: Array, crop: Array) -> npt.NDArray[np.bool_]:
    """Cells of a crop inside the faces of people who are nearer to the camera: an ellipse in each larger box.

    Args:
        box_px: (4,) this face's;  others_px: (n, 4);  crop: (4,).

    Returns:
        (64, 64) bool.
    """
    out = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)
    size = float(np.prod(box_px[2:] - box_px[:2])) ** 0.5
    for other in others_px:
        if float(np.prod(other[2:] - other[:2])) ** 0.5 > _NEARER * size:
            a, b = to_cells(other.reshape(2, 2), crop)
            centre, half = np.round((a + b) / 2), np.maximum(np.round((b - a) / 2), 1)
            if (np.abs(centre) < 4096).all() and (half < 4096).all():
                cv2.ellipse(out, [int(v) for v in centre], [int(v) for v in half], 0, 0, 360, 1, -1)
    return out.astype(bool)


def compose(
    base: Base, oval: npt.NDArray[np.bool_], front: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_], float]:
    """One tick's map.

    Args:
        oval: (64, 64) the tick's own outline, newer than ``base``;  front: (64, 64) cells in front of the face.

    Returns:
        labels (64, 64) uint8, person (64, 64) bool, and the share of the outline that is in front, 0..1.
    """
    labels = base.labels.copy()
    if base.parsed:
        inside = cv2.erode(oval.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
        front = front | (inside & ((labels == BACKGROUND) | (labels == OTHER)))
        labels[oval & (labels != HAIR)] = FACE
    else:
        labels[oval] = FACE
    labels[front] = OCCLUDER
    return labels, base.person | oval, float((front & oval).sum() / max(int(oval.sum()), 1))
