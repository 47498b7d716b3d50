"""Hidden Markov inference on log-likelihoods that were computed elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hmmlearn.base import BaseHMM

from dialogbuild.dialogue.pcm import Array

# Who speaks, as (person 0, person 1): silence, 0, 1, both; and somebody who is neither.
TALK = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]])
BOTH, OTHER = 3, 4
# The chain's states: who speaks, and whether the lips of each person who does not speak move all the same. Not under
# a voice off: lips that move to it would explain every monologue as somebody else's.
STATES = [
    (talk, a, b)
    for talk in range(5)
    for a in range(2 - TALK[talk, 0])
    for b in range(2 - TALK[talk, 1])
    if talk != OTHER or not (a or b)
]
WHO = np.array([talk for talk, _, _ in STATES])
SPEAKS = TALK[WHO]
FIDGETS = np.array([(a, b) for _, a, b in STATES])
# Per tick of 25 fps, counted on MSDWild few.val: 274 two-speaker recordings, 6.23 h (rows sum to 1 within rounding).
_MSDWILD_25FPS = np.array(
    [
        [0.9232, 0.0380, 0.0380, 0.0008],
        [0.0090, 0.9833, 0.0008, 0.0069],
        [0.0090, 0.0008, 0.9833, 0.0069],
        [0.0004, 0.0342, 0.0342, 0.9311],
    ]
)


# Per tick, from each of the four states to a voice from off-screen, and from it to them: rare, and it stays for
# sentences. Not counted: the recordings above have no narrator.
_TO_OTHER = np.array([2e-3, 2e-4, 2e-4, 1e-4])
_FROM_OTHER = np.array([8e-3, 1e-3, 1e-3, 1e-4])
# Silent lips that smile, laugh, chew or mouth along: seldom begun, likelier just after speech, kept up for 4 s. Not
# counted either. So rare that overlap of a second stays overlap, so lasting that one of five need not.
_FIDGET_START, _FIDGET_STOP, _FIDGET_AFTER = 1e-4, 1e-2, 1e-2


@dataclass(frozen=True, eq=False)
class Smoothed:
    """posterior (T, K) float64, states (T,) int (Viterbi), log_evidence in nats."""

    posterior: Array
    states: Array
    log_evidence: float


class _External(BaseHMM):  # type: ignore[misc]
    """hmmlearn's compiled forward-backward and Viterbi; the samples are the log-likelihoods themselves."""

    def __init__(self, start: Array, transitions: Array) -> None:
        super().__init__(n_components=len(start))
        self.startprob_, self.transmat_, self.n_features = start, transitions, len(start)

    def _check(self) -> None:
        """Nothing of BaseHMM's fitted state is used."""

    def _compute_log_likelihood(self, samples: Array) -> Array:
        return samples

    def _get_n_fit_scalars_per_param(self) -> dict[str, Any]:
        return {}


def smooth(log_likelihood: Array, transitions: Array) -> Smoothed:
    """Posteriors, best path and evidence of a stationary chain. (T, K), (K, K) -> Smoothed.

    Raises:
        ValueError: a log-likelihood is NaN or no tick is given.
    """
    ll = np.ascontiguousarray(log_likelihood, dtype=np.float64)
    if not len(ll) or np.isnan(ll).any():
        raise ValueError("the chain needs at least one tick and no NaN")
    model = _External(stationary(transitions), transitions)
    log_evidence, posterior = model.score_samples(ll)
    _, states = model.decode(ll, algorithm="viterbi")
    return Smoothed(posterior, states, float(log_evidence))


def stationary(transitions: Array) -> Array:
    """Distribution that the transitions leave as it is. (K, K) -> (K,)."""
    k = len(transitions)
    system = np.vstack([transitions.T - np.eye(k), np.ones(k)])
    solution: Array = np.linalg.lstsq(system, np.append(np.zeros(k), 1.0), rcond=None)[0]
    solution = solution.clip(0.0)
    solution /= solution.sum()
    return solution


def dialogue_transitions(fps: float) -> Array:
    """Transitions of two-person talk, (10, 10), for a tick of ``1 / fps`` seconds; rows and columns as ``STATES``."""
    table = np.zeros((5, 5))
    table[:4, :4] = _MSDWILD_25FPS / _MSDWILD_25FPS.sum(axis=1, keepdims=True) * (1.0 - _TO_OTHER[:, None])
    table[:4, OTHER], table[OTHER, :4] = _TO_OTHER, _FROM_OTHER
    table[OTHER, OTHER] = 1.0 - _FROM_OTHER.sum()
    whole = table[WHO[:, None], WHO[None, :]]
    for person in (0, 1):
        begins = np.where(SPEAKS[:, person] > 0, _FIDGET_AFTER, _FIDGET_START)
        moving = np.where(FIDGETS[:, person] > 0, 1.0 - _FIDGET_STOP, begins)[:, None]
        next_moves = np.where(FIDGETS[:, person] > 0, moving, 1.0 - moving)
        whole *= np.where(SPEAKS[:, person] > 0, 1.0, next_moves)
    whole /= whole.sum(axis=1, keepdims=True)
    return rescale(whole, 25.0 / fps)


def rescale(transitions: Array, ratio: float) -> Array:
    """Transitions for a step ``ratio`` times as long, to first order in the leaving rates."""
    leave = 1.0 - np.diag(transitions)
    scaled = np.minimum(1.0 - (1.0 - leave) ** ratio, 1.0)
    out: Array = transitions * (scaled / np.maximum(leave, 1e-12))[:, None]
    np.fill_diagonal(out, 1.0 - scaled)
    return out


def only_states(transitions: Array, keep: Array) -> Array:
    """Transitions among ``keep`` alone, rows normalised again. (K, K), (k,) -> (k, k)."""
    part = transitions[np.ix_(keep, keep)]
    normalised: Array = part / part.sum(axis=1, keepdims=True)
    return normalised
