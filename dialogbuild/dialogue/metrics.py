"""How far two accounts of who spoke when are apart. Turns are ``(label, start_s, end_s)``."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dialogbuild.dialogue.pcm import Array

Turns = Sequence[tuple[Hashable, float, float]]


@dataclass(frozen=True)
class F1:
    """Matched turns out of those expected and those found."""

    f1: float
    precision: float
    recall: float
    n_ref: int
    n_hyp: int
    n_matched: int


def turn_f1(ref: Turns, hyp: Turns, collar_s: float = 0.2) -> F1:
    """Turns that agree, one to one: the same person, and both boundaries within ``collar_s``.

    Persons are compared as they are labelled: no permutation is searched. With nothing to find and nothing found the
    score is 1.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    slack = collar_s + 1e-9  # boundaries sit on a grid: 0.2 s apart must count as 0.2 s
    agree = np.array(
        [[p == q and abs(a - c) <= slack and abs(b - d) <= slack for q, c, d in hyp] for p, a, b in ref],
        dtype=np.int8,
    ).reshape(len(ref), len(hyp))
    matched = int((maximum_bipartite_matching(csr_matrix(agree), perm_type="column") >= 0).sum()) if agree.size else 0
    total = len(ref) + len(hyp)
    return F1(
        f1=2.0 * matched / total if total else 1.0,
        precision=matched / len(hyp) if hyp else float(not ref),
        recall=matched / len(ref) if ref else float(not hyp),
        n_ref=len(ref),
        n_hyp=len(hyp),
        n_matched=matched,
    )


@dataclass(frozen=True)
class ErrorRate:
    """Diarization error and its parts, each in seconds except ``rate`` (error / total reference speech)."""

    rate: float
    missed_s: float
    false_alarm_s: float
    confusion_s: float
    total_s: float


def diarization_error(
    ref: Turns, hyp: Turns, span_s: tuple[float, float], collar_s: float = 0.0, map_labels: bool = True
) -> ErrorRate:
    """Diarization error rate by pyannote.metrics, overlap scored.

    Args:
        span_s: the part of the recording that is scored.
        collar_s: total width of the unscored zone around each reference boundary (0.5 = NIST's +-0.25 s).
        map_labels: search the best one-to-one map of labels; False compares labels as they are (identity error).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pyannote.core imports pkg_resources-style namespaces
        from pyannote.core import Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate
        from pyannote.metrics.identification import IdentificationErrorRate

    score = (DiarizationErrorRate if map_labels else IdentificationErrorRate)(collar=collar_s, skip_overlap=False)
    parts = score(_annotation(ref), _annotation(hyp), uem=Timeline([Segment(*span_s)], uri="item"), detailed=True)
    rate = parts["diarization error rate" if map_labels else "identification error rate"]
    return ErrorRate(
        rate=float(rate),
        missed_s=float(parts["missed detection"]),
        false_alarm_s=float(parts["false alarm"]),
        confusion_s=float(parts["confusion"]),
        total_s=float(parts["total"]),
    )


def jaccard_error(ref: Turns, hyp: Turns, span_s: tuple[float, float]) -> float:
    """Jaccard error rate by pyannote.metrics: mean over reference speakers of 1 - overlap over union (Ryant 2019)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from pyannote.core import Segment, Timeline
        from pyannote.metrics.diarization import JaccardErrorRate
    uem = Timeline([Segment(*span_s)], uri="item")
    return float(JaccardErrorRate(collar=0.0, skip_overlap=False)(_annotation(ref), _annotation(hyp), uem=uem))


@dataclass(frozen=True)
class StateScore:
    """How well ticks are told apart. Persons are compared as they are labelled.

    Attributes:
        accuracy: share of ticks with the right one of four states.
        overlap: precision, recall and F1 of the state in which both speak.
        which_face: share of ticks with one true speaker and a found one at which it is that person.
        boundary_s: median distance of a true change of state from the nearest found change.
        ece: expected calibration error of the persons' posteriors.
    """

    accuracy: float
    overlap: F1
    which_face: float
    boundary_s: float
    ece: float


def state_score(ref: Array, states: Array, p_speak: Array, fps: float) -> StateScore:
    """Compare states (T,) of 0 silence, 1, 2, 3 both, and posteriors (T, 2), with the true states (T,)."""
    from sklearn.metrics import precision_recall_fscore_support

    both_ref, both_hyp = ref == 3, states == 3
    precision, recall, f1, _ = precision_recall_fscore_support(both_ref, both_hyp, average="binary", zero_division=0.0)
    n_ref, n_hyp = int(both_ref.sum()), int(both_hyp.sum())
    if not n_ref and not n_hyp:
        precision = recall = f1 = 1.0
    solo = np.isin(ref, (1, 2)) & np.isin(states, (1, 2))
    spoken = np.stack([(ref & 1) > 0, (ref & 2) > 0], axis=1)
    return StateScore(
        accuracy=float((ref == states).mean()),
        overlap=F1(float(f1), float(precision), float(recall), n_ref, n_hyp, int((both_ref & both_hyp).sum())),
        which_face=float((ref == states)[solo].mean()) if solo.any() else 0.0,
        boundary_s=_boundary_ticks(ref, states) / fps,
        ece=calibration_error(p_speak.ravel(), spoken.ravel()),
    )


def calibration_error(p: Array, truth: Array, bins: int = 15) -> float:
    """Expected calibration error: bins of equal width over [0, 1], gaps weighted by how many fall in (Guo 2017).

    Args:
        p: (N,) probabilities;  truth: (N,) bool.
    """
    which = np.minimum((np.asarray(p, np.float64) * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    gap = np.abs(np.bincount(which, weights=p, minlength=bins) - np.bincount(which, weights=truth, minlength=bins))
    return float(gap.sum() / max(count.sum(), 1))


def mean_entropy(p: Array) -> float:
    """Mean entropy of (N,) Bernoulli probabilities, bits; 0 = always sure."""
    q = np.clip(np.asarray(p, np.float64), 1e-9, 1 - 1e-9)
    return float(-(q * np.log2(q) + (1 - q) * np.log2(1 - q)).mean()) if len(q) else 0.0


def gaussian_information(x: Array, y: Array) -> float:
    """Mutual information of two series as if they were jointly normal, nats; NaN ticks are left out. (T,), (T,)."""
    ok = np.isfinite(x) & np.isfinite(y)
    if ok.sum() < 3 or np.std(x[ok]) < 1e-12 or np.std(y[ok]) < 1e-12:
        return 0.0
    r = float(np.corrcoef(x[ok], y[ok])[0, 1])
    return float(-0.5 * np.log(max(1.0 - r * r, 1e-12)))


def _boundary_ticks(ref: Array, hyp: Array) -> float:
    true, found = (np.flatnonzero(np.diff(s)) for s in (ref, hyp))
    if not len(true):
        return 0.0
    if not len(found):
        return float(len(ref))
    return float(np.median(np.abs(true[:, None] - found[None]).min(axis=1)))


def _annotation(turns: Turns) -> Any:
    from pyannote.core import Annotation, Segment

    out = Annotation(uri="item")
    for track, (label, start_s, end_s) in enumerate(turns):
        out[Segment(start_s, end_s), track] = str(label)
    return out
