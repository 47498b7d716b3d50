"""Through which camera a person is seen, tick by tick: each pane of a split picture has a camera of its own.

A pane shows the middle of its camera's picture unless we know better, so that its principal point is the pane's centre.
The solvers know one principal point, the centre of the picture. They are therefore shown every person as if the pane's
centre lay there: landmarks and windows are moved by whole pixels (``centred``, ``centred_crops``), which changes no
residual, and what they find is in the axes of the pane's own camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.clip import ClipFit
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.evidence import Evidence

Array = np.ndarray[Any, np.dtype[Any]]
_OFF_CENTRE = 0.5 / 12**0.5  # sigma of a pane's place in its camera's picture / its play: half of a free choice's


@dataclass(frozen=True, eq=False)
class View:
    """What shows one person over T ticks.

    Attributes:
        offset_px: (T, 2) int32, principal point minus the picture's centre.
        box_px: (T, 4) int32, the part of the picture x0, y0, x1, y1 that is the person's camera's.
        image_px: width and height of the picture.
    """

    offset_px: Array
    box_px: Array
    image_px: tuple[float, float]

    @property
    def shown_px(self) -> Array:
        """(T, 4) float32, ``box_px`` in the coordinates of centred landmarks."""
        return np.asarray(self.box_px - np.tile(self.offset_px, 2), np.float32)

    @property
    def centre_sigma_px(self) -> Array:
        """(T, 2) how well the principal point is known: zero where one camera shows the whole picture.

        A pane is cut from a picture of the video's shape that fills it (``camera_scale``); somebody chose where, and
        mostly to have the person in the middle, as the camera's operator has.
        """
        side = (self.box_px[:, 2:] - self.box_px[:, :2]).astype(float)
        size = np.asarray(self.image_px, float)
        play = (side / size).max(axis=1, keepdims=True) * size - side
        return np.asarray(_OFF_CENTRE * play)

    def at(self, ticks: Any) -> View:
        """The view of some ticks."""
        return replace(self, offset_px=self.offset_px[ticks], box_px=self.box_px[ticks])

    def columns(self) -> dict[str, Array]:
        """Principal points as columns cx_px and cy_px, (T,) float32."""
        centre = self.offset_px + np.asarray(self.image_px) / 2
        return {"cx_px": centre[:, 0].astype(np.float32), "cy_px": centre[:, 1].astype(np.float32)}


def whole_view(n: int, image_px: tuple[float, float]) -> View:
    """One camera shows the whole picture for all of n ticks."""
    box = np.tile(np.array([0, 0, *image_px], np.int32), (n, 1))
    return View(np.zeros((n, 2), np.int32), box, image_px)


def person_view(evidence: Evidence, offset_px: Array, box_px: Array, image_px: tuple[float, float]) -> View:
    """A person's view from those of the rows that show the person.

    A tick without a row takes the view of the nearest tick of its shot that has one, and else the whole picture.

    Args:
        offset_px: (N, 2) and box_px: (N, 4), of every row of the tables that ``evidence`` was gathered from.
    """
    n = len(evidence.row)
    view = whole_view(n, image_px)
    known = np.flatnonzero(evidence.row >= 0)
    if not len(known):
        return view
    shot = np.concatenate([[0], np.cumsum(~evidence.linked)])
    after = np.searchsorted(known, np.arange(n))
    sides = np.stack([known[np.maximum(after - 1, 0)], known[np.minimum(after, len(known) - 1)]])
    away = np.where(shot[sides] == shot, np.abs(sides - np.arange(n)), n)
    nearest = sides[away.argmin(axis=0), np.arange(n)]
    rows, found = evidence.row[nearest], (away.min(axis=0) < n)[:, None]
    return View(np.where(found, offset_px[rows], view.offset_px), np.where(found, box_px[rows], view.box_px), image_px)


def in_picture(landmarks_px: Array, view: View) -> Array:
    """Centred landmarks (T, N, 2) back where they lie in the picture."""
    return np.asarray(landmarks_px + view.offset_px[:, None].astype(np.float32))


def centred(evidence: Evidence, view: View) -> Evidence:
    """The evidence with the principal point in the picture's centre. A trajectory does not go on into another pane."""
    seen = evidence.row >= 0
    offset = np.where(seen[:, None], view.offset_px, 0).astype(np.float32)
    same = (view.box_px[1:] == view.box_px[:-1]).all(axis=1)
    return replace(evidence, landmarks_px=evidence.landmarks_px - offset[:, None], linked=evidence.linked & same)


def centred_crops(crops: Crops, view: View) -> Crops:
    """Windows cut around a person in the picture, as ``centred`` landmarks have them; other panes do not show."""
    low = np.ceil((view.box_px[:, :2] - crops.origin_px) / crops.step)
    high = np.floor((view.box_px[:, 2:] - crops.origin_px) / crops.step)
    first = np.maximum(crops.bounds[:, :2], low)
    last = np.maximum(np.minimum(crops.bounds[:, 2:], high), first)
    is_cut = (crops.bounds[:, 2:] > crops.bounds[:, :2]).all(axis=1, keepdims=True)
    bounds = np.where(is_cut, np.concatenate([first, last], axis=1).clip(0, crops.side_px), crops.bounds)
    bounds = bounds.astype(np.int32)
    return replace(crops, origin_px=crops.origin_px - view.offset_px, bounds=bounds)


def with_centre_sigma(fit: ClipFit, view: View, focal_px: float) -> ClipFit:
    """The fit with what is not known of the principal point in the sigmas of rotation and place.

    Another principal point is, to first order, a camera turned by its shift over the focal length: pitch and yaw of the
    root, and the place across the line of sight, err by that angle.
    """
    angle = view.centre_sigma_px / focal_px  # (T, 2) about y, about x
    if not angle.any():
        return fit
    shown = (fit.fit_ok | fit.interpolated)[:, None]
    sigma = fit.sigma.copy()
    for first, more in ((0, angle[:, ::-1]), (3, angle * fit.theta[:, 5:6])):
        block = sigma[:, first : first + 2]
        sigma[:, first : first + 2] = np.where(shown, np.hypot(block, more), block)
    return replace(fit, sigma=sigma)
