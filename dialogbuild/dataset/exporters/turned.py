"""A camera turned about its centre, so that a crop's middle lies on its axis: exact, unlike moving the crop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset.schema import CROP_PX

Float64 = NDArray[np.float64]


def turned_cameras(crop_k: Float64) -> tuple[Float64, Float64, Float64]:
    """Cameras with their principal point in the crop's middle.

    Args:
        crop_k: (T, 3, 3) intrinsics of the crops.

    Returns:
        (T, 3, 3) intrinsics with cx = cy = half the crop and the same focal length; (T, 3, 3) rotations from the
        old camera axes to the new; (T, 3, 3) homographies K' R K^-1 from old crop px to new crop px.
        Source: R. Hartley, A. Zisserman, Multiple View Geometry, 2nd ed., section 8.4.2.
    """
    middle = np.array([CROP_PX / 2, CROP_PX / 2, 1.0])
    ray = np.linalg.solve(crop_k, np.repeat(middle[None, :, None], len(crop_k), axis=0))[..., 0]
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    turn = _onto_z(ray)
    k = crop_k.copy()
    k[:, :2, 2] = CROP_PX / 2
    return k, turn, np.asarray(k @ turn @ np.linalg.inv(crop_k))


def _onto_z(ray: Float64) -> Float64:
    """The smallest rotations that take unit rays (T, 3) onto the z axis. (T, 3, 3)."""
    x, y, z = ray.T
    share = 1 / (1 + z)  # rays in front of the camera have z > 0
    rows = [[1 - x * x * share, -x * y * share, -x], [-x * y * share, 1 - y * y * share, -y], [x, y, z]]
    return np.moveaxis(np.array(rows), -1, 0)


def warp(image: NDArray[np.uint8], homography: Float64) -> NDArray[np.uint8]:
    """Resample an RGB crop by a homography between coordinates whose first pixel's centre is (0.5, 0.5)."""
    if np.allclose(homography, np.eye(3)):
        return image
    import cv2

    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # cv2 puts pixel centres at whole numbers
    matrix = np.linalg.inv(shift) @ homography @ shift
    return np.asarray(cv2.warpPerspective(image, matrix, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR), np.uint8)
