"""Which face tracks are which of the two people: by place within a shot, by voice, shape and side across cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dialogbuild.dialogue.faceshape import shape_distance
from dialogbuild.dialogue.pcm import Array

NOBODY = -1
_EXACT_GROUPS = 12  # up to here every labelling is tried
# Face radii at which mean shapes say nothing. On five faces: the same person in one pose 0.004-0.02, turned by 30
# degrees up to 0.09; two people 0.024-0.09.
_SAME_SHAPE = 0.03
_MAX_VOICE_NATS, _SIDE_NATS = 4.0, 1.5
_NO_MATCH_NATS = -3.0


@dataclass(frozen=True, eq=False)
class Face:
    """What one track says about its owner.

    Attributes:
        track, shot: ids.
        ticks: (n,) ascending.
        x_px, size_px: (n,) face centre and box side.
        shape: (26, 3) mean rigid shape in the frame common to all tracks.
        facing: where the nose points, -1 (image left) .. 1 (right).
        voice_nats: log-odds that the owner has voice 0 rather than voice 1, from lips and voices.
    """

    track: int
    shot: int
    ticks: Array
    x_px: Array
    size_px: Array
    shape: Array
    facing: float
    voice_nats: float

    @property
    def prominence(self) -> float:
        """Ticks on screen times size: what the picture is about."""
        return float(len(self.ticks) * np.median(self.size_px))


@dataclass(frozen=True)
class Label:
    """Whose face a track is: 0, 1 or ``NOBODY``; the probability of it; why it is nobody's ("" otherwise)."""

    person: int
    confidence: float
    reason: str = ""


def link_tracks(faces: Sequence[Face]) -> dict[int, Label]:
    """Label every track. Person 0 is the one further to the left.

    Two faces on screen at once are two people. Groups of tracks whose relation is known from that are turned against
    each other so that the log-odds between them (voice, shape, side) add up to the most.
    """
    groups, labels = _groups(faces)
    faces_by_track = {face.track: face for face in faces}
    if not groups:
        return labels
    members = [[(faces_by_track[track], sign) for track, sign in sorted(group.items())] for group in groups]
    coupling = _couplings(members)
    signs = _best_signs(coupling)
    field = (coupling * signs[:, None] * signs[None, :]).sum(axis=1)  # nats by which each group's sign is preferred
    for group, sign, support in zip(members, signs, field, strict=True):
        sure = 1.0 if len(members) == 1 else float(1.0 / (1.0 + np.exp(-support)))
        for face, relative in group:
            labels[face.track] = Label(0 if relative * sign > 0 else 1, sure)
    labels.update(_strangers([face for group in members for face, _ in group], labels))
    return _left_first(labels, faces)


def pair_nats(a: Face, b: Face, distance: float, side_a: float, side_b: float) -> float:
    """Log-odds that two tracks show the same person.

    Args:
        distance: of their mean shapes, face radii.
        side_a, side_b: -1 (left of the pair) .. 1 (right); 0 unknown.
    """
    pa, pb = (1.0 / (1.0 + np.exp(-np.clip([a.voice_nats, b.voice_nats], -6.0, 6.0)))).tolist()
    voice = np.log((pa * pb + (1 - pa) * (1 - pb)) / (pa * (1 - pb) + (1 - pa) * pb))
    shape = 3.0 * (1.0 - distance / _SAME_SHAPE)  # landmark depth follows the pose: far apart proves little
    side = _SIDE_NATS * side_a * side_b
    return float(np.clip(voice, -_MAX_VOICE_NATS, _MAX_VOICE_NATS) + np.clip(shape, -1.0, 2.5) + side)


def facing(lmk_px: Array) -> Array:
    """Horizontal place of the nose tip between the cheeks, -1..1; positive looks to the image's right. (N,)."""
    left, right, nose = lmk_px[:, 234, 0], lmk_px[:, 454, 0], lmk_px[:, 1, 0]
    half = 0.5 * np.abs(right - left)
    offset: Array = (nose - 0.5 * (left + right)) / np.maximum(half, 1e-6)
    return offset.clip(-1.0, 1.0)


def third_face_ticks(faces: Sequence[Face], labels: dict[int, Label], n_ticks: int) -> Array:
    """Where a face that is neither person's is on screen. (n_ticks,) bool."""
    mask = np.zeros(n_ticks, dtype=bool)
    for face in faces:
        if labels[face.track].person == NOBODY:
            mask[face.ticks] = True
    return mask


def _overlap(a: Face, b: Face) -> bool:
    return a.shot == b.shot and len(np.intersect1d(a.ticks, b.ticks, assume_unique=True)) > 0


def _groups(faces: Sequence[Face]) -> tuple[list[dict[int, int]], dict[int, Label]]:
    """Tracks whose relation is known: track -> +-1 within its group; and the labels of third faces.

    The most prominent come first. A track that is seen together with two others who are different people is a third
    face. A track that follows another at the same place of the same shot is the same person.
    """
    groups: list[dict[int, int]] = []
    labels: dict[int, Label] = {}
    placed: dict[int, Face] = {}
    for face in sorted(faces, key=lambda f: (-f.prominence, f.track)):
        relations: list[tuple[int, int]] = []  # (group, sign the face must have there)
        for index, group in enumerate(groups):
            for track, sign in group.items():
                if _overlap(face, placed[track]):
                    relations.append((index, -sign))
                elif face.shot == placed[track].shot and _same_place(face, placed[track]):
                    relations.append((index, sign))
        forbidden = {r for r in relations if (r[0], -r[1]) in relations}
        if forbidden:
            labels[face.track] = Label(NOBODY, 1.0, "third_face")
            continue
        placed[face.track] = face
        merged = {face.track: 1}
        for index in sorted({index for index, _ in relations}, reverse=True):
            turn = next(sign for i, sign in relations if i == index)
            merged.update({track: sign * turn for track, sign in groups.pop(index).items()})
        groups.append(merged)
    return groups, labels


def _same_place(a: Face, b: Face) -> bool:
    """Whether one track goes on, within half a face, where the other one of the same shot stopped."""
    first, second = (a, b) if a.ticks[0] < b.ticks[0] else (b, a)
    size = float(np.median(np.concatenate([a.size_px, b.size_px])))
    return abs(float(first.x_px[-1] - second.x_px[0])) < 0.5 * size


def _couplings(members: list[list[tuple[Face, int]]]) -> Array:
    """Nats by which two groups prefer equal signs, (G, G), zero diagonal."""
    flat = [(face, sign, g) for g, group in enumerate(members) for face, sign in group]
    distance = shape_distance(np.stack([face.shape for face, _, _ in flat]))
    sides = [_side(face, [other for other, _ in members[g]]) for face, _, g in flat]
    out = np.zeros((len(members), len(members)))
    for i, (a, sign_a, g) in enumerate(flat):
        for j, (b, sign_b, h) in enumerate(flat[:i]):
            if g != h:
                nats = sign_a * sign_b * pair_nats(a, b, float(distance[i, j]), sides[i], sides[j])
                out[g, h] += nats
                out[h, g] += nats
    return out


def _side(face: Face, group: list[Face]) -> float:
    """Left or right: by place when the partner is in view, else by where the face looks (180-degree rule)."""
    partners = [other for other in group if _overlap(face, other)]
    if partners:
        return float(np.sign(np.median(face.x_px) - np.median(np.concatenate([p.x_px for p in partners]))))
    return 0.7 * float(np.tanh(-face.facing / 0.15))


def _best_signs(coupling: Array) -> Array:
    """Signs that maximise ``x' J x``: exact for few groups, else the best ascent from spectral starts."""
    n = len(coupling)
    if n <= _EXACT_GROUPS:
        rows = [(1.0, *rest) for rest in product((1.0, -1.0), repeat=n - 1)]
        candidates = np.array(rows)
    else:
        vectors = np.linalg.eigh(coupling)[1][:, ::-1][:, :4].T
        candidates = np.stack([_ascend(coupling, np.where(v >= 0, 1.0, -1.0)) for v in vectors])
    energy = np.einsum("ci,ij,cj->c", candidates, coupling, candidates)
    best: Array = candidates[int(np.argmax(energy))]
    return best


def _ascend(coupling: Array, signs: Array) -> Array:
    for _ in range(100):
        support = signs * (coupling @ signs)
        worst = int(np.argmin(support))
        if support[worst] >= 0:
            break
        signs[worst] *= -1.0
    return signs


def _strangers(faces: list[Face], labels: dict[int, Label]) -> dict[int, Label]:
    """Small lone faces that look and sound like neither person."""
    distance = shape_distance(np.stack([face.shape for face in faces]))
    total = sum(face.prominence for face in faces)
    found = {}
    for i, face in enumerate(faces):
        if any(_overlap(face, other) for other in faces if other is not face) or face.prominence > 0.1 * total:
            continue
        worst = []
        for person in (0, 1):
            same = [j for j, o in enumerate(faces) if j != i and labels[o.track].person == person]
            nats = [pair_nats(face, faces[j], float(distance[i, j]), 0.0, 0.0) for j in same]
            worst.append(float(np.mean(nats)) if nats else 0.0)
        if max(worst) < _NO_MATCH_NATS:
            found[face.track] = Label(NOBODY, 1.0 - float(np.exp(max(worst))), "no_match")
    return found


def _left_first(labels: dict[int, Label], faces: Sequence[Face]) -> dict[int, Label]:
    """Person 0 is further left while both are in view, else over all; a lone person is person 0."""
    x: list[dict[int, float]] = [{}, {}]
    for face in faces:
        person = labels[face.track].person
        if person != NOBODY:
            x[person].update(zip(face.ticks.tolist(), face.x_px.tolist(), strict=True))
    both = sorted(x[0].keys() & x[1].keys())
    if both:
        swap = np.mean([x[0][t] for t in both]) > np.mean([x[1][t] for t in both])
    else:
        swap = not x[0] or (bool(x[1]) and np.mean(list(x[0].values())) > np.mean(list(x[1].values())))
    if not swap:
        return labels
    return {
        track: Label(1 - label.person if label.person != NOBODY else NOBODY, label.confidence, label.reason)
        for track, label in labels.items()
    }
