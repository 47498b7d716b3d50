"""The pinhole camera, in OpenCV axes: x right, y down, z forward, metres; pixels with centres at (i + 0.5, j + 0.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.errors import ConfigError

CAM_FROM_HEAD: NDArray[np.float64] = np.diag([1.0, -1.0, -1.0])
"""Head axes (x to the subject's left, y up, z out of the face) to camera axes, for a face looking at the camera."""


@dataclass(frozen=True)
class Camera:
    """Pinhole without distortion, square pixels.

    Args:
        focal_px: focal length in pixels of the declared image size.
        cx_px, cy_px: principal point in pixels; the image centre is ``(width_px / 2, height_px / 2)``.
        width_px, height_px: image size.

    Raises:
        ConfigError: a size or the focal length is not positive.
    """

    focal_px: float
    cx_px: float
    cy_px: float
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        if not (self.focal_px > 0 and self.width_px > 0 and self.height_px > 0):
            raise ConfigError(f"a camera needs a positive focal length and size, not {self}")

    @classmethod
    def centred(cls, focal_px: float, width_px: int, height_px: int) -> Camera:
        """A camera whose principal point is the image centre."""
        return cls(focal_px, width_px / 2, height_px / 2, width_px, height_px)

    def project(self, x_cam: NDArray[Any]) -> NDArray[Any]:
        """Camera points (..., 3) in metres -> pixels (..., 2), same dtype. Depth must be positive; not checked."""
        centre = np.array([self.cx_px, self.cy_px], x_cam.dtype)
        return np.asarray(x_cam[..., :2] * (x_cam.dtype.type(self.focal_px) / x_cam[..., 2:]) + centre)

    def project_with_depth(self, x_cam: NDArray[Any]) -> NDArray[Any]:
        """Camera points (..., 3) -> (..., 3): x px, y px, depth m; what a rasteriser takes. Depth <= 0 gives NaN px."""
        depth = x_cam[..., 2:]
        safe = np.where(depth > 0, depth, np.nan)
        return np.concatenate([self.project(np.concatenate([x_cam[..., :2], safe], -1)), depth], -1)

    def scaled(self, factor: float) -> Camera:
        """The same view at another resolution; sizes are rounded."""
        return Camera(
            self.focal_px * factor,
            self.cx_px * factor,
            self.cy_px * factor,
            round(self.width_px * factor),
            round(self.height_px * factor),
        )

    def cropped(self, x0_px: int, y0_px: int, width_px: int, height_px: int) -> Camera:
        """The view through a window of the image whose top-left corner is (x0_px, y0_px)."""
        return Camera(self.focal_px, self.cx_px - x0_px, self.cy_px - y0_px, width_px, height_px)
