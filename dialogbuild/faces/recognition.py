"""Face embeddings by a network that the user brings, in the convention of ArcFace.

Deng et al., "ArcFace", CVPR 2019. The face is turned and scaled so that eyes, nose and mouth corners lie nearest to
five fixed places of a 112 x 112 picture; RGB, (value - 127.5) / 127.5, channels first; 512 numbers come out, whose
direction is the person. That is what the recognition networks of InsightFace and most of their kin take and give; a
network of another convention is told by its shapes where they differ, and cannot be told where they do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.errors import ConfigError
from dialogbuild.faces import onnx

Array = npt.NDArray[Any]

CROP_PX, N_DIMS = 112, 512
FIVE = (468, 473, 1, 61, 291)
"""Of the mesh: irises (image left and right on an upright face), nose tip, corners of the mouth."""

_PLACES_PX = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_MIDDLE = 127.5


class FaceEmbedder:
    """A recognition network on the CPU, one thread.

    Raises:
        MissingPart: onnxruntime is not installed.
        ConfigError: no file at ``weights``, no ONNX network, or one that takes or gives other shapes.
    """

    def __init__(self, weights: str | Path) -> None:
        self._session = onnx.load_session(weights, "recognition")
        onnx.require_input(self._session, (1, 3, CROP_PX, CROP_PX), "face recognition")
        self._output = onnx.require_output(self._session, (1, N_DIMS), "face recognition")

    def __call__(self, rgb: npt.NDArray[np.uint8], mesh_px: Array) -> Array:
        """Embedding of one face, (512,) float64 of unit length.

        Args:
            rgb: (H, W, 3) uint8.
            mesh_px: (478, 2) landmarks in that picture.

        Raises:
            ConfigError: the network gives another shape than it says, zeros, or numbers that are not finite.
        """
        face = align_face(rgb, mesh_px[list(FIVE)])
        image = ((face.astype(np.float32) - _MIDDLE) / _MIDDLE).transpose(2, 0, 1)[None]
        out = np.asarray(self._session(np.ascontiguousarray(image))[self._output], np.float64)
        if out.shape != (1, N_DIMS):
            raise ConfigError(f"recognition_weights: the network gave {out.shape}, not (1, {N_DIMS})")
        length = float(np.linalg.norm(out))
        if not np.isfinite(length) or length == 0:
            raise ConfigError("recognition_weights: the network gave zeros, or numbers that are not finite")
        unit: Array = out[0] / length
        return unit


def align_face(rgb: npt.NDArray[np.uint8], five_px: Array) -> npt.NDArray[np.uint8]:
    """The face upright and scaled, (112, 112, 3) uint8; black where the picture ends.

    Args:
        rgb: (H, W, 3) uint8.
        five_px: (5, 2) eyes, nose tip, mouth corners, as in ``FIVE``.
    """
    import cv2

    matrix = similarity(five_px, _PLACES_PX)
    return np.asarray(cv2.warpAffine(rgb, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR), np.uint8)


def similarity(source: Array, target: Array) -> Array:
    """The rotation, scale and shift that bring points nearest to others in the least-squares sense.

    Args:
        source, target: (n, 2), n >= 2.

    Returns:
        (2, 3) matrix, applied to (x, y, 1).
    """
    a = source[:, 0].astype(np.float64) + 1j * source[:, 1]
    b = target[:, 0].astype(np.float64) + 1j * target[:, 1]
    centred = a - a.mean()
    turn = complex((centred.conj() * (b - b.mean())).sum() / max(float((np.abs(centred) ** 2).sum()), 1e-12))
    shift = complex(b.mean() - turn * a.mean())
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
