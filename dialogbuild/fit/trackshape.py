"""The head shape of one face track, from landmarks of a few diverse frames: what stays when the head turns.

A head model separates shape from pose and expression, which distances between landmarks do not: on generated dialogues
whose people all look the same way, rigid landmarks after Procrustes alignment tell two people from one in 92 of 100
pairs, fitted shapes in all (docs/decisions/010-same-person.md). Always the built-in head, whatever head comes later.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dialogbuild.fit.identity import IdentityOptions, fit_identity
from dialogbuild.fit.normal import Robust
from dialogbuild.fit.params import ParamLayout, PriorSigmas, make_prior
from dialogbuild.fit.regions import LandmarkNoise
from dialogbuild.fit.rig import model_rig
from dialogbuild.head import load_head

Array = np.ndarray[Any, np.dtype[Any]]
HEAD = "procedural-v1"
_KEYFRAMES = 24  # 0.35 s on one core; 64 take four times as long
_MIN_FRAMES = 5


class ShapeFitter:
    """Fits the built-in head's shape to tracks."""

    def __init__(self) -> None:
        head = load_head(HEAD)
        self._rig = model_rig(head)
        self._prior = make_prior(ParamLayout(head.n_expr), head, PriorSigmas(expr=None))

    def __call__(self, landmarks_px: Array, image_px: tuple[float, float]) -> tuple[Array, Array] | None:
        """Shape and its posterior sigmas, (S,) each, in units of the model's coefficients.

        Args:
            landmarks_px: (n, 478, 2) px of one track's frames.
            image_px: width and height.

        Returns:
            None where fewer than 5 frames are given, or the fit does not come to an end.
        """
        if len(landmarks_px) < _MIN_FRAMES:
            return None
        people = [(np.asarray(landmarks_px, np.float64), np.ones(len(landmarks_px), bool))]
        options = IdentityOptions(keyframes=_KEYFRAMES)
        fit = fit_identity(self._rig, self._prior, people, image_px, LandmarkNoise(), Robust(), options)
        known = fit.converged and np.isfinite(fit.shapes).all() and np.isfinite(fit.shape_sigmas).all()
        return (fit.shapes[0], fit.shape_sigmas[0]) if known else None
