"""Who speaks, from sound and sight together: a four-state Markov chain over (person 0 speaks, person 1 speaks).

Evidence per tick: voice activity, the lip motion of each face that is seen, and which of two voices is heard. A face
that is not seen says nothing. The lip normals are learnt per video by EM under a prior, and which voice belongs to
which face is decided by comparing the evidence of every way to pair them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dialogbuild.dialogue import hmm
from dialogbuild.dialogue.cluster import axis_llr, to_ticks
from dialogbuild.dialogue.pcm import Array

Pairing = Literal["identity", "swap", "only_0", "only_1", "unlinked"]
_MIRROR: dict[Pairing, Pairing] = {"identity": "swap", "swap": "identity", "only_0": "only_1", "only_1": "only_0"}
PAIRINGS: tuple[Pairing, ...] = ("identity", "swap", "only_0", "only_1", "unlinked")
_CLIP_NATS = 6.0


@dataclass(frozen=True)
class Weights:
    """Exponents on each kind of evidence: neighbouring ticks share windows, so their nats must not simply add up."""

    vad: float = 0.35
    lip: float = 0.5
    voice: float = 0.12


@dataclass(frozen=True)
class LipModel:
    """Log lip motion of silent and of speaking lips: two normals per face, (person 0, person 1)."""

    silent: tuple[float, float]
    silent_sd: tuple[float, float]
    speaking: tuple[float, float]
    speaking_sd: tuple[float, float]


# Where five real faces lie with MediaPipe; six seconds of prior, so a clip of a minute decides for itself.
LIP_PRIOR = LipModel((-6.3, -6.3), (0.6, 0.6), (-4.4, -4.4), (0.8, 0.8))
_SAMPLES_PER_S = 5.0  # independent values of lip speed: half a syllable each
_PRIOR_SAMPLES = 30.0
_MIN_SD = 0.3
_MIN_ENROL_WINDOWS = 6.0  # voice windows that each person must have spoken alone to be enrolled
_MIN_STEP = 0.7  # speaking lips move at least twice as much as silent ones


@dataclass(frozen=True, eq=False)
class Observed:
    """What is seen and heard on one tick grid.

    Attributes:
        p_speech: (T,) probability that anyone speaks.
        lip_motion: (T, 2) log lip motion per person, NaN where unseen.
        voice_llr: (T,) nats, voice 0 over voice 1; 0 where it is unknown.
        fps: ticks per second.
    """

    p_speech: Array
    lip_motion: Array
    voice_llr: Array
    fps: float


@dataclass(frozen=True, eq=False)
class Decoded:
    """The chain's answer under one pairing.

    Attributes:
        posterior: (T, 4) of silence, person 0, person 1, both.
        states: (T,) int8, the best path.
        lips: the lip normals it was decoded with.
        log_evidence: nats.
    """

    posterior: Array
    states: Array
    lips: LipModel
    log_evidence: float

    @property
    def p_speak(self) -> Array:
        """(T, 2) probability that each person speaks."""
        marginal: Array = self.posterior @ hmm.STATES
        return marginal

    @property
    def p_overlap(self) -> Array:
        """(T,) probability that both speak."""
        both: Array = self.posterior[:, 3]
        return both


@dataclass(frozen=True, eq=False)
class Verdict:
    """Which pairing of voices and faces holds.

    Attributes:
        pairing: the best one. ``identity``: voice k is person k; ``swap``: voice k is person 1 - k; ``only_k``: person
            k does all the talking; ``unlinked``: the two voices do not follow the two faces.
        probability: of every pairing, summing to 1.
        log_evidence: of every pairing, nats.
        margin: nats between ``identity`` and ``swap``, or between ``only_0`` and ``only_1`` when one of these is best:
            how sure it is which face is which speaker.
        contrast: 0..1, how clearly speech goes to one person: mean of ``|p_0 - p_1|`` over ticks with speech; 0 under
            ``only_k``, which leaves no choice.
        decoded: the chain under the best pairing.
    """

    pairing: Pairing
    probability: dict[Pairing, float]
    log_evidence: dict[Pairing, float]
    margin: float
    contrast: float
    decoded: Decoded


def lip_llr(motion: Array, lips: LipModel) -> Array:
    """Nats for speaking over silent lips; 0 where unseen. (T, 2) -> (T, 2).

    Motion beyond either mean counts as that mean: with unequal deviations the ratio would turn back.
    """
    out = np.zeros(motion.shape)
    for person in (0, 1):
        seen = np.isfinite(motion[:, person])
        x = motion[seen, person].clip(lips.silent[person], lips.speaking[person])
        speaking = _normal(x, lips.speaking[person], lips.speaking_sd[person])
        out[seen, person] = speaking - _normal(x, lips.silent[person], lips.silent_sd[person])
    return out.clip(-_CLIP_NATS, _CLIP_NATS)


def emissions(seen: Observed, lips: LipModel, weights: Weights, pairing: Pairing) -> Array:
    """Log-likelihood of each tick under each state, up to a constant per tick. (T, 4) nats."""
    p = np.clip(np.asarray(seen.p_speech, dtype=np.float64), 1e-3, 1.0 - 1e-3)
    vad = np.log(p / (1.0 - p)).clip(-_CLIP_NATS, _CLIP_NATS)
    anyone = hmm.STATES.sum(axis=1) > 0
    out: Array = weights.vad * np.where(anyone, 0.5, -0.5) * vad[:, None]
    out = out + weights.lip * lip_llr(seen.lip_motion, lips) @ hmm.STATES.T
    voice = _voice_terms(seen.voice_llr, weights)
    if pairing == "identity":
        out[:, 1:3] += voice
    elif pairing == "swap":
        out[:, 1:3] += voice[:, ::-1]
    return out


def learn_lips(seen: Observed, weights: Weights = Weights(), prior: LipModel = LIP_PRIOR, rounds: int = 8) -> LipModel:
    """The video's own lip normals by EM, from lips and voice activity alone.

    Voices stay out of it, so that every pairing is judged with the same normals: a likelihood ratio over silent lips
    has no common scale across different normals, and neither has the evidence made of it.
    """
    lips = prior
    for _ in range(rounds):
        p_speak = decode(seen, "unlinked", lips, weights).p_speak
        lips, before = fit_lips(seen.lip_motion, p_speak, seen.fps, prior), lips
        if np.abs(np.subtract(lips.speaking + lips.silent, before.speaking + before.silent)).max() < 1e-3:
            break
    return lips


def decode(seen: Observed, pairing: Pairing, lips: LipModel, weights: Weights = Weights()) -> Decoded:
    """Posteriors, best path and evidence under one pairing and given lip normals.

    Raises:
        ValueError: shapes disagree.
    """
    if seen.lip_motion.shape != (len(seen.p_speech), 2) or seen.voice_llr.shape != seen.p_speech.shape:
        raise ValueError(f"lip motion {seen.lip_motion.shape} and voices {seen.voice_llr.shape} on different ticks")
    keep = {"only_0": np.array([0, 1]), "only_1": np.array([0, 2])}.get(pairing, np.arange(4))
    chain = hmm.only_states(hmm.dialogue_transitions(seen.fps), keep)
    result = hmm.smooth(emissions(seen, lips, weights, pairing)[:, keep], chain)
    posterior = np.zeros((len(seen.p_speech), 4))
    posterior[:, keep] = result.posterior
    return Decoded(posterior, keep[result.states].astype(np.int8), lips, result.log_evidence)


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


def pair_voices(seen: Observed, weights: Weights = Weights(), prior: LipModel = LIP_PRIOR) -> Verdict:
    """Learn the lips, decode under every pairing and compare the evidence: P(pairing) ~ exp(evidence)."""
    lips = learn_lips(seen, weights, prior)
    decoded = {pairing: decode(seen, pairing, lips, weights) for pairing in PAIRINGS}
    evidence = {pairing: d.log_evidence for pairing, d in decoded.items()}
    best = max(PAIRINGS, key=lambda pairing: evidence[pairing])
    linked = abs(evidence["identity"] - evidence["swap"])
    odds = np.exp(np.array([evidence[pairing] - evidence[best] for pairing in PAIRINGS]))
    probability = dict(zip(PAIRINGS, (odds / odds.sum()).tolist(), strict=True))
    return Verdict(
        pairing=best,
        probability=probability,
        log_evidence=evidence,
        margin=abs(evidence[best] - evidence[_MIRROR[best]]) if best in _MIRROR else linked,
        contrast=0.0 if best in ("only_0", "only_1") else speaker_contrast(decoded[best].p_speak, seen.p_speech),
        decoded=decoded[best],
    )


def speaker_contrast(p_speak: Array, p_speech: Array) -> float:
    """Mean ``|p_0 - p_1|`` weighted by the probability of speech; 0 without speech."""
    total = float(np.sum(p_speech))
    return float(np.abs(p_speak[:, 0] - p_speak[:, 1]) @ p_speech / total) if total > 0 else 0.0


def enrol_voices(
    seen: Observed,
    start: Decoded,
    embedding: Array,
    centre_s: Array,
    reach_s: float,
    weights: Weights = Weights(),
    rounds: int = 3,
) -> Decoded:
    """Let the faces enrol their own voices: learn the voice axis from who seems to speak alone, and decode again.

    Kept only while the evidence grows, so a wrong enrolment cannot replace a better answer.

    Args:
        start: the answer to begin with, persons as they are.
        embedding: (W, D) voice vectors at ``centre_s`` (W,) ascending.
        reach_s: a tick takes the nearest window's voice if its centre is this close.
    """
    best = start
    at = np.minimum((centre_s * seen.fps).astype(np.int64), len(seen.p_speech) - 1)
    for _ in range(rounds):
        alone = best.posterior[at, 1:3]
        if len(at) < 6 or alone.sum(axis=0).min() < _MIN_ENROL_WINDOWS:
            break
        llr = to_ticks(axis_llr(embedding, alone)[0], centre_s, len(seen.p_speech), seen.fps, reach_s)
        again = decode(replace(seen, voice_llr=llr), "identity", best.lips, weights)
        if again.log_evidence <= best.log_evidence + 1e-3:
            break
        best = again
    return best


def _voice_terms(voice_llr: Array, weights: Weights) -> Array:
    """Log-likelihood ratio of each voice to an even mixture of both, (T, 2): on average it favours nobody."""
    llr = voice_llr.clip(-_CLIP_NATS, _CLIP_NATS)
    terms = np.log(2.0) - np.stack([np.logaddexp(0.0, -llr), np.logaddexp(0.0, llr)], axis=1)
    scaled: Array = weights.voice * terms
    return scaled


def _normal(x: Array, mean: float, sd: float) -> Array:
    out: Array = -0.5 * ((x - mean) / sd) ** 2 - np.log(sd)
    return out


def _map_normal(x: Array, weight: Array, mean0: float, sd0: float) -> tuple[float, float]:
    """Mean and deviation under a normal-inverse-gamma prior worth ``_PRIOR_SAMPLES`` samples."""
    n = float(weight.sum())
    values = np.where(weight > 0.0, np.nan_to_num(x), 0.0)
    mean = (float(weight @ values) + _PRIOR_SAMPLES * mean0) / (n + _PRIOR_SAMPLES)
    scatter = float(weight @ (values - mean) ** 2) + _PRIOR_SAMPLES * (sd0**2 + (mean - mean0) ** 2)
    return mean, max(float(np.sqrt(scatter / (n + _PRIOR_SAMPLES))), _MIN_SD)
