"""The photometric tracker on a clip: a person from the whole video's keyframes, then every frame's pixels."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from fit_data import FitClip
from fit_methods import identity_of
from fit_score import MethodResult

from dialogbuild.fit.bundle import keyframes_of
from dialogbuild.fit.crops import Crops
from dialogbuild.fit.params import ParamLayout, Prior
from dialogbuild.fit.person import Keyframes, PersonFit, PersonOptions, assemble_person, refine_people
from dialogbuild.fit.rig import Rig, model_rig
from dialogbuild.fit.smoother import WalkSigmas, walk_sigma
from dialogbuild.fit.surface import Surface, build_surface
from dialogbuild.fit.track import Person, TrackFit, TrackOptions, track_clip
from dialogbuild.head.model import HeadModel

Array = npt.NDArray[Any]
Camera3 = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Known:
    """What the tracker knows before it tracks.

    ``fit`` and ``keyframes`` are what it was made from; ``seconds`` is the CPU time of that, without the identity from
    landmarks.
    """

    person: Person
    fit: PersonFit
    keyframes: Keyframes
    prior: Prior
    camera: Camera3
    focal_log_sigma: float
    walk: Array
    seconds: float


def clip_crops(clip: FitClip) -> Crops:
    """The clip's windows at the video's own pixels."""
    side = clip.frames_rgb.shape[1]
    size = np.array([clip.width_px, clip.height_px], np.int32)
    bounds = np.concatenate([-clip.origin_px, size - clip.origin_px], axis=1)
    return Crops(clip.frames_rgb, clip.origin_px, 1, np.clip(bounds, 0, side).astype(np.int32))


@cache
def surface_of(model: HeadModel) -> tuple[Surface, Rig]:
    """Surface points and landmark rig of a head, made once per process."""
    return build_surface(model, PersonOptions().points), model_rig(model)


_known: dict[FitClip, Known] = {}


def known_of(clip: FitClip, model: HeadModel) -> Known:
    """Refine the identity from pixels, once per video."""
    whole = clip.whole or clip
    if whole not in _known:
        identity = identity_of(whole, model)
        start = time.process_time()
        options = PersonOptions()
        surface, rig = surface_of(model)
        at, theta = identity.fit.frames[0], identity.fit.theta[0]
        some = keyframes_of(theta, whole.landmarks_px[at], np.ones(len(at), bool), options.bundle.keyframes)
        keyframes = Keyframes(theta[some], whole.landmarks_px[at[some]], clip_crops(whole).part(at[some]))
        camera = identity.camera(whole)
        people, focal_px, focal_log_sigma = refine_people(
            model,
            surface,
            rig,
            identity.prior,
            [keyframes],
            identity.fit.shapes,
            camera,
            float(whole.width_px),
            options,
        )
        person = assemble_person(model, surface, rig, people[0].shape, people[0].look)
        walk = walk_sigma(ParamLayout(model.n_expr), WalkSigmas(), model.lid_expr)
        view = (focal_px, *camera[1:])
        seconds = time.process_time() - start
        _known[whole] = Known(person, people[0], keyframes, identity.prior, view, focal_log_sigma, walk, seconds)
    return _known[whole]


def track(clip: FitClip, model: HeadModel, options: TrackOptions | None = None) -> tuple[Known, TrackFit, float]:
    """The tracker as it is (or with other options), and its CPU seconds."""
    known = known_of(clip, model)
    start = time.process_time()
    fit = track_clip(
        known.person,
        known.prior,
        known.camera,
        clip.evidence,
        clip_crops(clip),
        known.walk,
        model.lid_expr,
        options or TrackOptions(),
    )
    return known, fit, time.process_time() - start


def photometric(clip: FitClip, model: HeadModel) -> MethodResult:
    """The fit to pixels and landmarks."""
    known, fit, seconds = track(clip, model)
    c = fit.clip
    return MethodResult(c.theta, known.fit.shape, known.camera, c.sigma, c.sigma_lip_mm, {"track": seconds}, c.fit_ok)
