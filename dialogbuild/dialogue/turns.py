"""Turns: interval algebra on ticks. Every interval is half-open, ``[start, end)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dialogbuild.dialogue.pcm import Array

Kind = Literal["turn", "backchannel"]
Interval = tuple[int, int]


@dataclass(frozen=True)
class TurnRule:
    """Lengths in seconds that make turns out of activity.

    Attributes:
        min_on_s: shorter activity is a click or a breath.
        fill_s: shorter pauses are part of the sound (stop closures).
        merge_s: a speaker who pauses less than this keeps the turn, unless the other took it.
        backchannel_s: speech shorter than this, wholly inside the other's turn, does not take the floor.
    """

    min_on_s: float = 0.2
    fill_s: float = 0.25
    merge_s: float = 0.5
    backchannel_s: float = 1.0


@dataclass(frozen=True, order=True)
class Turn:
    """One person's turn on the tick grid.

    ``gap_ticks`` counts from the end of the turn before (anyone's) to the start of this one; negative is overlap; 0
    for the first. A backchannel's is measured to the end of the turn it lies in, so it is negative.
    """

    start: int
    end: int
    person: int
    kind: Kind = "turn"
    gap_ticks: int = 0


def intervals(mask: Array) -> list[Interval]:
    """Runs of True. (T,) bool -> [(start, end), ...] ascending."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, dtype=np.int8), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def to_mask(spans: Sequence[Interval], n_ticks: int) -> Array:
    """Intervals back to a (n_ticks,) bool mask."""
    mask = np.zeros(n_ticks, dtype=bool)
    for start, end in spans:
        mask[start:end] = True
    return mask


def merge_close(spans: Sequence[Interval], max_gap: float) -> list[Interval]:
    """Join neighbours that are less than ``max_gap`` ticks apart."""
    out: list[Interval] = []
    for start, end in sorted(spans):
        if out and start - out[-1][1] < max_gap:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def drop_short(spans: Sequence[Interval], min_length: float) -> list[Interval]:
    """Leave out what is shorter than ``min_length`` ticks."""
    return [(start, end) for start, end in spans if end - start >= min_length]


def pause_units(mask: Array, fps: float, rule: TurnRule) -> list[Interval]:
    """Inter-pausal units of one person: pauses filled first, then what is still short dropped."""
    return drop_short(merge_close(intervals(mask), rule.fill_s * fps), rule.min_on_s * fps)


def dialogue_turns(active: Array, fps: float, rule: TurnRule) -> list[Turn]:
    """Turns and backchannels of two people.

    A turn is one person's pause units joined over gaps below ``merge_s`` in which the other takes no turn. A
    backchannel is a unit below ``backchannel_s`` that lies wholly inside a unit of the other's.

    Args:
        active: (T, 2) bool, who speaks.

    Returns:
        Sorted by start, then person.
    """
    units = [pause_units(active[:, person], fps, rule) for person in (0, 1)]
    joined = [_join(units[person], units[1 - person], fps, rule) for person in (0, 1)]
    found = []
    for person in (0, 1):
        for start, end in joined[person]:
            host = _host((start, end), joined[1 - person]) if end - start < rule.backchannel_s * fps else None
            gap = 0 if host is None else start - host[1]
            found.append(Turn(start, end, person, "turn" if host is None else "backchannel", gap))
    return _with_gaps(sorted(found, key=lambda t: (t.start, t.person)))


def _join(own: list[Interval], other: list[Interval], fps: float, rule: TurnRule) -> list[Interval]:
    out: list[Interval] = []
    for start, end in own:
        close = bool(out) and start - out[-1][1] < rule.merge_s * fps
        if close and not _floor_taken((out[-1][1], start), other, rule.backchannel_s * fps):
            out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


def _floor_taken(gap: Interval, other: list[Interval], long: float) -> bool:
    """Whether the other speaks in the gap for long enough that it is a turn."""
    return any(a < gap[1] and b > gap[0] and b - a >= long for a, b in other)


def _host(span: Interval, other: list[Interval]) -> Interval | None:
    """The other's unit that holds the span and is longer than it."""
    inside = (o for o in other if o[0] <= span[0] and span[1] <= o[1] and o != span)
    return next(inside, None)


def _with_gaps(found: list[Turn]) -> list[Turn]:
    out, last_end = [], None
    for turn in found:
        if turn.kind == "backchannel":
            out.append(turn)
            continue
        gap = 0 if last_end is None else turn.start - last_end
        out.append(Turn(turn.start, turn.end, turn.person, turn.kind, gap))
        last_end = turn.end
    return out


def rttm(rows: Sequence[tuple[str, float, float]], uri: str) -> str:
    """NIST RTTM text: one ``SPEAKER`` line per (label, start_s, end_s), milliseconds, sorted by start then label."""
    lines = [
        f"SPEAKER {uri} 1 {start_s:.3f} {end_s - start_s:.3f} <NA> <NA> {label} <NA> <NA>\n"
        for label, start_s, end_s in sorted(rows, key=lambda r: (r[1], r[0]))
    ]
    return "".join(lines)
