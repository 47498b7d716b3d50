"""What every method starts from, who is in the video, and the fit to landmarks alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fit_data import FitClip
from fit_score import MethodResult

from dialogbuild.fit.clip import ClipOptions, fit_clip
from dialogbuild.fit.identity import IdentityFit, IdentityOptions, fit_identity
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import ParamLayout, Prior, PriorSigmas, make_prior
from dialogbuild.fit.regions import LandmarkNoise
from dialogbuild.fit.rig import model_rig
from dialogbuild.fit.smoother import WalkSigmas, walk_sigma
from dialogbuild.fit.uncertainty import DetectorBias, with_systematic
from dialogbuild.head.model import HeadModel


@dataclass(frozen=True, eq=False)
class Identity:
    """Who is in the video, as every method may take it: shape, focal length, and the CPU time it took."""

    fit: IdentityFit
    prior: Prior
    seconds: float

    def camera(self, clip: FitClip) -> tuple[float, float, float]:
        """Focal length and image centre, px."""
        return self.fit.focal_px, clip.width_px / 2, clip.height_px / 2


_identities: dict[FitClip, Identity] = {}


def identity_of(clip: FitClip, model: HeadModel) -> Identity:
    """Solve the identity from the landmarks of the whole video, once per video."""
    whole = clip.whole or clip
    if whole not in _identities:
        start = time.process_time()
        prior = make_prior(ParamLayout(model.n_expr), model, PriorSigmas())
        size = (float(whole.width_px), float(whole.height_px))
        people = [(whole.landmarks_px, whole.usable)]
        found = fit_identity(model_rig(model), prior, people, size, LandmarkNoise(), Robust(), IdentityOptions())
        _identities[whole] = Identity(found, prior, time.process_time() - start)
    return _identities[whole]


def landmarks(clip: FitClip, model: HeadModel) -> MethodResult:
    """The fit to detected landmarks, as the stage ``fit_flame`` does it."""
    identity = identity_of(clip, model)
    shape, camera = identity.fit.shapes[0], identity.camera(clip)
    start = time.process_time()
    rig = model_rig(model).with_shape(shape)
    walk = walk_sigma(ParamLayout(model.n_expr), WalkSigmas(), model.lid_expr)
    fit = fit_clip(rig, identity.prior, camera, clip.evidence, walk, model.lid_expr, ClipOptions())
    fit = with_systematic(fit, DetectorBias(), identity.fit.focal_sigma_px / identity.fit.focal_px)
    seconds = {"fit": time.process_time() - start}
    return MethodResult(fit.theta, shape, camera, fit.sigma, fit.sigma_lip_mm, seconds, fit.fit_ok)
