"""Silent and speaking lips: two normals per face of the log lip motion, learnt per video under a prior.

The same pair of normals serves any score of a face that is larger while it speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import grey_closing, minimum_filter1d

from dialogbuild.dialogue.pcm import Array
from dialogbuild.dialogue.turns import intervals

_CLIP_NATS = 6.0
_REST_S, _LEAD_S = 0.24, 0.04  # at 25 fps: filled over 7 ticks, one tick off each end


@dataclass(frozen=True)
class LipModel:
    """Score of silent and of speaking faces, log lip motion for one: two normals per face, (person 0, person 1)."""

    silent: tuple[float, float]
    silent_sd: tuple[float, float]
    speaking: tuple[float, float]
    speaking_sd: tuple[float, float]


# Where five real faces lie with MediaPipe; six seconds of prior, so a clip of a minute decides for itself.
LIP_PRIOR = LipModel((-6.3, -6.3), (0.6, 0.6), (-4.4, -4.4), (0.8, 0.8))
# Log-odds of an active-speaker network; wide, because networks and faces differ.
ASD_PRIOR = LipModel((-2.0, -2.0), (2.0, 2.0), (2.0, 2.0), (2.0, 2.0))
_SAMPLES_PER_S = 5.0  # independent values of lip speed: half a syllable each
_PRIOR_SAMPLES = 30.0
_MIN_SD = 0.3
_MIN_STEP = 0.7  # speaking lips move at least twice as much as silent ones


def lip_llr(motion: Array, lips: LipModel) -> Array:
    """Nats for speaking over silent lips; 0 where unseen. (T, 2) -> (T, 2).

    Motion beyond either mean counts as that mean: with unequal deviations the ratio would turn back.
    """
    out = np.zeros(motion.shape)
    for person in (0, 1):
        seen = np.isfinite(motion[:, person])
        x = motion[seen, person].clip(lips.silent[person], lips.speaking[person])
        speaking = normal_nats(x, lips.speaking[person], lips.speaking_sd[person])
        out[seen, person] = speaking - normal_nats(x, lips.silent[person], lips.silent_sd[person])
    return out.clip(-_CLIP_NATS, _CLIP_NATS)


def speech_llr(motion: Array, lips: LipModel, fps: float) -> Array:
    """``lip_llr`` put on the sound's time line. (T, 2) -> (T, 2).

    A mouth opens before its first sound and closes after its last, and lips rest within words: rests up to 0.24 s are
    filled (a grey closing), then 0.04 s are taken off both ends (an erosion).
    """
    llr = lip_llr(motion, lips)
    fill, trim = (2 * round(reach_s * fps) + 1 for reach_s in (_REST_S / 2, _LEAD_S))
    for person in (0, 1):
        for start, end in intervals(np.isfinite(motion[:, person])):
            part = grey_closing(llr[start:end, person], fill, mode="nearest")
            llr[start:end, person] = minimum_filter1d(part, trim, mode="nearest")
    return llr


def fit_lips(motion: Array, p_speak: Array, fps: float, prior: LipModel = LIP_PRIOR) -> LipModel:
    """M step: normals of silent and speaking lips per face, shrunk to both faces' common normals, these to the prior.

    Args:
        motion: (T, 2), NaN unseen.
        p_speak: (T, 2) responsibilities.
    """
    share = _SAMPLES_PER_S / fps
    common = []
    for speaking in (False, True):
        mean0, sd0 = (prior.speaking, prior.speaking_sd) if speaking else (prior.silent, prior.silent_sd)
        weight = np.where(np.isfinite(motion), p_speak if speaking else 1.0 - p_speak, 0.0) * share
        pooled = _map_normal(motion.ravel(), weight.ravel(), mean0[0], sd0[0])
        common.append([_map_normal(motion[:, k], weight[:, k], *pooled) for k in (0, 1)])
    (s0, s1), (t0, t1) = common
    speak = (max(t0[0], s0[0] + _MIN_STEP), max(t1[0], s1[0] + _MIN_STEP))
    return LipModel((s0[0], s1[0]), (s0[1], s1[1]), speak, (t0[1], t1[1]))


def normal_nats(x: Array, mean: float, sd: float) -> Array:
    """Log density of a normal at ``x`` (any shape), up to a constant."""
    out: Array = -0.5 * ((x - mean) / sd) ** 2 - np.log(sd)
    return out


def _map_normal(x: Array, weight: Array, mean0: float, sd0: float) -> tuple[float, float]:
    """Mean and deviation under a normal-inverse-gamma prior worth ``_PRIOR_SAMPLES`` samples."""
    n = float(weight.sum())
    values = np.where(weight > 0.0, np.nan_to_num(x), 0.0)
    mean = (float(weight @ values) + _PRIOR_SAMPLES * mean0) / (n + _PRIOR_SAMPLES)
    scatter = float(weight @ (values - mean) ** 2) + _PRIOR_SAMPLES * (sd0**2 + (mean - mean0) ** 2)
    return mean, max(float(np.sqrt(scatter / (n + _PRIOR_SAMPLES))), _MIN_SD)
