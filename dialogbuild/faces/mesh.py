"""478 landmarks and a person mask inside one face crop: mediapipe's attention mesh and selfie segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt

from dialogbuild.faces import mp
from dialogbuild.faces.labels import MASK_SIDE
from dialogbuild.faces.mirror import PARTNER

N_LANDMARKS = 478
INPUT_SIDE = 320  # px; the mesh network sees 192 px of which the face fills two thirds, so no detail is lost

Crop = npt.NDArray[np.float32]  # (4,): cx, cy, side in px of the image, roll in rad


@dataclass(frozen=True, eq=False)
class Mesh:
    """Landmarks of one face in pixels of the whole image."""

    points_px: npt.NDArray[np.float32]  # (478, 2)
    z_px: npt.NDArray[np.float32]  # (478,) towards the camera negative, same scale as x
    spread_px: float = 0.0  # mean distance between what the mesh says of the crop and of its mirror image


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
    """The attention mesh on crops of one face through time. Not thread safe; one instance per track at a time.

    With ``mirrored`` the mesh also looks at the crop in a mirror, and the two answers are averaged. The network is not
    symmetric: what it shifts to one side it shifts to the other side in the mirror, so that the average has no such
    bias (up to 1 degree of yaw on renders), and how far the two are apart says how sure it is.
    """

    def __init__(self, min_score: float = 0.5, mirrored: bool = True) -> None:
        options = {"max_num_faces": 1, "refine_landmarks": True, "min_detection_confidence": min_score}
        self._models = [
            mp.make("FaceMesh", static_image_mode=False, min_tracking_confidence=0.5, **options)
            for _ in range(2 if mirrored else 1)
        ]

    def __enter__(self) -> FaceMesher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for model in self._models:
            model.close()

    def reset(self) -> None:
        """Forget the last frame: call it when a new track starts."""
        for model in self._models:
            model.reset()

    def __call__(self, rgb: npt.NDArray[np.uint8], crop: Crop) -> Mesh | None:
        """Landmarks of the face in ``crop``, or None when there is none (in the mirror neither).

        Args:
            rgb: (H, W, 3) uint8 whole image.
            crop: (4,) centre and side in px.
        """
        return self.in_view(cut(rgb, crop), crop)

    def in_view(self, view: npt.NDArray[np.uint8], crop: Crop) -> Mesh | None:
        """The same for a crop that is already cut out: ``view`` is what ``cut`` gives for it."""
        views = [view, np.ascontiguousarray(view[:, ::-1])]
        answers = []
        for model, image in zip(self._models, views, strict=False):
            found = mp.process(model, image).multi_face_landmarks
            if not found:
                return None
            answers.append(np.array([(p.x, p.y, p.z) for p in found[0].landmark], np.float32))
        if len(answers) == 1:
            return to_image(answers[0], crop)
        reflected = unmirror(answers[1])
        spread = float(np.linalg.norm((answers[0] - reflected)[:, :2], axis=1).mean() * crop[2])
        return to_image((answers[0] + reflected) / 2, crop, spread)


def unmirror(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Landmarks found in a mirrored crop, as they lie in the crop. (478, 3) normalised x, y, z -> the same."""
    reflected = points[PARTNER]
    reflected[:, 0] = 1 - reflected[:, 0]
    return reflected


def to_image(points: npt.NDArray[np.float32], crop: Crop, spread_px: float = 0.0) -> Mesh:
    """mediapipe's normalised landmarks of a crop, (478, 3), as pixels of the whole image."""
    side = crop[2]
    origin = crop[:2] - float(int(side) // 2)
    xy = (points[:, :2] * side + origin).astype(np.float32)
    return Mesh(xy, (points[:, 2] * side).astype(np.float32), spread_px)


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

    def __call__(self, view: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """The mask over a crop, from what ``cut`` gives for it. -> (64, 64) bool, row 0 at the crop's top."""
        soft = mp.process(self._model, cv2.resize(view, (256, 256), interpolation=cv2.INTER_AREA)).segmentation_mask
        return np.asarray(cv2.resize(soft, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA) > 0.5)
