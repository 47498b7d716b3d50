"""How alike two faces are, as nats for one person rather than two: shape of the head, colours, place, face embedding.

Shape and colours are log-normal distances; their two distributions, of one person seen twice and of two people, were
measured (docs/decisions/010-same-person.md) on generated dialogues and on five real faces, and then widened: generated
people keep their light, their clothes and their lens from shot to shot, real ones do not. No kind of evidence decides
alone: each is cut off at the nats of an error that happens one time in four (for one person: two shots of one camera
are nearly the same picture and prove less than their distance says) to one in twenty (against).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dialogbuild.dialogue.pcm import Array

N_ZONES = 3  # hair, face, clothes


@dataclass(frozen=True, eq=False)
class Traits:
    """What lasts about a face from shot to shot; None where it is not known.

    Attributes:
        shape, shape_sigma: (S,) fitted head shape and its posterior sigmas.
        look: (72,) square roots of the colour histograms of hair, face and clothes; a zone that was not seen is zero.
        embedding: (D,) unit vector of a face-recognition network.
    """

    shape: Array | None = None
    shape_sigma: Array | None = None
    look: Array | None = None
    embedding: Array | None = None


@dataclass(frozen=True)
class LogNormalRatio:
    """Log-likelihood ratio of a distance d whose logarithm is normal, for one person and for two.

    Attributes:
        same, same_sd, other, other_sd: mean and deviation of ``log d`` for one person, and for two people.
        most_for, most_against: nats that the ratio may reach.
    """

    same: float
    same_sd: float
    other: float
    other_sd: float
    most_for: float
    most_against: float

    def __call__(self, distance: Array) -> Array:
        """Nats for one person; monotone (the wider normal would win again far out), 0 where the distance is NaN."""
        x = np.log(np.maximum(distance, 1e-3))
        x = np.clip(x, *self._turning_points())
        nats = np.log(self.other_sd / self.same_sd)
        nats = nats + 0.5 * (((x - self.other) / self.other_sd) ** 2 - ((x - self.same) / self.same_sd) ** 2)
        out: Array = np.where(np.isnan(distance), 0.0, np.clip(nats, -self.most_against, self.most_for))
        return out

    def _turning_points(self) -> tuple[float, float]:
        """Where the ratio of two normals of unequal width turns round: log d beyond counts as log d there."""
        a, b = self.other_sd**-2, self.same_sd**-2
        if a == b:
            return -np.inf, np.inf
        vertex = (a * self.other - b * self.same) / (a - b)
        return (-np.inf, vertex) if a > b else (vertex, np.inf)


SHAPE = LogNormalRatio(same=-1.05, same_sd=0.6, other=0.0, other_sd=0.4, most_for=1.5, most_against=3.0)
"""Of ``shape_distance``: 0.14 (one pose) to 0.4 (turned by 40 degrees) on generated people, 0.5 on real ones, against
0.8 and 1.2 for two people."""

LOOK = LogNormalRatio(same=-2.0, same_sd=0.7, other=-1.0, other_sd=0.45, most_for=0.6, most_against=0.6)
"""Of one zone's Hellinger distance: 0.05 and 0.4 on generated people, so widened to 0.14 and 0.37. The
zones share one light, so that each may say less than it knows."""

LOOK_IN_SHOT = LogNormalRatio(same=-2.8, same_sd=0.6, other=-1.0, other_sd=0.5, most_for=0.6, most_against=3.0)
"""The same within one shot, where light and grading stay: 0.02 to 0.1 for one person on generated people and in the
interview. Somebody else who comes to an empty place is told by it."""

_PLACE_NATS, _PLACE_RADII = 0.5, 0.25
_COSINE_SLOPE, _COSINE_EVEN, _COSINE_MOST = 16.0, 0.3, 5.0


def shape_distance(shape: Array, sigma: Array) -> Array:
    """Root mean square difference of two shapes in units of what it may be by chance. (K, S), (K, S) -> (K, K).

    The sigmas are those of a posterior under a prior of unit width, so that a coefficient which the landmarks do not
    show is about 1 and hardly counts.
    """
    apart = (shape[:, None] - shape[None]) ** 2 / (sigma[:, None] ** 2 + sigma[None] ** 2)
    distance: Array = np.sqrt(apart.mean(axis=2))
    return distance


def look_distance(look: Array) -> Array:
    """Hellinger distance of each zone, NaN where one of the two was not seen. (K, 72) -> (K, K, 3)."""
    zones = look.reshape(len(look), N_ZONES, -1).astype(np.float64)
    seen = np.square(zones).sum(axis=2) > 0.5
    distance = np.sqrt(np.clip(1.0 - np.einsum("izb,jzb->ijz", zones, zones), 0.0, 1.0))
    known: Array = np.where(seen[:, None] & seen[None], distance, np.nan)
    return known


def cosine_nats(cosine: Array) -> Array:
    """Log-odds of one person for the cosine of two face embeddings: a logistic of slope 16, even at 0.3.

    ArcFace-like networks put two people near 0 (deviation 0.07) and one person near 0.5 to 0.8; verification thresholds
    lie between 0.25 and 0.4. Whoever brings a network of another kind gets weak evidence, not wrong names: 5 nats at
    most.
    """
    nats: Array = np.clip(_COSINE_SLOPE * (cosine - _COSINE_EVEN), -_COSINE_MOST, _COSINE_MOST)
    return nats


def place_nats(place: Array) -> Array:
    """For faces at the same place and size in different shots: the camera has come back to somebody.

    Half a nat at most, and never against: two people's close-ups are often framed alike.

    Args:
        place: (K, 3) x, y, side, px.

    Returns:
        (K, K).
    """
    log_side = np.log(np.maximum(place[:, 2], 1.0))
    side = np.exp(0.5 * (log_side[:, None] + log_side[None]))
    apart = np.hypot(*(place[:, None, :2] - place[None, :, :2]).transpose(2, 0, 1)) / side
    apart = np.hypot(apart, 2.0 * (log_side[:, None] - log_side[None]))
    nats: Array = _PLACE_NATS * np.exp(-((apart / _PLACE_RADII) ** 2))
    return nats


def likeness_nats(traits: Sequence[Traits], place: Array, shot: Array) -> tuple[Array, Array]:
    """Nats for one person rather than two, each kind by itself.

    Args:
        traits: of K faces.
        place: (K, 3) x, y, side, px.
        shot: (K,) int.

    Returns:
        nats (Q, K, K), symmetric, zero on the diagonal and where the kind is not known of one of the two; and of which
        faces it is known, (Q, K) bool. Kinds: place, shape, hair, face, clothes, embedding.
    """
    count = len(traits)
    kinds = [
        (place_nats(place), np.ones(count, bool)),
        _shape_nats(traits),
        *_look_nats(traits, shot[:, None] == shot[None]),
        _embedding_nats(traits),
    ]
    nats, has = (np.stack(parts) for parts in zip(*kinds, strict=True))
    nats[:, np.arange(count), np.arange(count)] = 0.0
    return nats, has


def _shape_nats(traits: Sequence[Traits]) -> tuple[Array, Array]:
    known = [(i, t.shape, t.shape_sigma) for i, t in enumerate(traits) if t.shape is not None]
    if not known:
        return _spread(np.zeros((0, 0)), (), len(traits))
    at, shapes, sigmas = zip(*known, strict=True)
    return _spread(SHAPE(shape_distance(np.stack(shapes), np.stack(sigmas))), at, len(traits))


def _look_nats(traits: Sequence[Traits], together: Array) -> list[tuple[Array, Array]]:
    """Of each zone; ``together`` (K, K) says which faces are of one shot."""
    known = [(i, t.look) for i, t in enumerate(traits) if t.look is not None]
    if not known:
        return [_spread(np.zeros((0, 0)), (), len(traits))] * N_ZONES
    at, looks = zip(*known, strict=True)
    distance = look_distance(np.stack(looks))
    out = []
    for zone in range(N_ZONES):
        seen = np.flatnonzero(np.isfinite(np.diagonal(distance[:, :, zone])))
        mine, apart = np.asarray(at)[seen], distance[np.ix_(seen, seen)][:, :, zone]
        nats = np.where(together[np.ix_(mine, mine)], LOOK_IN_SHOT(apart), LOOK(apart))
        out.append(_spread(nats, mine, len(traits)))
    return out


def _embedding_nats(traits: Sequence[Traits]) -> tuple[Array, Array]:
    known = [(i, t.embedding) for i, t in enumerate(traits) if t.embedding is not None]
    if not known:
        return _spread(np.zeros((0, 0)), (), len(traits))
    at, embeddings = zip(*known, strict=True)
    unit = np.stack(embeddings).astype(np.float64)
    return _spread(cosine_nats(unit @ unit.T), at, len(traits))


def _spread(nats: Array, at: Sequence[int] | Array, count: int) -> tuple[Array, Array]:
    """The (k, k) ratios of the faces ``at`` among all, 0 elsewhere, and which they are. -> (count, count), (count,)."""
    out, known = np.zeros((count, count)), np.zeros(count, bool)
    index = np.asarray(at, np.int64)
    out[np.ix_(index, index)] = nats
    known[index] = True
    return out, known
