"""What each cell over a face crop shows, as bits: written by the stage landmarks, read by the fit and by datasets.

A map has 64 x 64 cells over a square crop, row 0 at its top. It is stored as two byte strings: the person bits (512
bytes, what a dataset has had from the start) and the part bits (two planes of 512 bytes: "face or in front of it",
then "hair or in front of it"). Needs only numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
MASK_SIDE = 64  # cells
BACKGROUND, FACE, HAIR, OTHER, OCCLUDER = range(5)
NAMES = ("background", "face", "hair", "other", "occluder")
PERSON_BYTES = MASK_SIDE * MASK_SIDE // 8
PART_BYTES = 2 * PERSON_BYTES


def pack_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """A (64, 64) bool mask as 512 bytes, row by row, most significant bit first."""
    return np.packbits(mask).tobytes()


def unpack_mask(packed: bytes) -> npt.NDArray[np.bool_]:
    """The inverse of ``pack_mask``: 512 bytes -> (64, 64) bool."""
    return np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(MASK_SIDE, MASK_SIDE).astype(bool)


def pack_labels(labels: npt.NDArray[np.uint8], person: npt.NDArray[np.bool_]) -> tuple[bytes, bytes]:
    """A map (64, 64) of labels 0..4 as person bits (512 bytes) and part bits (1024 bytes).

    Args:
        person: (64, 64) whether something that is in front belongs to the person (a hand) or not (a microphone); of all
            other labels the label itself says it.
    """
    front, hair = labels == OCCLUDER, labels == HAIR
    own = np.where(front, person, labels != BACKGROUND)
    return pack_mask(own), pack_mask((labels == FACE) | front) + pack_mask(hair | front)


def unpack_labels(person_bits: bytes, part_bits: bytes) -> npt.NDArray[np.uint8]:
    """The map (64, 64) uint8: 0 background, 1 face and other bare skin, 2 hair, 3 clothes and the rest, 4 in front.

    Raises:
        ValueError: not 512 and 1024 bytes.
    """
    if len(person_bits) != PERSON_BYTES or len(part_bits) != PART_BYTES:
        raise ValueError(f"a map has 512 and 1024 bytes, not {len(person_bits)} and {len(part_bits)}")
    a, b = unpack_mask(part_bits[:PERSON_BYTES]), unpack_mask(part_bits[PERSON_BYTES:])
    out = np.where(unpack_mask(person_bits), np.uint8(OTHER), np.uint8(BACKGROUND))
    out[a & ~b], out[b & ~a], out[a & b] = FACE, HAIR, OCCLUDER
    return np.asarray(out, np.uint8)


def occluder_cells(part_bits: bytes) -> npt.NDArray[np.bool_]:
    """The cells (64, 64) that show something in front of the face."""
    planes = np.frombuffer(part_bits, np.uint8).reshape(2, PERSON_BYTES)
    return unpack_mask((planes[0] & planes[1]).tobytes())
