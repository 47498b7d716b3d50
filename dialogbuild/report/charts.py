"""Small charts as SVG text: no script, no font file, readable in print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

INK, MUTED, GRID = "#1e293b", "#64748b", "#e2e8f0"
COLOR_A, COLOR_B, GOOD, BAD, STUCK = "#2563eb", "#d97706", "#15803d", "#dc2626", "#7c3aed"
PERSON = {"A": COLOR_A, "B": COLOR_B}


@dataclass(frozen=True)
class Limit:
    """A gate's threshold. ``side`` min: smaller values fail; max: larger ones do."""

    value: float
    side: str
    label: str


def _text(x: float, y: float, text: str, size: int = 11, color: str = MUTED, anchor: str = "start") -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"'
    return f"<text {at}>{escape(text)}</text>"


def _rect(x: float, y: float, w: float, h: float, color: str, title: str = "", more: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    at = f'x="{x:.2f}" y="{y:.2f}" width="{max(w, 0):.2f}" height="{h:.2f}"'
    return f'<rect {at} fill="{color}" {more}>{tip}</rect>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str, more: str = "") -> str:
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="{color}" {more}/>'


def _svg(width: float, height: float, body: Sequence[str], label: str) -> str:
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
    return (
        f'<svg {box} role="img" aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def number(value: float) -> str:
    """Three significant digits, no exponent where people do not expect one."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def round_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers inside [low, high], about as many as asked: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m for m in (1, 2, 5, 10) if m * power >= raw * 0.999) * power)
    first = int(np.ceil(low / step))
    return [round(k * step, 12) for k in range(first, int(np.floor(high / step)) + 1)]


def funnel_bars(rows: Sequence[Mapping[str, Any]], width: float = 1100) -> str:
    """One bar per stage: what passed, was rejected, was quarantined, has no outcome.

    Args:
        rows: ``stage``, ``unit``, ``entered``, ``ok``, ``rejected``, ``quarantined``, ``lost`` (counts), ``note``.
    """
    left, step, bar = 110.0, 26.0, 16.0
    span = width - left - 330
    body = []
    for i, row in enumerate(rows):
        y = i * step + 6
        top = max((r["entered"] for r in rows if r["unit"] == row["unit"]), default=1) or 1
        body.append(_text(left - 10, y + 12.5, row["stage"], 12, INK, "end"))
        x: float = left
        parts = (("ok", GOOD), ("rejected", "#f59e0b"), ("quarantined", STUCK), ("lost", BAD))
        for name, color in parts:
            w = span * row[name] / top
            if row[name]:
                body.append(_rect(x, y, max(w, 2), bar, color, f"{row['stage']}: {row[name]} {name}", 'rx="1.5"'))
            x += w
        counts = f"{row['ok']} of {row['entered']} {row['unit']}{'s' if row['entered'] != 1 else ''}"
        body.append(_text(left + span + 12, y + 12.5, counts + (f" · {row['note']}" if row["note"] else ""), 11, MUTED))
    return _svg(width, len(rows) * step + 8, body, "items that pass each stage")


def hbars(rows: Sequence[tuple[str, float, str]], width: float = 520, color: str = "#475569") -> str:
    """Horizontal bars: (label, value, text after the bar)."""
    left, step = 110.0, 24.0
    top = max((value for _, value, _ in rows), default=1.0) or 1.0
    body = []
    for i, (label, value, text) in enumerate(rows):
        y = i * step + 4
        w = (width - left - 150) * value / top
        body += [
            _text(left - 10, y + 12, label, 12, INK, "end"),
            _rect(left, y, max(w, 1), 15, color, text, 'rx="1.5"'),
        ]
        body.append(_text(left + w + 8, y + 12, text))
    return _svg(width, len(rows) * step + 6, body, "bars")


def histogram(
    groups: Mapping[str, NDArray[Any]],
    marks: Sequence[tuple[float, bool, str]],
    limits: Sequence[Limit],
    unit: str,
    size: tuple[float, float] = (350, 170),
) -> str:
    """Distribution of frame values with clip-level marks below and gate lines across.

    Args:
        groups: name -> values; stacked in the order given. ``accepted`` is grey-blue, ``rejected`` red.
        marks: (clip-level value, passed, title), drawn as ticks under the axis.
        limits: the gate's thresholds.
    """
    frame = _Frame(*size, *_range(groups, marks, limits))
    edges = np.linspace(frame.low, frame.high, 41)
    body = [_line(8, frame.base, frame.width - 8, frame.base, MUTED), *_stack(groups, edges, frame, unit)]
    for value, passed, title in marks:
        x, color = frame.x(value), GOOD if passed else BAD
        tick = _line(x, frame.base + 2, x, frame.base + 10, color, 'stroke-width="1.6"')
        body.append(f"<g>{tick}<title>{escape(title)}</title></g>")
    for limit in limits:
        x = frame.x(limit.value)
        anchor = "end" if x > frame.width * 0.6 else "start"
        body.append(_line(x, frame.top - 4, x, frame.base, BAD, 'stroke-width="1.2" stroke-dasharray="4 3"'))
        body.append(_text(x + (-4 if anchor == "end" else 4), frame.top + 2, limit.label, 10, BAD, anchor))
    for value in round_ticks(frame.low, frame.high):
        body.append(_line(frame.x(value), frame.base, frame.x(value), frame.base + 3, MUTED))
        body.append(_text(frame.x(value), frame.height - 12, f"{value:g}", 10, MUTED, "middle"))
    return _svg(*size, body, f"histogram, {unit}")


@dataclass(frozen=True)
class _Frame:
    """Where a histogram's values lie on the picture."""

    width: float
    height: float
    low: float
    high: float
    top: float = 16.0

    @property
    def base(self) -> float:
        return self.height - 38

    def x(self, value: float) -> float:
        return float(8 + (self.width - 16) * (value - self.low) / (self.high - self.low))


def _range(
    groups: Mapping[str, NDArray[Any]], marks: Sequence[tuple[float, bool, str]], limits: Sequence[Limit]
) -> tuple[float, float]:
    """The bulk of the values and all of the marks and limits, with a margin."""
    values = np.concatenate([np.asarray(v, float) for v in groups.values()])
    bulk = np.percentile(values, [0.2, 99.8]) if len(values) > 50 else values
    every = np.concatenate([bulk, [m[0] for m in marks], [limit.value for limit in limits]])
    every = every if len(every) else np.zeros(1)
    margin = 0.04 * float(np.ptp(every)) or 1.0
    return float(every.min()) - margin, float(every.max()) + margin


def _stack(groups: Mapping[str, NDArray[Any]], edges: NDArray[Any], frame: _Frame, unit: str) -> list[str]:
    """Stacked bars; values beyond the range are counted in the outermost ones."""
    counts = {name: np.histogram(np.clip(v, edges[0], edges[-1]), edges)[0] for name, v in groups.items()}
    peak = max([int(c) for c in np.sum(list(counts.values()), axis=0)], default=1) or 1
    scale = (frame.base - frame.top) / peak
    colors = {"accepted": "#94a3b8", "rejected": "#fca5a5"}
    body, floor = [], np.zeros(len(edges) - 1)
    for name, count in counts.items():
        floor += count
        for k in np.flatnonzero(count):
            tip = f"{number(edges[k])} to {number(edges[k + 1])} {unit}: {count[k]} frames ({name})"
            x = frame.x(edges[k])
            y = frame.base - scale * floor[k]
            body.append(_rect(x, y, frame.x(edges[k + 1]) - x - 0.6, scale * count[k], colors[name], tip))
    return body


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open runs of True. (T,) -> [(start, stop)]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(mask, int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def timeline(
    p_speak: Mapping[str, NDArray[Any]],
    turns: Sequence[Mapping[str, Any]],
    overlap: NDArray[np.bool_],
    unseen: Mapping[str, NDArray[np.bool_]],
    stills: Sequence[int],
    fps: float = 25.0,
    width: float = 1100,
) -> str:
    """Who speaks: per person the posterior as a curve, turns as bars; overlap shaded, unseen ticks hatched.

    Args:
        p_speak: role -> (T,) posterior.
        turns: ``role``, ``start_tick``, ``end_tick``, ``kind``.
        overlap: (T,) both speak.
        unseen: role -> (T,) no face.
        stills: ticks of the filmstrip.
    """
    n, left, lane = len(overlap), 26.0, 34.0

    def to_x(tick: float) -> float:
        return left + (width - left - 6) * tick / max(n, 1)

    bottom = len(p_speak) * (lane + 8) + 4
    body = [_rect(to_x(a), 2, to_x(b) - to_x(a), bottom - 4, "#fde68a", "both speak") for a, b in runs(overlap)]
    for i, (role, p) in enumerate(p_speak.items()):
        y = i * (lane + 8) + 4
        body += [_text(6, y + lane / 2 + 4, role, 13, PERSON[role]), _line(left, y + lane, width - 6, y + lane, GRID)]
        for a, b in runs(unseen[role]):
            body.append(_rect(to_x(a), y, to_x(b) - to_x(a), lane, "#cbd5e1", f"{role} is not seen", 'opacity="0.7"'))
        body += [_turn(turn, to_x, y, lane, fps) for turn in turns if turn["role"] == role]
        curve = (f"{to_x(k + 0.5):.1f},{y + lane - lane * float(p[k]):.1f}" for k in range(0, n, max(1, n // 1500)))
        body.append(f'<polyline points="{" ".join(curve)}" fill="none" stroke="{PERSON[role]}" stroke-width="1.3"/>')
    for tick in stills:
        body.append(
            _line(to_x(tick + 0.5), 2, to_x(tick + 0.5), bottom, INK, 'stroke-width="0.7" stroke-dasharray="2 3"')
        )
    every = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120) if n / fps / s <= 14), 300)
    for second in range(0, int(n / fps) + 1, every):
        body.append(_text(to_x(second * fps), bottom + 12, f"{second} s", 10, MUTED, "middle" if second else "start"))
    return _svg(width, bottom + 18, body, "speaking timeline of both persons")


def curves(values: Mapping[str, NDArray[Any]], label: str, unit: str, width: float = 1100) -> str:
    """Values over time, one curve per person, on the time axis of ``timeline``; not drawn where they are 0.

    Args:
        values: role -> (T,), not negative.
    """
    n, left, top, bottom = max(len(v) for v in values.values()), 26.0, 16.0, 66.0
    shown = np.concatenate([v[v > 0] for v in values.values()])
    peak = float(np.percentile(shown, 99.5)) * 1.1 if len(shown) else 1.0
    body = [_text(left, 10, f"{label}, {unit}", 11), _line(left, bottom, width - 6, bottom, GRID)]
    for value in round_ticks(0, peak, 2)[1:]:
        y = bottom - (bottom - top) * value / peak
        body += [
            _line(left, y, width - 6, y, GRID, 'stroke-dasharray="2 3"'),
            _text(left - 4, y + 3, f"{value:g}", 9, MUTED, "end"),
        ]
    step = max(1, n // 1500)
    for role, v in values.items():
        for a, b in runs(v > 0):
            at = ((left + (width - left - 6) * (k + 0.5) / n, min(float(v[k]) / peak, 1.0)) for k in range(a, b, step))
            points = " ".join(f"{x:.1f},{bottom - (bottom - top) * part:.1f}" for x, part in at)
            body.append(f'<polyline points="{points}" fill="none" stroke="{PERSON[role]}" stroke-width="1.2"/>')
    return _svg(width, bottom + 4, body, f"{label} over time")


def _turn(turn: Mapping[str, Any], to_x: Callable[[float], float], y: float, lane: float, fps: float) -> str:
    """A turn's bar; backchannels are half as high and darker."""
    a, b, kind = turn["start_tick"], turn["end_tick"], turn["kind"]
    height, opacity = (lane / 2, 0.45) if kind == "backchannel" else (lane, 0.28)
    title = f"{turn['role']}, {kind}: {a / fps:.2f} to {b / fps:.2f} s"
    color, more = PERSON[turn["role"]], f'opacity="{opacity}" rx="2"'
    return _rect(to_x(a), y + lane - height, to_x(b) - to_x(a), height, color, title, more)
