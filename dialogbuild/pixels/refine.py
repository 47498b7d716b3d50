"""From a landmark identity to one from pixels: which frames serve, the refined people, and how far halves agree."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.bundle import keyframes_of
from dialogbuild.fit.init import face_size_m
from dialogbuild.fit.params import Prior
from dialogbuild.fit.person import Keyframes, PersonFit, PersonOptions, refine_people
from dialogbuild.fit.rig import TRANSL, Rig, pose_points, project_points
from dialogbuild.fit.surface import Surface
from dialogbuild.fit.view import View
from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]
_MIN_INSIDE = 0.98  # share of a keyframe's landmarks that lie in the picture
_MAX_ERROR = 0.05  # median landmark error of a keyframe / face size; twice what usual frames have
_KNOWN_FOCAL = 1e-3  # log sigma that holds the focal length


@dataclass(frozen=True, eq=False)
class Seen:
    """One person in the landmark identity's frames: ticks (n,), theta (n, P), landmarks_px (n, 478, 2), shape (S,).

    ``landmarks_px`` are centred by ``view``, which is of the n ticks.
    """

    ticks: Array
    theta: Array
    landmarks_px: Array
    shape: Array
    view: View

    def rows(self, at: Array) -> Seen:
        """Some of the frames."""
        return replace(
            self,
            ticks=self.ticks[at],
            theta=self.theta[at],
            landmarks_px=self.landmarks_px[at],
            view=self.view.at(at),
        )


def why_not(model: HeadModel) -> str:
    """Why a head cannot be compared with pixels, in one word; empty if it can."""
    if model.albedo is None:
        return "no_albedo"
    return "" if "mp478" in model.landmarks and "face" in model.masks else "no_landmark_embedding"


def keyframes(rig: Rig, person: Seen, camera: Camera3, count: int) -> tuple[Seen, float]:
    """The frames that pixels are taken from, at most ``count``, and the face size in px.

    A frame serves if the face is in its camera's picture and the landmark fit explains its landmarks.

    Args:
        rig: landmarks with neutral shape.
    """
    own = rig.with_shape(np.asarray(person.shape, np.float32))
    size_px = camera[0] * face_size_m(own) / person.theta[:, 5]
    points, _ = project_points(pose_points(own, person.theta).points, person.theta[:, TRANSL], camera)
    error = np.median(np.linalg.norm(points - person.landmarks_px[:, own.index], axis=2), axis=1)
    low, high = person.view.shown_px[:, None, :2], person.view.shown_px[:, None, 2:]
    inside = ((person.landmarks_px >= low) & (person.landmarks_px < high)).all(axis=2).mean(axis=1)
    usable = (inside >= _MIN_INSIDE) & (error <= _MAX_ERROR * size_px)
    if not usable.any():
        return person.rows(np.zeros(0, np.int64)), 0.0
    at = keyframes_of(person.theta, person.landmarks_px, usable, count)
    return person.rows(at), float(np.median(size_px[at]))


def split_half_mm(
    model: HeadModel,
    surface: Surface,
    rig: Rig,
    prior: Prior,
    person: Keyframes,
    shape: Array,
    camera: Camera3,
    refined: PersonFit,
    focal_px: float,
    image_width_px: float,
    options: PersonOptions,
) -> float:
    """How far two shapes from the first and from the second half of the keyframes are apart: mean over the face, mm.

    Both start from the landmark identity, and share the focal length and how much pixels are believed with the whole,
    so that the frames are all that differs. Neutral faces are compared where the model puts them, without alignment.

    Args:
        shape, camera: the landmark identity's;  refined, focal_px: what all keyframes gave.
    """
    held = replace(
        options.bundle,
        focal_over_width=focal_px / image_width_px,
        focal_log_sigma=_KNOWN_FOCAL,
        independence=refined.independence,
    )
    theta = person.theta.copy()
    theta[:, 5] *= focal_px / camera[0]
    half, found = len(theta) // 2, []
    for part in (slice(0, half), slice(half, None)):
        own = Keyframes(theta[part], person.landmarks_px[part], person.crops.part(part))
        people, _, _ = refine_people(
            model, surface, rig, prior, [own], shape[None], (focal_px, *camera[1:]), image_width_px,
            replace(options, bundle=held),
        )  # fmt: skip
        found.append(people[0].shape)
    return shape_distance_mm(model, found[0], found[1])


def shape_distance_mm(model: HeadModel, a: Array, b: Array) -> float:
    """Mean distance of the neutral faces of two shapes (S,), mm."""
    dirs = model.shape_dirs[model.masks["face"]]
    return float(1e3 * np.linalg.norm(dirs @ (np.asarray(a) - np.asarray(b)), axis=1).mean())
