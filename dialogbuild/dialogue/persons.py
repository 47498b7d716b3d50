"""Which face tracks are which of the two people, how sure that is, and which tracks are somebody or something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dialogbuild.dialogue.likeness import Traits, likeness_nats
from dialogbuild.dialogue.linkage import NOBODY, Linkage, label_posterior
from dialogbuild.dialogue.pcm import Array

__all__ = ["NOBODY", "Face", "Label", "facing", "link_record", "link_tracks", "third_face_ticks"]

MIN_LINK = 0.9
_NOT_A_FACE = ("photo", "inset")
_GOES_ON_TICKS, _GOES_ON_SIZES = 25, 0.5  # a track that begins where another one stopped is the same face
_SHARE_NATS, _CUTAWAY_SHARE = 6.0, 0.1  # a cutaway is short; who is seen for longer than this is less likely one
_RIVAL_NATS, _MOST_RIVAL_NATS = 12.0, 12.0  # of three faces the picture is about the two larger ones
_TOGETHER_NATS, _SMALLER_NATS, _AS_LARGE = 1.5, 2.0, 0.7  # two of like size in one picture talk to each other
_LINE_NATS = 1.1  # the camera crosses the line in one shot in ten; half of log 9, because both sides move at once
_FACING_WEIGHT = 0.95
_VOICE_NATS = 3.0  # one track in twenty has another's voice: an overlap, a wrong cluster


@dataclass(frozen=True, eq=False)
class Face:
    """What one track says about its owner.

    Attributes:
        track, shot: ids.
        ticks: (n,) ascending.
        x_px, y_px, size_px: (n,) face centre and box side.
        facing: where the nose points, -1 (image left) .. 1 (right).
        voice_nats: log-odds that the owner has voice 0 rather than voice 1, from lips and voices.
        traits: what lasts from shot to shot.
        shown: "photo" or "inset" where it is a picture of a face, or a second picture of somebody who is in view.
    """

    track: int
    shot: int
    ticks: Array
    x_px: Array
    y_px: Array
    size_px: Array
    facing: float
    voice_nats: float
    traits: Traits = field(default_factory=Traits)
    shown: str = ""

    @property
    def prominence(self) -> float:
        """Ticks on screen times size: what the picture is about."""
        return float(len(self.ticks) * np.median(self.size_px))


@dataclass(frozen=True)
class Label:
    """Whose face a track is: 0, 1 or ``NOBODY``.

    Attributes:
        confidence: probability of the label; for "ambiguous" that of the likelier of the two people.
        reason: why it is nobody's, "" otherwise: "third_face" (seen together with both), "cutaway" (alone), "no_match"
            (seen with one of them), "ambiguous" (likeliest one of the two, but not sure enough), "photo", "inset".
    """

    person: int
    confidence: float
    reason: str = ""


def link_tracks(faces: Sequence[Face], min_link: float = MIN_LINK) -> dict[int, Label]:
    """Label every track. Person 0 is the one further to the left.

    Args:
        min_link: probability below which a track is given to nobody rather than to the wrong person.
    """
    labels = {face.track: Label(NOBODY, 1.0, face.shown) for face in faces if face.shown}
    units = _units([face for face in faces if not face.shown])
    if units:
        whole = [_merged(unit) for unit in units]
        known = _linkage(whole)
        order = np.argsort([-face.prominence for face in whole], kind="stable")
        best, probability = label_posterior(known, order)
        for at, unit in enumerate(units):
            label = _label(at, best, probability, known.conflict, min_link)
            labels |= {face.track: label for face in unit}
    return _left_first(labels, faces)


def facing(lmk_px: Array) -> Array:
    """Horizontal place of the nose tip between the cheeks, -1..1; positive looks to the image's right. (N,)."""
    left, right, nose = lmk_px[:, 234, 0], lmk_px[:, 454, 0], lmk_px[:, 1, 0]
    half = 0.5 * np.abs(right - left)
    offset: Array = (nose - 0.5 * (left + right)) / np.maximum(half, 1e-6)
    return offset.clip(-1.0, 1.0)


def link_record(labels: dict[int, Label], row_track: Array, fps: float) -> dict[str, Any]:
    """How sure the links are: tracks and seconds by reason ("linked": none), and the least sure link.

    Args:
        row_track: (N,) track of each row of the tables, one row per tick.
    """
    seconds = dict(zip(*(column.tolist() for column in np.unique(row_track, return_counts=True)), strict=True))
    record: dict[str, Any] = {}
    for track, label in sorted(labels.items()):
        entry = record.setdefault(label.reason or "linked", {"tracks": 0, "seconds": 0.0})
        entry["tracks"] += 1
        entry["seconds"] = round(entry["seconds"] + seconds.get(track, 0) / fps, 3)
    sure = [label.confidence for label in labels.values() if label.person != NOBODY]
    return {**record, "least_confidence": round(min(sure), 4) if sure else None}


def third_face_ticks(faces: Sequence[Face], labels: dict[int, Label], n_ticks: int) -> Array:
    """Where a living face that is neither person's is on screen. (n_ticks,) bool.

    Pictures of faces do not count, nor does a track that probably shows one of the two.
    """
    mask = np.zeros(n_ticks, dtype=bool)
    for face in faces:
        if labels[face.track].reason in ("third_face", "cutaway", "no_match"):
            mask[face.ticks] = True
    return mask


def _label(at: int, best: Array, probability: Array, conflict: Array, min_link: float) -> Label:
    if best[at] != NOBODY:
        sure = float(probability[at, best[at]])
        return Label(int(best[at]), sure) if sure >= min_link else Label(NOBODY, sure, "ambiguous")
    company = set(best[conflict[at]].tolist()) - {NOBODY}
    reason = "third_face" if len(company) == 2 else "no_match" if company else "cutaway"
    return Label(NOBODY, float(probability[at, 2]), reason)


def _units(faces: Sequence[Face]) -> list[list[Face]]:
    """Tracks that are one face of one shot: one goes on, at once and at the same place, where the other stopped."""
    units: list[list[Face]] = []
    for face in sorted(faces, key=lambda f: (int(f.ticks[0]), f.track)):
        ends = [unit for unit in units if _goes_on(unit[-1], face)]
        if len(ends) == 1 and not any(_overlap(face, other) for other in ends[0]):
            ends[0].append(face)
        else:
            units.append([face])
    return units


def _goes_on(before: Face, after: Face) -> bool:
    if before.shot != after.shot or not 0 < after.ticks[0] - before.ticks[-1] <= _GOES_ON_TICKS:
        return False
    size = float(np.median(np.concatenate([before.size_px, after.size_px])))
    gap = np.hypot(before.x_px[-1] - after.x_px[0], before.y_px[-1] - after.y_px[0])
    return bool(gap < _GOES_ON_SIZES * size) and _alike(before, after)


def _alike(a: Face, b: Face) -> bool:
    """Whether shape and colours say one person, if anything: people who cross also stop and begin at one place."""
    place = np.array([[np.median(f.x_px), np.median(f.y_px), np.median(f.size_px)] for f in (a, b)])
    return bool(likeness_nats([a.traits, b.traits], place, np.array([a.shot, b.shot]))[0][:, 0, 1].sum() >= 0)


def _merged(unit: list[Face]) -> Face:
    """One face of all tracks of a unit; what lasts is taken from the longest track that has it."""
    if len(unit) == 1:
        return unit[0]
    by_length = sorted(unit, key=lambda f: -len(f.ticks))
    traits = Traits(**{
        name: next((getattr(f.traits, name) for f in by_length if getattr(f.traits, name) is not None), None)
        for name in ("shape", "shape_sigma", "look", "embedding")
    })  # fmt: skip
    return replace(
        by_length[0],
        ticks=np.concatenate([f.ticks for f in unit]),
        x_px=np.concatenate([f.x_px for f in unit]),
        y_px=np.concatenate([f.y_px for f in unit]),
        size_px=np.concatenate([f.size_px for f in unit]),
        voice_nats=sum(f.voice_nats for f in unit),
        traits=traits,
    )


def _overlap(a: Face, b: Face) -> bool:
    return a.shot == b.shot and len(np.intersect1d(a.ticks, b.ticks, assume_unique=True)) > 0


def _linkage(faces: list[Face]) -> Linkage:
    count = len(faces)
    conflict = np.zeros((count, count), bool)
    for i, a in enumerate(faces):
        for j in range(i):
            conflict[i, j] = conflict[j, i] = _overlap(a, faces[j])
    place = np.array([[np.median(f.x_px), np.median(f.y_px), np.median(f.size_px)] for f in faces])
    voice = np.clip([f.voice_nats for f in faces], -_VOICE_NATS, _VOICE_NATS)
    side = _LINE_NATS * np.array(
        [_side(f, [faces[j] for j in np.flatnonzero(conflict[i])]) for i, f in enumerate(faces)]
    )
    ticks = len(np.unique(np.concatenate([f.ticks for f in faces])))
    share = np.array([len(f.ticks) / ticks for f in faces])
    member = _SHARE_NATS * np.maximum(share - _CUTAWAY_SHARE, 0.0)
    member += _rivalry(np.array([f.prominence for f in faces]), conflict) + _company(place[:, 2], conflict)
    likeness, has = likeness_nats([f.traits for f in faces], place, np.array([f.shot for f in faces]))
    return Linkage(likeness, has, conflict, np.stack([voice, side]), member)


def _rivalry(prominence: Array, conflict: Array) -> Array:
    """What a face that shares the picture with two larger ones loses, nats <= 0. (K,), (K, K) -> (K,)."""
    out = np.zeros(len(prominence))
    for at in range(len(prominence)):
        rivals = np.sort(prominence[conflict[at]])[::-1]
        if len(rivals) > 1:
            lead = np.log(prominence[at] / max(float(rivals[1]), 1e-9))
            out[at] = np.clip(_RIVAL_NATS * lead, -_MOST_RIVAL_NATS, 0.0)
    return out


def _company(size: Array, conflict: Array) -> Array:
    """What speaks for a face that shares the picture with a face of about its size, nats. (K,), (K, K) -> (K,)."""
    largest = np.where(conflict, size, 0.0).max(axis=1, initial=0.0)
    smaller = np.minimum(0.0, np.log(size / np.maximum(_AS_LARGE * largest, 1e-9)))
    together = np.maximum(_TOGETHER_NATS + _SMALLER_NATS * smaller, -_TOGETHER_NATS)
    nats: Array = np.where(largest > 0, together, 0.0)
    return nats


def _side(face: Face, partners: list[Face]) -> float:
    """Left or right, -1..1: by place while a partner is in view, else by where the face looks (180-degree rule)."""
    if partners:
        return float(np.sign(np.median(face.x_px) - np.median(np.concatenate([p.x_px for p in partners]))))
    return _FACING_WEIGHT * float(np.tanh(-face.facing / 0.15))


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
