"""From the posterior to an honest sigma: what the landmarks' scatter cannot show is added.

A posterior says how far independent landmark errors move the fit. The detector also has constant errors on a given
face: it sees it looking down, or its jaw more closed. And every depth rests on one focal length. Neither shrinks with
more landmarks or frames.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dialogbuild.fit.clip import ClipFit
from dialogbuild.fit.params import ParamLayout

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class DetectorBias:
    """Constant errors of a fit to face-mesh landmarks, as standard deviations over people.

    Measured as root-mean-square errors of the fit on eight rendered dialogues (seeds 100 to 107, 16 people, 640x360,
    faces of 65-70 px) against their truth. They are mostly constant over a clip and differ from person to person: what
    all people share is in the ``mediapipe`` embedding already, except for the jaw. Without each person's own offset 0.8
    degrees of rotation remain. Real people are not rendered heads; there the offsets may be others. The opening between
    the lips was measured earlier, on six dialogues; its points have not changed since.

    Attributes:
        root_rad: pitch, yaw, roll.
        jaw_rad: opening.  eyes_rad: each angle.  lip_mm: the opening between the lips.
    """

    root_rad: tuple[float, float, float] = (0.027, 0.019, 0.016)
    jaw_rad: float = 0.032
    eyes_rad: float = 0.058
    lip_mm: float = 1.5


def with_systematic(fit: ClipFit, bias: DetectorBias, focal_relative_sigma: float) -> ClipFit:
    """Add, in quadrature, the detector's constant errors and the focal length's share of the depth.

    Args:
        focal_relative_sigma: sigma of the focal length over the focal length: depth is proportional to it.
    """
    extra = np.zeros_like(fit.theta)
    extra[:, 0:3] = bias.root_rad
    extra[:, 5] = np.abs(fit.theta[:, 5]) * focal_relative_sigma
    extra[:, 9] = bias.jaw_rad
    extra[:, [12, 13, 15, 16]] = bias.eyes_rad
    shown = fit.fit_ok | fit.interpolated
    return replace(
        fit,
        sigma=np.where(shown[:, None], np.hypot(fit.sigma, extra), 0.0),
        sigma_lip_mm=np.where(shown, np.hypot(fit.sigma_lip_mm, bias.lip_mm), 0.0),
    )


@dataclass(frozen=True)
class Calibration:
    """From the photometric fit's own sigmas to honest ones, as factors on standard deviations.

    A frame's posterior says how far pixel noise moves it; ``common`` multiplies what the bundle says of a keyframe with
    shape, focal length and texture unknown, which all frames of a person share. The factors balance what 1 and 1.96
    sigma hold of the errors on rendered heads (``benchmarks/calibrate_sigmas.py``); coverage is measured on others.

    Attributes:
        frame, common: per block root, transl, jaw, eyes, expr.
        lip_mm, lid_mm, face_mm: constant errors of a person, root mean square.
    """

    frame: tuple[float, float, float, float, float] = (0.60, 0.67, 0.72, 0.73, 0.62)
    common: tuple[float, float, float, float, float] = (0.98, 1.26, 0.70, 0.14, 0.19)
    lip_mm: float = 0.92
    lid_mm: float = 0.44
    face_mm: float = 0.57


CALIBRATED_BLOCKS = ("root", "transl", "jaw", "eyes", "expr")


def with_common(
    fit: ClipFit, common: Array, pixels_used: Array, calibration: Calibration, focal_relative_sigma: float
) -> ClipFit:
    """A photometric fit with calibrated sigmas; ticks that rest on landmarks alone get those of landmarks.

    Args:
        common: (P,) ``PersonLook.theta_sigma``;  pixels_used: (T,) bool.
        focal_relative_sigma: as in ``with_systematic``.
    """
    landmarks = with_systematic(fit, DetectorBias(), focal_relative_sigma)
    blocks = ParamLayout(fit.theta.shape[1] - 18).blocks
    frame, shared = np.zeros(fit.theta.shape[1]), np.zeros(fit.theta.shape[1])
    for name, a, c in zip(CALIBRATED_BLOCKS, calibration.frame, calibration.common, strict=True):
        frame[blocks[name]], shared[blocks[name]] = a, c * common[blocks[name]]
    shown = fit.fit_ok | fit.interpolated
    free = fit.sigma > 0

    def mm(own: Array, constant: float, other: Array) -> Array:
        return np.where(shown, np.where(pixels_used, np.hypot(own, constant), np.hypot(other, constant)), 0.0)

    own = np.where(free, np.hypot(fit.sigma * frame, shared), 0.0)
    return replace(
        fit,
        sigma=np.where(shown[:, None], np.where(pixels_used[:, None], own, np.maximum(own, landmarks.sigma)), 0.0),
        sigma_lip_mm=mm(fit.sigma_lip_mm, calibration.lip_mm, landmarks.sigma_lip_mm),
        sigma_lid_mm=mm(fit.sigma_lid_mm, calibration.lid_mm, fit.sigma_lid_mm),
        sigma_face_mm=mm(fit.sigma_face_mm, calibration.face_mm, fit.sigma_face_mm),
    )
