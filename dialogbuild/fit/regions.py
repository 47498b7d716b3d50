"""Regions of the 478-point face mesh, the pairs that measure lid and lip gaps, and how far each region can be trusted.

Indices follow the MediaPipe face mesh with refined eyes and lips; left and right are the subject's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
N_LANDMARKS = 478

OVAL: tuple[int, ...] = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148),
    *(176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
NOSE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 48, 115, 220, 45, 275, 440, 344, 278, 129, 358)
RIGHT_IRIS = (468, 469, 470, 471, 472)  # centre, then the ring
LEFT_IRIS = (473, 474, 475, 476, 477)

REGIONS: Mapping[str, tuple[int, ...]] = {
    "lips": LIPS_OUTER + LIPS_INNER,
    "eyes": RIGHT_EYE + LEFT_EYE,
    "brows": RIGHT_BROW + LEFT_BROW,
    "irises": RIGHT_IRIS + LEFT_IRIS,
    "nose": NOSE,
    "oval": OVAL,
}
OUTER_EYE_CORNERS = (33, 263)  # subject's right, left: their distance in px is the face size used throughout

# (upper, lower), subject's left lid then right lid, then lips; the central pair first
LEFT_LID_PAIRS = ((386, 374), (385, 380), (387, 373), (384, 381), (388, 390))
RIGHT_LID_PAIRS = ((159, 145), (158, 153), (160, 144), (157, 154), (161, 163))
LIP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318))
MOUTH_CORNERS = (61, 291)


@dataclass(frozen=True)
class LandmarkNoise:
    """Standard deviation of a detected landmark, as a fraction of the face size (outer-eye distance at zero yaw).

    The fractions are the detector's errors against rendered heads of an independent model with known vertices, after
    the constant offset between the two definitions was removed (eyes 1.3, lips 1.3, nose 2.5, brows 2.4, outline
    5.8 %). ``gap`` is for differences of two opposite points, where a common error of the region cancels.

    ``independence`` scales all landmark information: neighbouring landmarks err together, so 478 points are worth
    about 0.15 * 478 independent ones. It sets how landmarks weigh against priors, and the posterior sigmas.
    """

    eyes: float = 0.013
    irises: float = 0.013
    lips: float = 0.013
    nose: float = 0.025
    brows: float = 0.024
    oval: float = 0.058
    other: float = 0.030
    gap: float = 0.008
    floor_px: float = 0.4
    independence: float = 0.15

    def fractions(self) -> Array:
        """(478,) of the face size. A point in two regions takes the later, larger one."""
        out = np.full(N_LANDMARKS, self.other)
        for region, members in REGIONS.items():
            out[list(members)] = getattr(self, region)
        return out
