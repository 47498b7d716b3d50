"""From a landmark identity to everything the tracker needs: shapes and focal length from pixels, looks, meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dialogbuild.fit.appearance import PointAlbedo, point_albedo
from dialogbuild.fit.bundle import BundleFit, BundleOptions, bundle_points, fit_bundle
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.look import PersonLook, landmark_offsets, look_of_person
from dialogbuild.fit.params import Prior
from dialogbuild.fit.regions import OVAL
from dialogbuild.fit.rig import Rig, blended
from dialogbuild.fit.surface import Surface
from dialogbuild.fit.track import Person
from dialogbuild.fit.visibility import build_mesh
from dialogbuild.head.model import HeadModel

Array = np.ndarray[Any, np.dtype[Any]]
Camera3 = tuple[float, float, float]
_SHARED_FOCAL_LOG_SIGMA = 1e-3
# A detected landmark's constant error is 1.3 to 1.5 % of the face size on rendered heads, and the root mean square of a
# real person's shape is 1; no rendered person exceeded these bounds, and real ones did several times over.
_MAX_OFFSET, _MAX_UNLIKE = 0.018, 1.3
_ATTEMPTS, _LESS = 4, 0.25
_INNER = np.setdiff1d(np.arange(468), OVAL)


@dataclass(frozen=True)
class PersonOptions:
    """Surface points of the tracker, and the bundle's options."""

    points: int = 3000
    bundle: BundleOptions = field(default_factory=BundleOptions)


@dataclass(frozen=True, eq=False)
class Keyframes:
    """One person's: theta (K, P) from the landmark identity, landmarks_px (K, 478, 2), and K windows."""

    theta: Array
    landmarks_px: Array
    crops: Crops


@dataclass(frozen=True, eq=False)
class PersonFit:
    """One person.

    Attributes:
        shape, shape_sigma: (S,);  look: for the tracker.
        theta, theta_sigma: (K, P) of the keyframes that they came from.
        independence: share of the pixels that was believed to err independently.
    """

    shape: Array
    shape_sigma: Array
    look: PersonLook
    theta: Array
    theta_sigma: Array
    independence: float


def refine_people(
    model: HeadModel,
    surface: Surface,
    landmark_rig: Rig,
    prior: Prior,
    people: Sequence[Keyframes],
    shapes: Array,
    camera: Camera3,
    image_width_px: float,
    options: PersonOptions,
) -> tuple[list[PersonFit], float, float]:
    """Refine everyone in a video from pixels. With two or more people the focal length is shared.

    Args:
        landmark_rig: landmarks with neutral shape;  shapes: (people, S) and camera from ``fit_identity``.

    Returns:
        the people, the focal length in px and the standard deviation of its logarithm.
    """
    points = bundle_points(surface, options.bundle.points)
    albedo = point_albedo(model, points)

    def bundles(start: Sequence[tuple[Array, Array]], view: Camera3, option: BundleOptions) -> list[BundleFit]:
        return [
            _believed(model, points, albedo, landmark_rig, prior, p, theta, shape, view, image_width_px, option)
            for p, (theta, shape) in zip(people, start, strict=True)
        ]

    found = bundles([(p.theta, s) for p, s in zip(people, shapes, strict=True)], camera, options.bundle)
    log_focal, log_sigma = _combined(found, options.bundle, image_width_px)
    view = (float(np.exp(log_focal)), *camera[1:])
    if len(people) > 1:
        fixed = replace(
            options.bundle,
            focal_over_width=view[0] / image_width_px,
            focal_log_sigma=_SHARED_FOCAL_LOG_SIGMA,
            schedule=options.bundle.schedule[-1:],
        )
        start = [(_at_focal(b.theta, view[0] / b.focal_px), b.shape) for b in found]
        found = bundles(start, view, fixed)
    return (
        [_person(model, surface, landmark_rig, b, p, view, log_sigma) for b, p in zip(found, people, strict=True)],
        view[0],
        log_sigma,
    )


def _believed(
    model: HeadModel,
    points: Surface,
    albedo: PointAlbedo,
    landmark_rig: Rig,
    prior: Prior,
    person: Keyframes,
    theta: Array,
    shape: Array,
    view: Camera3,
    image_width_px: float,
    options: BundleOptions,
) -> BundleFit:
    """A bundle that agrees with the landmarks as far as the detector is known to err, and with the model's people.

    Pixels of a face that the model explains badly (beards, hard light, glasses, a head model of few shapes) err
    together, far more than assumed. It shows: landmarks are left behind, or the shape becomes impossible. Then pixels
    count less.
    """
    for _ in range(_ATTEMPTS):
        found = fit_bundle(
            model, points, albedo, landmark_rig, prior, theta, person.landmarks_px, person.crops, shape, view,
            image_width_px, options,
        )  # fmt: skip
        camera = (found.focal_px, *view[1:])
        rig = landmark_rig.with_shape(found.shape.astype(np.float32))
        offset = landmark_offsets(rig, found.theta, person.landmarks_px, camera)
        typical = float(np.linalg.norm(offset[_INNER], axis=1).mean())
        unlike = float(np.sqrt((found.shape**2).mean())) / options.shape_sigma
        if np.isfinite(typical) and typical <= _MAX_OFFSET and unlike <= _MAX_UNLIKE:
            break
        options = replace(options, independence=options.independence * _LESS)
    return found


def _combined(found: Sequence[BundleFit], options: BundleOptions, width_px: float) -> tuple[float, float]:
    """Precision-weighted log focal length of several people, the prior counted once."""
    prior = options.focal_log_sigma**-2
    mean = np.log(options.focal_over_width * width_px)
    total, weighted = prior, prior * mean
    for b in found:
        own = max(b.focal_log_sigma**-2 - prior, 1e-3)
        estimate = (np.log(b.focal_px) * b.focal_log_sigma**-2 - prior * mean) / own
        total, weighted = total + own, weighted + own * estimate
    return float(weighted / total), float(total**-0.5)


def _at_focal(theta: Array, ratio: float) -> Array:
    """The same picture seen with a focal length ``ratio`` times as long: depth follows it."""
    out = theta.copy()
    out[:, 5] *= ratio
    return out


def _person(
    model: HeadModel,
    surface: Surface,
    landmark_rig: Rig,
    bundle: BundleFit,
    keyframes: Keyframes,
    view: Camera3,
    focal_log_sigma: float,
) -> PersonFit:
    shape = bundle.shape.astype(np.float32)
    mesh, rig = build_mesh(model, surface, shape), surface.rig.with_shape(shape)
    albedo, colour_sigma, seen = look_of_person(
        surface, point_albedo(model, surface), mesh, rig, bundle.theta, keyframes.crops, view
    )
    offset = landmark_offsets(landmark_rig.with_shape(shape), bundle.theta, keyframes.landmarks_px, view)
    common = np.sqrt((bundle.theta_sigma**2).mean(axis=0)).astype(np.float32)
    # where people share a focal length, the bundles held it, and their depths do not show how well it is known
    common[5] = max(common[5], focal_log_sigma * float(bundle.theta[:, 5].mean()))
    look = PersonLook(albedo.astype(np.float32), seen.astype(np.float32), offset, common, focal_log_sigma, colour_sigma)
    return PersonFit(shape, bundle.shape_sigma, look, bundle.theta, bundle.theta_sigma, bundle.independence)


def assemble_person(model: HeadModel, surface: Surface, landmark_rig: Rig, shape: Array, look: PersonLook) -> Person:
    """A person for ``track.track_clip``.

    Args:
        landmark_rig: landmarks with neutral shape;  shape: (S,).
    """
    b = np.asarray(shape, np.float32)
    return Person(
        blended(landmark_rig).with_shape(b), surface, surface.rig.with_shape(b), build_mesh(model, surface, b), look
    )
