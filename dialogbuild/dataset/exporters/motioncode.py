"""The motion code of the ARTalk family: expression, head rotation, jaw, eyes in one row per tick."""

from __future__ import annotations

from typing import Final

import numpy as np

from dialogbuild.dataset.exporters import arrays
from dialogbuild.dataset.exporters.job import Job
from dialogbuild.dataset.reader import Clip, Person
from dialogbuild.dataset.schema import ROLES

N_EXPR: Final = 100
ORDER: Final = "expr 0:100, head rotation 100:103, jaw 103:106, left eye 106:109, right eye 109:112"


def code(person: Person, span: arrays.Span, rotation: str) -> arrays.Float:
    """(T, 112) float32 in the order of ``ORDER``; rotations are axis-angle, rad."""
    motion = {name: values[slice(*span)] for name, values in person.motion.items()}
    parts = (
        arrays.to_width(motion["expr"], N_EXPR),
        arrays.head_rotation(motion, rotation),
        motion["jaw_rad"],
        motion["eyes_rad"],
    )
    return np.concatenate(parts, axis=1, dtype=np.float32)


def pair_spans(job: Job, clip: Clip, shortest: int) -> list[arrays.Span]:
    """Spans of at least ``shortest`` ticks in which both heads are fitted; what is left out is told to the job."""
    both = np.logical_and(*(arrays.shown(clip.persons[role].motion) for role in ROLES))
    return _told(job, clip.id, clip.n_ticks, both, shortest, "both heads are")


def person_spans(job: Job, clip: Clip, role: str, shortest: int) -> list[arrays.Span]:
    """The same for one person of the clip."""
    mask = arrays.shown(clip.persons[role].motion)
    return _told(job, f"{clip.id} {role}", clip.n_ticks, mask, shortest, "the head is")


def _told(job: Job, what: str, n: int, mask: arrays.Array, shortest: int, who: str) -> list[arrays.Span]:
    spans = [span for span in arrays.runs(mask) if span[1] - span[0] >= shortest]
    left = n - sum(b - a for a, b in spans)
    if left:
        job.drop(what, f"{left} of its {n} ticks: no {shortest} in a row in which {who} fitted")
    return spans
