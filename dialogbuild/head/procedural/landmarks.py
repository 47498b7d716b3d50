"""Where things are on the 468-point face mesh: loops in order, subject's left is +x.

The indices are those of mediapipe's face mesh (Apache-2.0); they were checked by eye on renders.
"""

from __future__ import annotations

N_FACE = 468

OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
"""From the forehead down the subject's left to the chin and back up the right."""

RIGHT_EYE_LOOP = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE_LOOP = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
"""Lid margins: outer corner, upper lid, inner corner, lower lid."""

RIGHT_LID_CREASE = (247, 30, 29, 27, 28, 56, 190)
LEFT_LID_CREASE = (467, 260, 259, 257, 258, 286, 414)
"""The ring above the upper margin, outer to inner."""

RIGHT_LOWER_LID = (25, 110, 24, 23, 22, 26, 112)
LEFT_LOWER_LID = (255, 339, 254, 253, 252, 256, 341)
"""The ring below the lower margin, outer to inner."""

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""From the subject's right corner over the upper lip to the left corner and back under the lower lip."""

UPPER_LIP = (191, 80, 81, 82, 13, 312, 311, 310, 415, 185, 40, 39, 37, 0, 267, 269, 270, 409,
             183, 42, 41, 38, 12, 268, 271, 272, 407, 184, 74, 73, 72, 11, 302, 303, 304, 408)  # fmt: skip
LOWER_LIP = (95, 88, 178, 87, 14, 317, 402, 318, 324, 146, 91, 181, 84, 17, 314, 405, 321, 375,
             96, 89, 179, 86, 15, 316, 403, 319, 325, 77, 90, 180, 85, 16, 315, 404, 320, 307)  # fmt: skip
LIP_CORNERS = (61, 291, 78, 308, 62, 292, 76, 306)
ABOVE_LIP = (57, 186, 92, 165, 167, 164, 393, 391, 322, 410, 287)
"""The ring between the upper lip and the nose."""

RIGHT_BROW_UPPER, RIGHT_BROW_LOWER = (70, 63, 105, 66, 107), (46, 53, 52, 65, 55)
LEFT_BROW_UPPER, LEFT_BROW_LOWER = (300, 293, 334, 296, 336), (276, 283, 282, 295, 285)

CHIN, NOSE_TIP, NOSE_BASE, NOSE_BRIDGE, GLABELLA = 152, 4, 2, 168, 9
RIGHT_NOSTRIL, LEFT_NOSTRIL = 48, 278
RIGHT_CHEEK, LEFT_CHEEK = 205, 425

IBUG68 = (
    # jaw line, subject's right to left
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    # brows
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    # nose
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    # eyes
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    # outer lips, inner lips
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""The iBUG 68 markup as face-mesh indices."""
