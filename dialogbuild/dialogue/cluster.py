"""One voice or two: clustering of window embeddings, smoothed by a Markov chain over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dialogbuild.dialogue import hmm
from dialogbuild.dialogue.pcm import Array

_KAPPA = 20.0  # concentration of the von Mises-Fisher emission, as in research on GE2E windows
_MAX_TREE = 1200  # windows that agglomerative clustering sees: its memory grows with the square
_EM_ROUNDS = 8


@dataclass(frozen=True)
class VoiceRule:
    """When two clusters are two voices.

    Attributes:
        sure_one, sure_two: nats per second of speech by which two voices explain GE2E windows better than one: below
            the first they are one voice, above the second two; in between the count is two and in doubt.
        min_voice_s: speech that a voice must have.
    """

    sure_one: float
    sure_two: float
    min_voice_s: float


@dataclass(frozen=True, eq=False)
class Voices:
    """Two clusters of one recording, whether or not they are two voices.

    Attributes:
        centroids: (2, D) unit mean embeddings; voice 0 is heard first.
        posterior: (W, 2) after smoothing; rows sum to 1.
        llr: (W,) nats, voice 0 over voice 1 from each window alone, not smoothed, clipped to +-8.
        cosine: of the two centroids.
        separation: distance along the axis between them, in standard deviations of one voice.
        evidence_gain: nats per second of speech by which two voices explain the windows better than one.
        share: (2,) of the speech.
    """

    centroids: Array
    posterior: Array
    llr: Array
    cosine: float
    separation: float
    evidence_gain: float
    share: tuple[float, float]


def split(embedding: Array, step: Array, step_s: float, window_s: float, mean_turn_s: float = 2.4) -> Voices | None:
    """The best split of the windows into two voices that take turns, or None with fewer than 6 windows.

    Three clusterers start it and the evidence of the chain chooses, because none of them wins everywhere: k-means
    and Ward balance the clusters, average linkage lets one be rare.

    Args:
        embedding: (W, D) unit vectors.
        step: (W,) ascending index of each window on a grid of ``step_s``; holes are pauses.
        window_s: length of a window; overlapping windows are down-weighted by ``step_s / window_s``.
        mean_turn_s: expected time until the voice changes.
    """
    if len(embedding) < 6:
        return None
    weight = min(1.0, 4.0 * step_s / window_s)
    stay = 1.0 - step_s / mean_turn_s
    chain = np.array([[stay, 1.0 - stay], [1.0 - stay, stay]])
    best: tuple[float, Array, Array] | None = None
    for labels in _starts(embedding):
        evidence, posterior, centroids = _refine(embedding, step, labels, chain, weight)
        if best is None or evidence > best[0] + 1e-9:
            best = (evidence, posterior, centroids)
    assert best is not None
    evidence, posterior, centroids = best
    if posterior[0, 1] > 0.5:
        posterior, centroids = posterior[:, ::-1], centroids[::-1]
    one = _unit(embedding.mean(axis=0, keepdims=True))
    single = weight * _KAPPA * float((embedding @ one.T).sum())
    llr, separation = axis_llr(embedding, posterior)
    share = posterior.mean(axis=0)
    return Voices(
        centroids=centroids.astype(np.float32),
        posterior=posterior,
        llr=llr,
        cosine=float(centroids[0] @ centroids[1]),
        separation=separation,
        evidence_gain=(evidence - single) / (len(embedding) * step_s),
        share=(float(share[0]), float(share[1])),
    )


def count_voices(voices: Voices | None, speech_s: float, rule: VoiceRule, backend: str) -> tuple[int, bool]:
    """How many voices (0, 1 or 2), and whether that is in doubt.

    Embeddings cannot settle the count of distant microphones: two people of a meeting gain 0.2-0.8, one person
    0.1-0.8, two people close to their microphones 1.2-3.5. The spectral backend scores its vectors within the
    recording, so it finds two clusters in any. In doubt it is two, and the faces have to settle it.
    """
    if speech_s <= 0.0:
        return 0, False
    if voices is None:
        return 1, True
    enough = min(voices.share) * speech_s >= rule.min_voice_s
    if backend != "ge2e":
        return 2 if enough else 1, True
    if not enough or voices.evidence_gain < rule.sure_one:
        return 1, voices.evidence_gain >= rule.sure_one
    return 2, voices.evidence_gain < rule.sure_two


def axis_llr(embedding: Array, posterior: Array) -> tuple[Array, float]:
    """Two normals with one deviation along the axis between the two voices. (W, D), (W, 2) -> (W,) nats, distance."""
    weight = posterior / np.maximum(posterior.sum(axis=0), 1e-9)  # (W, 2), columns sum to 1
    means = weight.T @ embedding
    position = embedding @ (means[0] - means[1])
    centre = weight.T @ position  # (2,)
    spread = (posterior * (position[:, None] - centre) ** 2).sum() / posterior.sum()
    sd = max(float(np.sqrt(spread)), 1e-9)
    gap = float(centre[0] - centre[1]) / sd
    llr: Array = gap * (position - centre.mean()) / sd
    return llr.clip(-8.0, 8.0), gap


def to_ticks(values: Array, centre_s: Array, n_ticks: int, fps: float, reach_s: float) -> Array:
    """Nearest window's values at tick centres; 0 where no centre is within ``reach_s``. (W, ...) -> (T, ...)."""
    out = np.zeros((n_ticks, *values.shape[1:]), dtype=np.float32)
    if not len(values):
        return out
    tick_s = (np.arange(n_ticks) + 0.5) / fps
    right = np.searchsorted(centre_s, tick_s).clip(1, max(len(centre_s) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(centre_s) - 1)
    pick = np.where(np.abs(tick_s - centre_s[left]) <= np.abs(centre_s[right] - tick_s), left, right)
    near = np.abs(centre_s[pick] - tick_s) <= reach_s
    out[near] = values[pick[near]]
    return out


def _starts(embedding: Array) -> list[Array]:
    from sklearn.cluster import AgglomerativeClustering, KMeans

    labels = [KMeans(2, n_init=4, random_state=0).fit_predict(embedding)]
    some = np.unique(np.linspace(0, len(embedding) - 1, min(len(embedding), _MAX_TREE)).astype(int))
    for tree in (AgglomerativeClustering(2), AgglomerativeClustering(2, metric="cosine", linkage="average")):
        part = tree.fit_predict(embedding[some])
        centroids = np.stack([_unit(embedding[some][part == k].mean(axis=0)) for k in range(2)])
        labels.append((embedding @ centroids.T).argmax(axis=1))
    return labels


def _refine(embedding: Array, step: Array, labels: Array, chain: Array, weight: float) -> tuple[float, Array, Array]:
    grid = step - step[0]
    posterior = np.eye(2)[labels]
    evidence = -np.inf
    centroids = np.zeros((2, embedding.shape[1]))
    for _ in range(_EM_ROUNDS):
        centroids = _unit(posterior.T @ embedding + 1e-9)
        ll = np.zeros((int(grid[-1]) + 1, 2))
        ll[grid] = weight * _KAPPA * (embedding @ centroids.T)
        smoothed = hmm.smooth(ll, chain)
        posterior, previous, evidence = smoothed.posterior[grid], evidence, smoothed.log_evidence
        if evidence - previous < 1e-4:
            break
    return evidence, posterior, centroids


def _unit(vectors: Array) -> Array:
    out: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return out
