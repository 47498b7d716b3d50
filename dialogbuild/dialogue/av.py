"""Who speaks, from sound and sight together: a Markov chain over (person 0 speaks, person 1 speaks) and a voice off.

Evidence per tick: voice activity, the lip motion of each face that is seen, and which of two voices is heard, or
neither. A face that is not seen says nothing. Lips may also move without a sound, in a smile or a laugh: a state of
its own per person, so that seconds of it cannot outvote what is heard. The lip normals are learnt per video by EM
under a prior, and which voice belongs to which face is decided by comparing the evidence of every way to pair them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dialogbuild.dialogue import hmm
from dialogbuild.dialogue.lipmodel import ASD_PRIOR, LIP_PRIOR, LipModel, fit_lips, lip_llr, speech_llr
from dialogbuild.dialogue.pcm import Array

Pairing = Literal["identity", "swap", "only_0", "only_1", "unlinked"]
_MIRROR: dict[Pairing, Pairing] = {"identity": "swap", "swap": "identity", "only_0": "only_1", "only_1": "only_0"}
PAIRINGS: tuple[Pairing, ...] = ("identity", "swap", "only_0", "only_1", "unlinked")
_CLIP_NATS = 6.0
_BOTH_SHARE = 0.1  # of what a clear voice says against the other one, it says against both


@dataclass(frozen=True)
class Weights:
    """Exponents on each kind of evidence: neighbouring ticks share windows, so their nats must not simply add up."""

    vad: float = 1.5
    lip: float = 0.3
    voice: float = 0.1
    asd: float = 0.12
    both: float = 0.3


@dataclass(frozen=True, eq=False)
class Observed:
    """What is seen and heard on one tick grid.

    Attributes:
        p_speech: (T,) probability that anyone speaks.
        lip_motion: (T, 2) log lip motion per person, NaN where unseen.
        voice_llr: (T,) nats, voice 0 over voice 1; 0 where it is unknown.
        fps: ticks per second.
        novelty: (T,) nats, a voice unlike both over one like either; None where no voice is known well enough.
        asd: (T, 2) log-odds of an active-speaker network per person, NaN where unseen; None without such a network.
        both: (T,) nats for two voices at once, from a backend that hears overlap; None without one.
    """

    p_speech: Array
    lip_motion: Array
    voice_llr: Array
    fps: float
    novelty: Array | None = None
    asd: Array | None = None
    both: Array | None = None


@dataclass(frozen=True, eq=False)
class Decoded:
    """The chain's answer under one pairing.

    Attributes:
        posterior: (T, 4) of silence, person 0, person 1, both; a voice off is silence of both.
        states: (T,) int8, the best path.
        p_other: (T,) probability that somebody speaks who is neither.
        p_move: (T, 2) probability that each person's lips move, in speech or without.
        lips: the lip normals it was decoded with.
        log_evidence: nats.
        asd: the network's normals, if there was one.
    """

    posterior: Array
    states: Array
    p_other: Array
    p_move: Array
    lips: LipModel
    log_evidence: float
    asd: LipModel | None = None

    @property
    def p_speak(self) -> Array:
        """(T, 2) probability that each person speaks."""
        marginal: Array = self.posterior @ hmm.TALK[:4]
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


def emissions(seen: Observed, lips: LipModel, weights: Weights, pairing: Pairing, asd: LipModel | None = None) -> Array:
    """Log-likelihood of each tick under each state of the chain, up to a constant per tick. (T, 10) nats."""
    p = np.clip(np.asarray(seen.p_speech, dtype=np.float64), 1e-3, 1.0 - 1e-3)
    vad = np.log(p / (1.0 - p)).clip(-_CLIP_NATS, _CLIP_NATS)
    talk: Array = weights.vad * np.where(np.arange(5) > 0, 0.5, -0.5) * vad[:, None]
    if seen.both is not None:
        talk[:, hmm.BOTH] += weights.both * seen.both
    if pairing in ("identity", "swap"):
        voice = _voice_terms(seen.voice_llr, weights)
        talk[:, 1:3] += voice if pairing == "identity" else voice[:, ::-1]
        talk[:, hmm.BOTH] += _BOTH_SHARE * voice.min(axis=1)
        if seen.novelty is not None:
            talk[:, hmm.OTHER] += weights.voice * seen.novelty.clip(-_CLIP_NATS, _CLIP_NATS)
    out: Array = talk[:, hmm.WHO]
    moving = weights.lip * speech_llr(seen.lip_motion, lips, seen.fps)
    if seen.asd is not None and asd is not None:  # such networks hardly listen: a laugh convinces them as well
        moving = moving + weights.asd * lip_llr(seen.asd, asd)
    # Who is shown alone with moving lips is taken at their word: the partner whom nobody sees could speak for ever.
    in_company = np.isfinite(seen.lip_motion).all(axis=1)
    out += moving @ hmm.SPEAKS.T + (moving * in_company[:, None]) @ hmm.FIDGETS.T
    return out


def learn_lips(seen: Observed, weights: Weights = Weights(), prior: LipModel = LIP_PRIOR, rounds: int = 8) -> LipModel:
    """The video's own lip normals by EM, from lips and voice activity alone.

    Voices stay out of it, so that every pairing is judged with the same normals: a likelihood ratio over silent lips
    has no common scale across different normals, and neither has the evidence made of it.
    """
    lips = prior
    for _ in range(rounds):
        p_move = decode(seen, "unlinked", lips, weights).p_move
        lips, before = fit_lips(seen.lip_motion, p_move, seen.fps, prior), lips
        if np.abs(np.subtract(lips.speaking + lips.silent, before.speaking + before.silent)).max() < 1e-3:
            break
    return lips


def learn_asd(seen: Observed, lips: LipModel, weights: Weights = Weights(), rounds: int = 4) -> LipModel | None:
    """The network's normals in this video by EM, together with lips and voice activity; None without scores.

    A network that does not tell silent from speaking faces here ends with normals that overlap, and so says little.
    """
    if seen.asd is None:
        return None
    asd = ASD_PRIOR
    for _ in range(rounds):
        p_move = decode(seen, "unlinked", lips, weights, asd).p_move
        asd = fit_lips(seen.asd, p_move, seen.fps, ASD_PRIOR)
    return asd


def decode(
    seen: Observed, pairing: Pairing, lips: LipModel, weights: Weights = Weights(), asd: LipModel | None = None
) -> Decoded:
    """Posteriors, best path and evidence under one pairing and given lip normals.

    Raises:
        ValueError: shapes disagree.
    """
    if seen.lip_motion.shape != (len(seen.p_speech), 2) or seen.voice_llr.shape != seen.p_speech.shape:
        raise ValueError(f"lip motion {seen.lip_motion.shape} and voices {seen.voice_llr.shape} on different ticks")
    silent = {"only_0": (hmm.BOTH, 2), "only_1": (hmm.BOTH, 1)}.get(pairing, ())
    keep = np.flatnonzero(~np.isin(hmm.WHO, silent))
    chain = hmm.only_states(hmm.dialogue_transitions(seen.fps), keep)
    result = hmm.smooth(emissions(seen, lips, weights, pairing, asd)[:, keep], chain)
    who = result.posterior @ np.eye(5)[hmm.WHO[keep]]
    p_move = result.posterior @ (hmm.SPEAKS + hmm.FIDGETS)[keep]
    posterior = who[:, :4].copy()
    posterior[:, 0] += who[:, hmm.OTHER]
    states = hmm.WHO[keep][result.states]
    states[states == hmm.OTHER] = 0
    return Decoded(posterior, states.astype(np.int8), who[:, hmm.OTHER], p_move, lips, result.log_evidence, asd)


def pair_voices(seen: Observed, weights: Weights = Weights(), prior: LipModel = LIP_PRIOR) -> Verdict:
    """Learn the lips, decode under every pairing and compare the evidence: P(pairing) ~ exp(evidence)."""
    lips = learn_lips(seen, weights, prior)
    asd = learn_asd(seen, lips, weights)
    decoded = {pairing: decode(seen, pairing, lips, weights, asd) for pairing in PAIRINGS}
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


def _voice_terms(voice_llr: Array, weights: Weights) -> Array:
    """Log-likelihood ratio of each voice to an even mixture of both, (T, 2): on average it favours nobody."""
    llr = voice_llr.clip(-_CLIP_NATS, _CLIP_NATS)
    terms = np.log(2.0) - np.stack([np.logaddexp(0.0, -llr), np.logaddexp(0.0, llr)], axis=1)
    scaled: Array = weights.voice * terms
    return scaled
