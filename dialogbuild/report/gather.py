"""What the report shows, gathered from the books, the stage folders and the dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dialogbuild.dataset.rows import bit
from dialogbuild.errors import DialogbuildError
from dialogbuild.report import charts, overlay
from dialogbuild.report.charts import Limit
from dialogbuild.report.records import Record
from dialogbuild.tables import Columns, read_table

if TYPE_CHECKING:
    from dialogbuild.dataset.reader import Clip, Dataset, Person
    from dialogbuild.head.model import HeadModel

# (column of quality.parquet, title, unit, number of quality.json that the mark shows and the gate decides on)
NUMBERS = (
    ("reproj_pct_iod", "Landmark error", "% of face size", "reproj_pct_median"),
    ("face_size_px", "Face size (outer-eye distance)", "px", "face_size_px_p5"),
    ("colour_psnr_db", "Colour PSNR of the visible skin", "dB", "colour_psnr_db_median"),
    ("sigma_face_mm", "Sigma of the fitted face", "mm", "sigma_face_mm_median"),
    ("visible_frac", "Face points that could be compared", "share", "visible_frac_median"),
    ("jitter_mm", "Jitter of the fitted face", "mm per tick²", "jitter_mm_median"),
    ("blur", "Sharpness of the face", "", "blur_median"),
    ("brightness", "Brightness of the face", "luma", "brightness_median"),
    ("yaw_deg", "Yaw", "degree", "yaw_deg_median"),
    ("pitch_deg", "Pitch", "degree", ""),
    ("roll_deg", "Roll", "degree", ""),
    ("reproj_lips_px", "Landmark error on the lips", "px", ""),
    ("lip_gap_px", "Error of the lip opening", "px", ""),
    ("lid_gap_px", "Error of the lid opening", "px", ""),
)
PER_CLIP = (
    ("coverage", "Ticks with a fit", "share of ticks"),
    ("yaw_deg_p95", "|Yaw|, 95th percentile", "degree"),
    ("lip_gap_pct_p95", "Lip opening's error, 95th percentile", "% of face size"),
    ("shape_split_half_mm", "Shapes from either half of the keyframes, distance", "mm"),
    ("disagree_median", "A second detector's distance from the landmarks", "share of outer-eye distance"),
    ("occluded_frac", "Ticks with something in front of the face", "share"),
    ("speech_s", "Speech per person", "s"),
)


@dataclass(frozen=True)
class Measured:
    """One clip that reached the quality stage: frame values, clip numbers per person, and the gate's word."""

    clip_id: str
    passed: bool
    columns: Columns
    shown: NDArray[np.bool_]
    persons: Mapping[str, Mapping[str, float]]


def measured_clips(records: Sequence[Record]) -> list[Measured]:
    """Every clip with numbers, whether or not the gate let it through."""
    gate = {r.item: r.status for r in records if r.stage == "gate"}
    out = []
    for r in records:
        folder = Path(r.path or "")
        if r.stage != "quality" or r.status != "ok" or not r.path or not (folder / "quality.json").is_file():
            continue
        columns = read_table(folder / "quality.parquet")
        persons = json.loads((folder / "quality.json").read_text()).get("persons", {})
        shown = columns["face_size_px"] > 0
        out.append(Measured(r.item, gate.get(r.item, "ok") == "ok", columns, shown, persons))
    return out


def thresholds(records: Sequence[Record]) -> dict[str, list[Limit]]:
    """Number -> limits, as the gate recorded them with its verdicts. Conflicting recipes show as several lines."""
    found: dict[str, set[tuple[float, str, str]]] = {}
    for r in records:
        if r.stage != "gate":
            continue
        for gate in _gates(r):
            found.setdefault(gate["number"], set()).add((float(gate["threshold"]), gate["side"], gate["reason"]))
    return {
        number: [
            Limit(value, side, f"{reason} {'<' if side == 'min' else '>'} {value:g}")
            for value, side, reason in sorted(s)
        ]
        for number, s in found.items()
    }


def _gates(record: Record) -> Iterator[Mapping[str, Any]]:
    verdict = Path(record.path or "") / "verdict.json"
    if record.path and verdict.is_file():
        yield from json.loads(verdict.read_text()).get("gates", [])
    yield from record.values.get("failed", [])


@dataclass(frozen=True)
class Chart:
    """A titled figure; ``note`` says what its marks are."""

    title: str
    svg: str
    note: str = ""


def quality_charts(clips: Sequence[Measured], limits: Mapping[str, Sequence[Limit]]) -> list[Chart]:
    """Histograms over frames with clip-level marks, then strips of numbers that exist per clip only."""
    out = []
    for column, title, unit, number in NUMBERS:
        values = {
            name: np.concatenate(
                [_shown(c, column) for c in clips if c.passed == passed and column in c.columns]
                or [np.zeros(0, np.float32)]
            )
            for name, passed in (("accepted", True), ("rejected", False))
        }
        if not any(len(v) for v in values.values()):
            continue
        marks = _marks(clips, number)
        note = f"marks below: {number} per person and clip" if marks else ""
        chart = charts.histogram(values, marks, limits.get(number, ()), unit)
        out.append(Chart(f"{title}, {unit}" if unit else title, chart, note))
    for number, title, unit in PER_CLIP:
        marks = _marks(clips, number)
        if marks:
            empty = {
                "accepted": np.array([m[0] for m in marks if m[1]]),
                "rejected": np.array([m[0] for m in marks if not m[1]]),
            }
            chart = charts.histogram(empty, marks, limits.get(number, ()), unit)
            out.append(Chart(f"{title}, {unit}", chart, f"{number}, one value per person and clip"))
    return out


def _shown(clip: Measured, column: str) -> NDArray[Any]:
    """Values of frames that have one: nothing was compared where a signal-to-noise ratio is 0."""
    values = clip.columns[column][clip.shown]
    return values[values > 0] if column in ("colour_psnr_db", "visible_frac") else values


def _marks(clips: Sequence[Measured], number: str) -> list[tuple[float, bool, str]]:
    return [
        (float(values[number]), clip.passed, f"{clip.clip_id}, person {person}: {values[number]:g}")
        for clip in clips
        for person, values in sorted(clip.persons.items())
        if number in values
    ]


@dataclass(frozen=True)
class Strip:
    """One person's stills in a clip card: rows of (label, image as data URI)."""

    role: str
    identity: str
    numbers: str
    rows: tuple[tuple[str, str], ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """One clip of the dataset as the report shows it."""

    id: str
    split: str
    seconds: float
    facts: tuple[tuple[str, str], ...]
    timeline: str
    precision: str = ""
    strips: tuple[Strip, ...] = field(default=())

    def size(self) -> int:
        """Bytes that the card adds to the page, roughly."""
        return sum(len(uri) for s in self.strips for _, uri in s.rows) + len(self.timeline) + len(self.precision)


def clip_card(clip: Clip, head: HeadModel | None) -> Card:
    """Timeline, numbers and filmstrips of one clip."""
    strips, marked = [], set()
    for role, person in clip.persons.items():
        even, worst = overlay.choose_ticks(person)
        ticks = even + worst
        marked.update(even)
        order = sorted(ticks)
        images = overlay.stills(person, order, head)
        place = [order.index(t) for t in ticks]  # even ones first, then the worst
        rows = [("frame", images.plain), ("landmarks", images.landmarks), ("fitted head", images.mesh)]
        named = tuple(
            (name, overlay.data_uri(overlay.montage([shots[k] for k in place]))) for name, shots in rows if shots
        )
        captions = tuple(f"{t / 25:.2f} s" for t in even) + tuple(f"worst, {t / 25:.2f} s" for t in worst)
        strips.append(
            Strip(role, str(person.track["identity_id"]), _numbers(person, _summary(clip, person)), named, captions)
        )
    row = clip.row
    facts = (
        ("length", f"{clip.n_ticks / 25:.2f} s"),
        ("split", row["split"]),
        ("speaks", f"A {row['speak_s']['A']:.1f} s, B {row['speak_s']['B']:.1f} s"),
        ("overlap", f"{row['overlap_s']:.1f} s"),
        ("silence", f"{row['silence_s']:.1f} s"),
        ("turns", f"{row['n_turns']} + {row['n_backchannels']} backchannels"),
        ("sound against picture", _sync(row)),
        ("sound per person", _sound(clip)),
    )
    timeline = clip_timeline(clip, sorted(marked))
    return Card(clip.id, row["split"], clip.n_ticks / 25, facts, timeline, clip_precision(clip), tuple(strips))


def _sync(row: Mapping[str, Any]) -> str:
    """The offset of the sound; datasets before 1.2.0 do not say."""
    if not row.get("av_offset_sigma_ms"):
        return "not measured"
    applied = row["av_offset_applied_ms"]
    moved = f", moved by {applied:.0f} ms" if applied else ""
    late = "late" if row["av_offset_ms"] >= 0 else "early"
    return f"{abs(row['av_offset_ms']):.0f} ms {late}, sigma {row['av_offset_sigma_ms']:.0f} ms{moved}"


def _sound(clip: Clip) -> str:
    tracks = {role: person.track for role, person in clip.persons.items()}
    told = [
        f"{role} {t['audio_method']}" + (f", the other {t['bleed_db']:.0f} dB" if t["bleed_db"] else "")
        for role, t in tracks.items()
        if "audio_method" in t
    ]
    return "; ".join(told) or "mask"


def clip_timeline(clip: Clip, ticks: Sequence[int] = ()) -> str:
    """The speaking timeline of a clip as SVG."""
    roles = ("A", "B")
    turns = [
        {"role": roles[person], "start_tick": int(a), "end_tick": int(b), "kind": str(kind)}
        for person, a, b, kind in zip(
            *(clip.turns[k] for k in ("person", "start_tick", "end_tick", "kind")), strict=True
        )
    ]
    return charts.timeline(
        {role: clip.persons[role].motion["p_speak"] for role in roles},
        turns,
        clip.persons["A"].motion["state"] == 3,
        {role: ~clip.persons[role].landmarks["crop_ok"] for role in roles},
        ticks,
    )


def clip_precision(clip: Clip) -> str:
    """How precisely the face is known over time, as SVG; empty where the dataset does not say."""
    sigma = {role: p.quality["sigma_face_mm"] for role, p in clip.persons.items() if "sigma_face_mm" in p.quality}
    return charts.curves(sigma, "sigma of the fitted face", "mm") if sigma else ""


def _summary(clip: Clip, person: Person) -> Mapping[str, float]:
    """The clip-level numbers of one person, as the quality stage wrote them."""
    numbers: Mapping[str, float] = clip.row["quality"].get("persons", {}).get(str(person.track["person"]), {})
    return numbers


def _numbers(person: Person, summary: Mapping[str, float]) -> str:
    fitted = bit(person.motion["valid"], "fit_ok")
    if not fitted.any():
        return "no tick has a fit"
    q = {
        name: float(np.median(person.quality[name][fitted]))
        for name in ("reproj_pct_iod", "face_size_px", "sigma_lip_mm")
    }
    optional = (
        ("colour_psnr_db_median", "colour PSNR {:.1f} dB"),
        ("pixels_used", "pixels used on {:.0%} of ticks"),
        ("shape_split_half_mm", "shapes of the keyframes' halves {:.1f} mm apart"),
    )
    more = "".join(" · " + text.format(summary[name]) for name, text in optional if summary.get(name))
    return (
        f"fit on {fitted.mean():.0%} of ticks · landmark error {q['reproj_pct_iod']:.2f} % of face size (median) · "
        f"face {q['face_size_px']:.0f} px · lip sigma {q['sigma_lip_mm']:.2f} mm{more}"
    )


def load_model(records: Sequence[Record], dataset: Dataset) -> tuple[HeadModel | None, str]:
    """The head model that the labels belong to, or None and the reason why the report cannot draw it."""
    from dialogbuild.head import load_head

    wanted = dataset.info["head_model"]
    spec = next((s for r in records if r.stage == "identity" and (s := _head_spec(r))), wanted["model_id"])
    try:
        head = load_head(spec)
    except DialogbuildError as error:
        return None, str(error)
    if head.sha256 != wanted["sha256"]:
        return None, f"the labels were made with another version of {wanted['model_id']}: its heads cannot be drawn"
    return head, ""


def _head_spec(record: Record) -> str | None:
    done = Path(record.path or "") / "_done.json"
    if not record.path or not done.is_file():
        return None
    spec = json.loads(done.read_text()).get("config", {}).get("head")
    return str(spec) if spec else None
