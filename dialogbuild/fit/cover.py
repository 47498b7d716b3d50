"""What is in front of a face: cells of its crop through a clip, where pixels and landmarks are not the face's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.faces.labels import MASK_SIDE, PERSON_BYTES, occluder_cells

Array = np.ndarray[Any, np.dtype[Any]]
NOSE_TIP = 1  # the landmark that a crop's place is told from
GUESSED_TRUST = 0.2  # a covered landmark is a guess: its sigma is five times that of one that is seen


@dataclass(frozen=True, eq=False)
class Cover:
    """Cells in front of a face over T ticks; without rows (``NOTHING``) there is nothing, whatever T is.

    Attributes:
        cells: (T, 512) uint8, 64 x 64 bits by rows, most significant bit first.
        corner_px: (T, 2) float32, top-left corner of the crop minus the tip of the nose as detected: who moves all
            landmarks by the same pixels need not know of it.
        side_px: (T,) float32 of the crop.
    """

    cells: Array
    corner_px: Array
    side_px: Array

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, ticks: Any) -> Cover:
        """The cover of some ticks."""
        return Cover(self.cells[ticks], self.corner_px[ticks], self.side_px[ticks]) if len(self) else self

    def placed(self, landmarks_px: Array) -> Cover:
        """The same with corners in the picture, for landmarks (T, 478, 2) of the same ticks."""
        if not len(self):
            return self
        return Cover(self.cells, self.corner_px + landmarks_px[:, NOSE_TIP], self.side_px)

    def any(self) -> Array:
        """(T,) bool, whether there is anything in front."""
        return np.asarray(self.cells.any(axis=1))

    def hides(self, points_px: Array) -> Array:
        """Whether points (T, N, 2) of the picture lie in such cells, (T, N) bool. Corners must be ``placed``."""
        out = np.zeros(points_px.shape[:2], bool)
        for t in np.flatnonzero(self.any()) if len(self) else ():
            scale = MASK_SIDE / max(float(self.side_px[t]), 1e-6)
            cell = np.floor((points_px[t] - self.corner_px[t]) * scale)
            inside = ((cell >= 0) & (cell < MASK_SIDE)).all(axis=1)
            column, row = np.where(inside[:, None], cell, 0).astype(np.int64).T
            bits = np.unpackbits(self.cells[t]).reshape(MASK_SIDE, MASK_SIDE)
            out[t] = inside & (bits[row, column] > 0)
        return out


NOTHING = Cover(np.zeros((0, PERSON_BYTES), np.uint8), np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


def read_cover(parts: Array, crops: Array, landmarks_px: Array, known: Array) -> Cover:
    """The cover of T ticks, one cell wider on all sides than what was found: edges are soft and move.

    Args:
        parts: (T,) object, part bits of ``faces.labels``, 1024 bytes each;  crops: (T, 4) centre, side in px, roll.
        landmarks_px: (T, 478, 2);  known: (T,) bool, elsewhere nothing is in front.
    """
    cells = np.zeros((len(parts), PERSON_BYTES), np.uint8)
    for t in np.flatnonzero(known):
        planes = np.frombuffer(parts[t], np.uint8).reshape(2, PERSON_BYTES)
        if (planes[0] & planes[1]).any():
            cells[t] = np.packbits(_wider(occluder_cells(bytes(parts[t]))))
    if not cells.any():
        return NOTHING
    corner = np.floor(crops[:, :2]) - np.floor(crops[:, 2:3] / 2) - landmarks_px[:, NOSE_TIP]
    return Cover(cells, corner.astype(np.float32), crops[:, 2].astype(np.float32))


def landmark_trust(cover: Cover, landmarks_px: Array) -> Array:
    """What sigmas of the landmarks (T, 478, 2) are divided by, (T, 478): 1, or ``GUESSED_TRUST`` where covered."""
    return np.where(cover.placed(landmarks_px).hides(landmarks_px), GUESSED_TRUST, 1.0)


def _wider(mask: Array) -> Array:
    padded = np.pad(mask, 1)
    across = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return np.asarray(across[:-2] | across[1:-1] | across[2:])
