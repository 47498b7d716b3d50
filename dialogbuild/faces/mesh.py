"""478 landmarks and a person mask inside one face crop: mediapipe's attention mesh and selfie segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.faces import mp

N_LANDMARKS = 478
MASK_SIDE = 64  # cells; a mask of 512 bytes per face-frame
INPUT_SIDE = 320  # px; the mesh network sees 192 px of which the face fills two thirds, so no detail is lost

Crop = npt.NDArray[np.float32]  # (4,): cx, cy, side in px of the image, roll in rad


@dataclass(frozen=True, eq=False)
class Mesh:
    """Landmarks of one face in pixels of the whole image."""

    points_px: npt.NDArray[np.float32]  # (478, 2)
    z_px: npt.NDArray[np.float32]  # (478,) towards the camera negative, same scale as x


def square_crop(box_px: npt.NDArray[np.float32], scale: float) -> Crop:
    """The square around a box, ``scale`` times its longer side, on whole pixels. (4,) -> (4,)."""
    x0, y0, x1, y1 = (float(v) for v in box_px)
    side = max(2, round(scale * max(x1 - x0, y1 - y0) / 2) * 2)
    cx, cy = round((x0 + x1) / 2), round((y0 + y1) / 2)
    return np.array([cx, cy, side, 0.0], np.float32)


def cut(rgb: npt.NDArray[np.uint8], crop: Crop, side: int = INPUT_SIDE) -> npt.NDArray[np.uint8]:
    """The crop's pixels, resized to ``side`` x ``side``; outside the image is black. -> (side, side, 3) uint8."""
    cx, cy, size = int(crop[0]), int(crop[1]), int(crop[2])
    x0, y0 = cx - size // 2, cy - size // 2
    height, width = rgb.shape[:2]
    inner = rgb[max(y0, 0) : max(min(y0 + size, height), 0), max(x0, 0) : max(min(x0 + size, width), 0)]
    if inner.shape[:2] != (size, size):
        padded = np.zeros((size, size, 3), np.uint8)
        top, left = max(-y0, 0), max(-x0, 0)
        padded[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
        inner = padded
    how = cv2.INTER_AREA if size > side else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(inner, (side, side), interpolation=how))


class FaceMesher:
    """The attention mesh on crops of one face through time. Not thread safe; one instance per track at a time."""

    def __init__(self, min_score: float = 0.5) -> None:
        self._min_score = min_score
        options = {"max_num_faces": 1, "refine_landmarks": True, "min_detection_confidence": min_score}
        self._tracking = mp.make("FaceMesh", static_image_mode=False, min_tracking_confidence=0.5, **options)

    def __enter__(self) -> FaceMesher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._tracking.close()

    def reset(self) -> None:
        """Forget the last frame: call it when a new track starts."""
        self._tracking.reset()

    def __call__(self, rgb: npt.NDArray[np.uint8], crop: Crop) -> Mesh | None:
        """Landmarks of the face in ``crop``, or None when there is none.

        Args:
            rgb: (H, W, 3) uint8 whole image.
            crop: (4,) centre and side in px.
        """
        found = mp.process(self._tracking, cut(rgb, crop)).multi_face_landmarks
        return to_image(found[0].landmark, crop) if found else None


def to_image(landmarks: object, crop: Crop) -> Mesh:
    """mediapipe's normalised landmarks of a crop, as pixels of the whole image."""
    flat = np.array([(p.x, p.y, p.z) for p in landmarks], np.float32)  # type: ignore[attr-defined]
    side = crop[2]
    origin = crop[:2] - float(int(side) // 2)
    return Mesh((flat[:, :2] * side + origin).astype(np.float32), (flat[:, 2] * side).astype(np.float32))


class PersonMasker:
    """Which cells of a crop show the person (face, hair, neck, clothes) and which the background."""

    def __init__(self) -> None:
        self._model = mp.make("SelfieSegmentation", model_selection=0)

    def __enter__(self) -> PersonMasker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._model.close()

    def reset(self) -> None:
        """Forget the last frame: the model blends it into the next mask."""
        self._model.reset()

    def __call__(self, rgb: npt.NDArray[np.uint8], crop: Crop) -> npt.NDArray[np.bool_]:
        """The mask over the crop. -> (64, 64) bool, row 0 at the crop's top."""
        soft = mp.process(self._model, cut(rgb, crop, 256)).segmentation_mask
        return np.asarray(cv2.resize(soft, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA) > 0.5)


def pack_mask(mask: npt.NDArray[np.bool_]) -> bytes:
    """A (64, 64) bool mask as 512 bytes, row by row, most significant bit first."""
    return np.packbits(mask).tobytes()


def unpack_mask(packed: bytes) -> npt.NDArray[np.bool_]:
    """The inverse of ``pack_mask``: 512 bytes -> (64, 64) bool."""
    return np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(MASK_SIDE, MASK_SIDE).astype(bool)
