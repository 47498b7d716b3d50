"""A second opinion on landmarks: face-alignment's 2DFAN, and how far its 68 points lie from mediapipe's.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017. Crop, network and
decoding of the heatmaps are those of the package face-alignment (BSD); only the way back to the image is done here,
because the package cuts its answer down to whole pixels. The weights are a local file: nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dialogbuild.errors import ConfigError, MissingPart

Array = npt.NDArray[np.float32]
N_IBUG = 68
_FIRST_INNER = 17  # iBUG points 0 to 16 are the outline, which slides with the view and is not comparable
_RIGHT_OUTER, _LEFT_OUTER = 33, 263  # mediapipe's outer eye corners
_MAX_MODULES = 4  # hourglasses of the published 2DFAN-4
_MIN_SIDE_PX = 8

MP_OF_INNER_IBUG = (
    # 17-21 right brow outer to inner, 22-26 left brow inner to outer (right and left are the subject's)
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    # 27-30 nose bridge to tip, 31-35 nostrils right to left
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    # 36-41 right eye from the outer corner over the upper lid, 42-47 left eye from the inner corner
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    # 48-59 outer lips from the right corner over the upper lip, 60-67 inner lips
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""Face-mesh index of each iBUG point from 17 on; the same choice as the heads' ``ibug68``."""


def disagreement(lmk478_px: Array, lmk68_px: Array) -> Array:
    """Mean distance of the 51 inner points over mediapipe's outer-eye distance.

    The two markups do not mean quite the same points (brows, nostrils), so that two perfect detectors do not give 0;
    and the outer-eye distance is that in the picture, so that the same error counts for more in a profile.

    Args:
        lmk478_px: (..., 478, 2) mediapipe's landmarks.
        lmk68_px: (..., 68, 2) iBUG points of the same faces in the same picture.

    Returns:
        (...) float32; -1 where the outer eye corners lie within a pixel of each other, or a point is not finite.
    """
    eyes_px = np.linalg.norm(lmk478_px[..., _LEFT_OUTER, :] - lmk478_px[..., _RIGHT_OUTER, :], axis=-1)
    apart = lmk478_px[..., MP_OF_INNER_IBUG, :] - lmk68_px[..., _FIRST_INNER:, :]
    mean_px = np.linalg.norm(apart, axis=-1).mean(axis=-1)
    known = (eyes_px >= 1) & np.isfinite(mean_px)
    return np.where(known, mean_px / np.maximum(eyes_px, 1), -1).astype(np.float32)


class SecondOpinion:
    """2DFAN on the CPU, one thread, eager: 68 points of the face in a box.

    Raises:
        MissingPart: face-alignment is not installed.
        ConfigError: no file at ``weights``, or it holds something else than a 2DFAN; see ``load_network``.
    """

    def __init__(self, weights: Path) -> None:
        self._net = load_network(weights)

    def __call__(self, rgb: npt.NDArray[np.uint8], box_px: Array) -> Array | None:
        """Points of the face in ``box_px``; the package's crop is about twice as wide.

        Args:
            rgb: (H, W, 3) uint8 whole image.
            box_px: (4,) x0, y0, x1, y1.

        Returns:
            (68, 2) float32 px of the image, to about 1/250 of the crop (a quarter of a heatmap's cell); None where the
            crop does not meet the picture or is smaller than 8 px.
        """
        import torch
        from face_alignment import utils

        centre, scale = _framing(box_px, utils.REFERENCE_SCALE, utils.CENTER_Y_OFFSET)
        side_px = utils.SCALE_FACTOR * scale
        low, high = centre - side_px / 2, centre + side_px / 2
        if side_px < _MIN_SIDE_PX or (high < 2).any() or (low > np.array(rgb.shape[1::-1]) - 2).any():
            return None
        view = utils.crop(rgb, centre, scale).transpose(2, 0, 1).astype(np.float32) / 255
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                heat = self._net(torch.from_numpy(view)[None])[-1].numpy()
        finally:
            torch.set_num_threads(threads)
        cells = utils.get_preds_fromhm(heat)[0][0]
        return np.asarray(low + cells * (side_px / heat.shape[-1]), np.float32)


def _framing(box_px: Array, reference: float, raised: float) -> tuple[npt.NDArray[np.float64], float]:
    """Centre (2,) px and scale of the package's crop around a box, as its ``get_landmarks_from_image`` takes them."""
    x0, y0, x1, y1 = (float(v) for v in box_px)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2 - raised * (y1 - y0)])
    return centre, (x1 - x0 + y1 - y0) / reference


def weights_file(weights: str | None) -> Path:
    """The file of the weights, after a look at what it needs; it is not opened.

    Raises:
        MissingPart: face-alignment is not installed.
        ConfigError: there is no such file.
    """
    if importlib.util.find_spec("face_alignment") is None:
        raise MissingPart(
            "a second opinion on landmarks needs face-alignment: pip install 'dialogbuild[face-alignment]'"
        )
    if not weights or not Path(weights).is_file():
        raise ConfigError(f"second_opinion_weights: no file at {weights}; give the 2DFAN4-*.pth.tar of face-alignment")
    return Path(weights)


def load_network(weights: Path) -> Any:
    """face-alignment's FAN with the weights of a file, in evaluation mode.

    The file is a plain state dict, read by torch's restricted unpickler; the number of hourglasses (1 to 4; the
    published network has 4) follows from its names.

    Raises:
        MissingPart: face-alignment is not installed.
        ConfigError: no file, no plain state dict, or another network's.
    """
    import torch

    path = weights_file(str(weights))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a foreign file
        raise ConfigError(f"second_opinion_weights: {path} is no plain state dict: {str(error)[:200]}") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"second_opinion_weights: {path} is no plain state dict of tensors")
    modules = sum(f"l{i}.weight" in state for i in range(_MAX_MODULES))
    with torch.device("meta"):  # its random start would be thrown away, and would move torch's generator
        net = _fan_class()(max(modules, 1))
    try:
        net.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ConfigError(f"second_opinion_weights: {path} is no 2DFAN of face-alignment: {str(error)[:300]}") from None
    if not all(bool(value.isfinite().all()) for value in net.state_dict().values()):
        raise ConfigError(f"second_opinion_weights: {path} holds numbers that are not finite")
    return net.float().eval().requires_grad_(False)


def _fan_class() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        from face_alignment.models import FAN
    return FAN
