"""How far two accounts of who spoke when are apart. Turns are ``(label, start_s, end_s)``."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

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
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate
        from pyannote.metrics.identification import IdentificationErrorRate

    def annotation(turns: Turns) -> Annotation:
        out = Annotation(uri="item")
        for track, (label, start_s, end_s) in enumerate(turns):
            out[Segment(start_s, end_s), track] = str(label)
        return out

    score = (DiarizationErrorRate if map_labels else IdentificationErrorRate)(collar=collar_s, skip_overlap=False)
    parts = score(annotation(ref), annotation(hyp), uem=Timeline([Segment(*span_s)], uri="item"), detailed=True)
    rate = parts["diarization error rate" if map_labels else "identification error rate"]
    return ErrorRate(
        rate=float(rate),
        missed_s=float(parts["missed detection"]),
        false_alarm_s=float(parts["false alarm"]),
        confusion_s=float(parts["confusion"]),
        total_s=float(parts["total"]),
    )
