"""Face parsing by an ONNX network that the user brings: BiSeNet as trained on CelebAMask-HQ, 19 classes, 512 x 512.

Lee et al., "MaskGAN: Towards Diverse and Interactive Facial Image Manipulation", CVPR 2020 (classes); Yu et al.,
"BiSeNet", ECCV 2018 (network). Colours are normalised by ImageNet's mean and deviation, as these networks expect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.errors import ConfigError
from dialogbuild.faces import onnx
from dialogbuild.faces.labels import BACKGROUND, FACE, HAIR, MASK_SIDE, OTHER

Array = npt.NDArray[Any]
SIDE_PX = 512
CLASSES = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r", "nose"),
    *("mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"),
)
"""In the order of the published networks; eye_g = glasses, ear_r = ear ring, neck_l = necklace."""
_ELSE = {"background": BACKGROUND, "hair": HAIR, "ear_r": OTHER, "neck_l": OTHER, "cloth": OTHER, "hat": OTHER}
LABEL_OF = np.array([_ELSE.get(name, FACE) for name in CLASSES], np.uint8)  # glasses are a part of the face
_MEAN, _STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
_WHAT = "landmarks.parsing_weights"


class FaceParser:
    """The network on face crops, one thread of the CPU.

    Raises:
        MissingPart: onnxruntime is not installed.
        ConfigError: no network at ``weights``, or one with other sizes than 1x3x512x512 to 1x19x512x512.
    """

    def __init__(self, weights: str | Path) -> None:
        self._session = onnx.load_session(weights, "parsing")
        onnx.require_input(self._session, (1, 3, SIDE_PX, SIDE_PX), _WHAT)
        self._output = onnx.require_output(self._session, (1, len(CLASSES), SIDE_PX, SIDE_PX), _WHAT)

    def __call__(self, view: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Labels (64, 64) uint8 of a crop, (S, S, 3) uint8: of every cell the most frequent one.

        Raises:
            ConfigError: the network gives something else than it declares, or values that are not finite.
        """
        image = cv2.resize(view, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        scores = self._session(((image - _MEAN) / _STD).transpose(2, 0, 1)[None])[self._output]
        if scores.shape != (1, len(CLASSES), SIDE_PX, SIDE_PX) or not np.isfinite(scores).all():
            raise ConfigError(f"{self._session.path.name}: {_WHAT} gave {scores.shape} or values that are not finite")
        return to_labels(scores[0].argmax(axis=0))


def to_labels(classes: Array) -> npt.NDArray[np.uint8]:
    """Classes (512, 512) as labels (64, 64): of every cell the most frequent one, the smaller of equals."""
    step = len(classes) // MASK_SIDE
    blocks = LABEL_OF[classes].reshape(MASK_SIDE, step, MASK_SIDE, step)
    votes = np.stack([(blocks == k).sum(axis=(1, 3)) for k in range(OTHER + 1)])
    return np.asarray(votes.argmax(axis=0), np.uint8)
