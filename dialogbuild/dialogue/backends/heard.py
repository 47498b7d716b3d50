"""The one form of every backend's answer: speech and two voices on the tick grid."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dialogbuild.dialogue.cluster import axis_llr
from dialogbuild.dialogue.pcm import Array

if TYPE_CHECKING:
    from pyannote.core import Annotation, Timeline

Span = tuple[str, float, float]  # label, start_s, end_s from the start of the video, half-open
Unit = tuple[int, float, float]  # voice, start_s, end_s


@dataclass(frozen=True, eq=False)
class Heard:
    """What a backend heard.

    Attributes:
        p_speech: (T,) float32, probability that anyone speaks.
        voice: (T, 2) float32, how sure each voice is heard: both 0 where unknown, both 1 where both speak.
        llr: (T,) float32 nats, voice 0 over voice 1, not smoothed over time; 0 where unknown or both.
        units: when each voice speaks, ascending; voice 0 is heard first.
        facts: what ``voices.json`` says of them.
    """

    p_speech: Array
    voice: Array
    llr: Array
    units: list[Unit]
    facts: dict[str, Any]


def from_spans(spans: Sequence[Span], n_ticks: int, fps: float, label_error: float) -> Heard:
    """Turn somebody's diarization into ticks.

    The two labels that speak most are the voices. What other labels say stays speech of an unknown voice: it may be a
    third person, or a piece of one of the two that was not recognised, and the faces can tell. Time outside the video
    is cut off.

    Args:
        spans: any number of labels, overlaps allowed, any order.
        label_error: chance that a tick's speech, or the voice of a tick with one voice, is wrong; it sets how much
            the labels count against lips.
    """
    from pyannote.core import Segment

    said = annotation(spans)
    inside = said.crop(Segment(0.0, n_ticks / fps), mode="intersection")
    labels = sorted(inside.labels(), key=lambda name: -inside.label_duration(name))
    kept = sorted(labels[:2], key=lambda name: float(inside.label_timeline(name).extent().start))
    lines = [inside.label_timeline(name).support() for name in kept]
    cover = np.zeros((n_ticks, 2))
    for k, line in enumerate(lines):
        cover[:, k] = tick_share(line, n_ticks, fps)
    speech = inside.get_timeline().support()
    p_speech = label_error + (1.0 - 2.0 * label_error) * tick_share(speech, n_ticks, fps)
    sure = float(np.log((1.0 - label_error) / label_error))
    units = [(k, float(segment.start), float(segment.end)) for k, line in enumerate(lines) for segment in line]
    return Heard(
        p_speech=p_speech.astype(np.float32),
        voice=cover.astype(np.float32),
        llr=(sure * (cover[:, 0] - cover[:, 1])).astype(np.float32),
        units=sorted(units, key=lambda unit: (unit[1], unit[0])),
        facts={
            "n_voices": len(kept),
            "labels": kept,
            "other_labels_s": {name: round(float(inside.label_duration(name)), 3) for name in sorted(labels[2:])},
            "outside_s": round(float(said.get_timeline().duration() - speech.duration()), 3),
            "speech_s": round(float(speech.duration()), 3),
        },
    )


def annotation(spans: Sequence[Span]) -> Annotation:
    """Spans as pyannote's annotation; spans without length are left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pyannote.core imports pkg_resources-style namespaces
        from pyannote.core import Annotation, Segment

    out = Annotation()
    for track, (label, start_s, end_s) in enumerate(spans):
        if end_s > start_s:
            out[Segment(start_s, end_s), track] = label
    return out


def tick_share(line: Timeline, n_ticks: int, fps: float) -> Array:
    """Share of each tick that disjoint ascending segments cover. (n_ticks,) 0..1."""
    if not line:
        return np.zeros(n_ticks)
    edges_s = np.array([(segment.start, segment.end) for segment in line])
    lengths = edges_s[:, 1] - edges_s[:, 0]
    before = np.cumsum(lengths) - lengths
    covered_s = np.stack([before, before + lengths], axis=1)
    area = np.interp(np.arange(n_ticks + 1) / fps, edges_s.ravel(), covered_s.ravel())
    share: Array = (np.diff(area) * fps).clip(0.0, 1.0)
    return share


def voice_facts(embedding: Array, centre_s: Array, voice: Array, fps: float) -> dict[str, Any]:
    """Centroids of labelled voices, their cosine and their distance in standard deviations.

    From windows whose centre one voice has alone; None where either voice has no such window.

    Args:
        embedding: (W, D) unit vectors at ``centre_s`` (W,).
        voice: (T, 2) of ``Heard``.
    """
    at = np.minimum((centre_s * fps).astype(np.int64), len(voice) - 1)
    alone = np.round(voice[at]) * (np.round(voice[at]).sum(axis=1, keepdims=True) == 1)
    if not len(at) or alone.sum(axis=0).min() < 1:
        return {}
    centroids = alone.T @ embedding
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    known = alone.sum(axis=1) > 0
    return {
        "cosine": round(float(centroids[0] @ centroids[1]), 6),
        "separation": round(axis_llr(embedding[known], alone[known])[1], 6),
        "share": [round(float(s), 6) for s in alone.sum(axis=0) / alone.sum()],
        "centroids": [[round(float(x), 6) for x in row] for row in centroids],
    }
