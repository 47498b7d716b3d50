"""Which faces are person 0, person 1 or somebody else: the posterior over all ways to deal them out.

A labelling's log probability has four parts.

* Likeness. The members of a person look like one person. For each kind of likeness, with n members of which it is known
  and pairwise log-likelihood ratios L (same against different people), the log-likelihood ratio of "one person" against
  "n people" is ``2 / n`` times the sum of L over the pairs: exactly so where L is a constant minus a squared distance
  (a Gaussian with unknown mean), because the scatter about the mean is ``1 / n`` times the sum of squared distances.
  Adding all pairs up instead would count each face's own error n - 1 times.
* Signs. Left or right, voice 0 or voice 1: each face has log-odds; which of the two persons is which is unknown, and
  summed out: ``log cosh``.
* Strangers. How many of a video's faces are somebody else is not known beforehand, and summed out (a beta prior): where
  nobody else was seen, the next face is less likely a stranger. What is known of single faces adds to it.
* Reliability. A face's likeness may be wrong altogether (turned away, other light); then it counts for nothing.

The posterior is that of the best few hundred labellings, found face by face (beam search); exact while all labellings
fit. Faces that are in view at once are different people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln

from dialogbuild.dialogue.pcm import Array

NOBODY = -1
_BEAM = 256
_UNRELIABLE_NATS = -4.5  # one likeness in ninety misleads
_STRANGERS, _MEMBERS = 1.0, 14.0  # counted beforehand: one face in fifteen is a stranger's
_ONE_PERSON_NATS = -2.0  # a video with cuts that shows only one of the two


@dataclass(frozen=True, eq=False)
class Linkage:
    """What is known of K faces.

    Attributes:
        likeness: (Q, K, K) nats that two faces are one person rather than two, one matrix per kind; symmetric, zero on
            the diagonal and where the kind is not known of one of the two.
        has: (Q, K) bool, the kind is known of the face.
        conflict: (K, K) bool, in view at once.
        signs: (M, K) nats; each row tells the two persons apart in one way, either way round.
        member: (K,) nats for a person of the dialogue rather than somebody else, beyond what holds for every face.
    """

    likeness: Array
    has: Array
    conflict: Array
    signs: Array
    member: Array


@dataclass(frozen=True, eq=False)
class _Beam:
    """H partial labellings of the faces seen so far: labels (H, K), and per person what its score is made of."""

    label: Array  # (H, K) 0, 1, NOBODY; NOBODY where not yet reached
    counts: Array  # (H, K) bool, likeness counted
    pairs: Array  # (H, 2, Q) sum of each kind of likeness within each person
    size: Array  # (H, 2, Q) members that it is the sum over
    sums: Array  # (H, M) signs of person 0 minus those of person 1
    base: Array  # (H,) the rest

    def score(self, dealt: int) -> Array:
        """(H,) log probability, unnormalised, when ``dealt`` faces have their labels."""
        likeness = (2.0 * self.pairs / np.maximum(self.size, 1)).sum(axis=(1, 2))
        half = 0.5 * np.abs(self.sums)
        signs = half + np.log1p(np.exp(-2.0 * half)) - np.log(2.0)
        members = (self.label != NOBODY).sum(axis=1)
        strangers = betaln(_STRANGERS + dealt - members, _MEMBERS + members)
        total: Array = self.base + likeness + signs.sum(axis=1) + strangers
        return total


def label_posterior(known: Linkage, order: Array) -> tuple[Array, Array]:
    """The best labelling and how probable each face's label is.

    Args:
        order: (K,) the faces in the order in which they are dealt out, the most telling first.

    Returns:
        labels (K,) 0, 1 or ``NOBODY`` (which of the two is 0 has no meaning), and probability (K, 3) of the labels
        0, 1 and ``NOBODY``.
    """
    beam = _start(known)
    for dealt, face in enumerate(order.tolist(), 1):
        beam = _extend(beam, known, face, dealt)
    score = beam.score(len(order)) + _ONE_PERSON_NATS * ~_both(beam.label)
    first = int(np.argmax(score))
    best = beam.label[first]
    label = _turned_towards(beam.label, best, known.member)
    weight = np.exp(score - score[first])
    weight /= weight.sum()
    over_all = np.stack([weight @ (label == value) for value in (0, 1, NOBODY)], axis=1)
    alone = _one_by_one(beam, first, known)
    at = np.where(best == NOBODY, 2, best)
    rows = np.arange(len(best))
    # the beam forgets all but a few doubts when there are many faces; each face's own doubt given the rest remains
    less_sure = alone[rows, at] < over_all[rows, at]
    return best, np.where(less_sure[:, None], alone, over_all)


def _start(known: Linkage) -> _Beam:
    faces, signs, kinds = len(known.member), len(known.signs), len(known.has)
    return _Beam(
        label=np.full((1, faces), NOBODY),
        counts=np.zeros((1, faces), bool),
        pairs=np.zeros((1, 2, kinds)),
        size=np.zeros((1, 2, kinds), np.int64),
        sums=np.zeros((1, signs)),
        base=np.zeros(1),
    )


def _extend(beam: _Beam, known: Linkage, face: int, dealt: int) -> _Beam:
    """Give one face every label in every labelling, and keep the best."""
    options = [_labelled(beam, known, face, person, counts) for person in (0, 1) for counts in (True, False)]
    options.append(beam)
    fields = {name: np.concatenate([getattr(o, name) for o in options]) for name in beam.__dataclass_fields__}
    grown = _Beam(**fields)
    score = grown.score(dealt)
    score[~_allowed(grown, known, face)] = -np.inf
    keep = np.argsort(-score, kind="stable")[:_BEAM]
    keep = keep[np.isfinite(score[keep])]
    return _Beam(**{name: value[keep] for name, value in fields.items()})


def _labelled(beam: _Beam, known: Linkage, face: int, person: int, counts: bool) -> _Beam:
    label, counted = beam.label.copy(), beam.counts.copy()
    pairs, size, base = beam.pairs.copy(), beam.size.copy(), beam.base + known.member[face]
    if counts:
        pairs[:, person] += ((beam.label == person) & beam.counts) @ known.likeness[:, face].T
        size[:, person] += known.has[:, face]
    else:
        base = base + _UNRELIABLE_NATS
    label[:, face], counted[:, face] = person, counts
    sums = beam.sums + (1 - 2 * person) * known.signs[:, face]
    return _Beam(label, counted, pairs, size, sums, base)


def _allowed(beam: _Beam, known: Linkage, face: int) -> Array:
    """Nobody is in view twice; and person 0 comes before person 1, since the two may be exchanged. (H,) bool."""
    mine = beam.label[:, face]
    others = known.conflict[face] & (np.arange(beam.label.shape[1]) != face)
    twice = ((beam.label == mine[:, None]) & others[None]).any(axis=1) & (mine != NOBODY)
    early = (mine == 1) & ~(beam.label == 0).any(axis=1)
    allowed: Array = ~(twice | early)
    return allowed


def _both(label: Array) -> Array:
    both: Array = (label == 0).any(axis=1) & (label == 1).any(axis=1)
    return both


def _turned_towards(label: Array, best: Array, member: Array) -> Array:
    """Each labelling or its exchange of 0 and 1, whichever has more in common with the best."""
    exchanged = np.where(label == NOBODY, NOBODY, 1 - label)
    agree = (label == best).sum(axis=1) >= (exchanged == best).sum(axis=1)
    turned: Array = np.where(agree[:, None], label, exchanged)
    return turned


def _one_by_one(beam: _Beam, first: int, known: Linkage) -> Array:
    """Probability of each face's labels given all other faces' in one labelling, (K, 3) for 0, 1 and nobody."""
    label, counts = beam.label[first], beam.counts[first]
    out = np.zeros((len(label), 3))
    for face in range(len(label)):
        without = _state(label, counts, known, skip=face)
        options = [_labelled(without, known, face, person, c) for person in (0, 1) for c in (True, False)] + [without]
        score = np.full(len(options), -np.inf)
        for k, option in enumerate(options):
            mine = int(option.label[0, face])
            if mine == 1 and (np.delete(label, face) == NOBODY).all():
                continue  # the only one of the two is person 0
            if mine == NOBODY or not (known.conflict[face] & (label == mine) & (np.arange(len(label)) != face)).any():
                score[k] = float(option.score(len(label))[0]) + _ONE_PERSON_NATS * float(not _both(option.label)[0])
        p = np.exp(score - score.max())
        p /= p.sum()
        out[face] = p[0] + p[1], p[2] + p[3], p[4]
    return out


def _state(label: Array, counts: Array, known: Linkage, skip: int) -> _Beam:
    """One labelling without one face."""
    label, counts = label.copy(), counts.copy()
    label[skip], counts[skip] = NOBODY, False
    inside = [(label == person) & counts for person in (0, 1)]
    pairs = [0.5 * known.likeness[:, own][:, :, own].sum(axis=(1, 2)) for own in inside]
    size = [known.has[:, own].sum(axis=1) for own in inside]
    sums = known.signs @ (1.0 * (label == 0) - 1.0 * (label == 1))
    member = float(known.member[label != NOBODY].sum())
    doubted = int(((label != NOBODY) & ~counts).sum())
    return _Beam(
        label[None],
        counts[None],
        np.array([pairs]),
        np.array([size]),
        sums[None],
        np.array([member + doubted * _UNRELIABLE_NATS]),
    )
