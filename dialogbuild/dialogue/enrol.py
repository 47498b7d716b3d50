"""The faces teach the voices: what two people sound like, from when each seems to speak alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dialogbuild.dialogue.av import Decoded, Observed, Weights, decode
from dialogbuild.dialogue.cluster import axis_llr, to_ticks
from dialogbuild.dialogue.lipmodel import normal_nats
from dialogbuild.dialogue.pcm import Array

_MIN_ENROL_WINDOWS = 6.0  # voice windows that each person must have spoken alone to be enrolled
_MIN_COSINE_SD = 0.05


def enrol_voices(
    seen: Observed,
    start: Decoded,
    embedding: Array,
    centre_s: Array,
    reach_s: float,
    weights: Weights,
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
        evidence = np.stack([axis_llr(embedding, alone)[0], voice_novelty(embedding, alone)], axis=1)
        llr, novelty = to_ticks(evidence, centre_s, len(seen.p_speech), seen.fps, reach_s).T
        again = decode(replace(seen, voice_llr=llr, novelty=novelty), "identity", best.lips, weights, best.asd)
        if again.log_evidence <= best.log_evidence + 1e-3:
            break
        best = again
    return best


def voice_novelty(embedding: Array, alone: Array) -> Array:
    """Nats for each window being nobody's voice over the nearer person's own, from cosines with both mean voices.

    A stranger is expected to be as unlike each person as the two are unlike each other.

    Args:
        embedding: (W, D) unit vectors;  alone: (W, 2) probability that each person speaks alone.
    """
    weight = alone / np.maximum(alone.sum(axis=0), 1e-9)
    means = weight.T @ embedding
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)
    cosine = embedding @ means.T
    own, cross = (float((alone * c).sum() / alone.sum()) for c in (cosine, cosine[:, ::-1]))
    sd = max(float(np.sqrt((alone * (cosine - own) ** 2).sum() / alone.sum())), _MIN_COSINE_SD)
    nearer = cosine.max(axis=1).clip(min(own, cross), max(own, cross))
    novelty: Array = normal_nats(nearer, cross, sd) - normal_nats(nearer, own, sd)
    return novelty
