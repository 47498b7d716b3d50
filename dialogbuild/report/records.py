"""The books of a run, as plain records: where every input ended, and whether the counts add up."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from dialogbuild.tables import read_table

FUNNEL = Path("_run") / "funnel.json"


@dataclass(frozen=True)
class Record:
    """How one item ended at one stage. ``hours`` of video at stake; 0 where ingest never got to know them."""

    stage: str
    item: str
    status: str  # ok, rejected, quarantined
    video_id: str = ""
    source: str = ""
    unit: str = "video"
    reason: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    hours: float = 0.0
    wall_s: float = 0.0
    path: str | None = None


def to_records(outcomes: Iterable[Any]) -> list[Record]:
    """Records from mappings or dataclass instances that carry (at least) ``stage``, ``item`` and ``status``.

    Raises:
        KeyError: one of those three is missing.
    """
    names = {f.name for f in fields(Record)}
    out = []
    for outcome in outcomes:
        raw = {f.name: getattr(outcome, f.name) for f in fields(outcome)} if is_dataclass(outcome) else dict(outcome)
        kept = {k: v for k, v in raw.items() if k in names and v is not None}
        kept["path"] = str(raw["path"]) if raw.get("path") else None
        missing = {"stage", "item", "status"} - kept.keys()
        if missing:
            raise KeyError(f"an outcome lacks {', '.join(sorted(missing))}: {raw}")
        out.append(Record(**kept))
    return out


def read_records(work: Path) -> list[Record]:
    """The records that the last run left under ``work``; empty when there are none."""
    path = work / FUNNEL
    return to_records(json.loads(path.read_text())) if path.is_file() else []


@dataclass(frozen=True)
class Loss:
    """Items that ended at a stage for one reason. ``hours`` they take along."""

    status: str
    reason: str
    count: int
    hours: float


@dataclass(frozen=True)
class Step:
    """One stage of the funnel. entered = ok + rejected + quarantined + unaccounted."""

    stage: str
    unit: str
    entered: int
    ok: int
    rejected: int
    quarantined: int
    hours_in: float
    hours_ok: float
    losses: tuple[Loss, ...]
    unaccounted: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Every item that entered has an outcome."""
        return self.entered == self.ok + self.rejected + self.quarantined


def funnel(records: Sequence[Record]) -> list[Step]:
    """Stage by stage, in the records' order: what entered (was ok everywhere before), and how it ended.

    An item that already ended at an earlier stage does not count at a later one, even where that one ran for it too.
    """
    stages = list(dict.fromkeys((r.stage, r.unit) for r in records))
    by_stage = {stage: {r.item: r for r in records if r.stage == stage} for stage, _ in stages}
    hours: dict[str, float] = defaultdict(float)
    for r in records:
        hours[r.item] = max(hours[r.item], r.hours)
    alive = {
        "video": {r.item for r in records if r.unit == "video"},
        "clip": {r.item for r in records if r.unit == "clip"},
    }
    owner = {r.item: r.video_id for r in records if r.unit == "clip"} | _listed_clips(records)
    alive["clip"] |= owner.keys()
    steps = []
    for stage, unit in stages:
        if unit == "clip":
            alive["clip"] = {c for c in alive["clip"] if owner.get(c, "") in alive["video"] or c not in owner}
        step = _step(stage, unit, alive[unit], by_stage[stage], hours)
        steps.append(step)
        alive[unit] = {i for i in alive[unit] if i in by_stage[stage] and by_stage[stage][i].status == "ok"}
    return steps


def _listed_clips(records: Sequence[Record]) -> dict[str, str]:
    """Clips that segment cut and their videos, whether or not a later stage has an outcome for them."""
    cut = [
        (r.video_id, Path(r.path) / "clips.parquet")
        for r in records
        if r.stage == "segment" and r.status == "ok" and r.path
    ]
    return {str(c): video for video, p in cut if p.is_file() for c in read_table(p, ["clip_id"])["clip_id"]}


def _step(stage: str, unit: str, entered: set[str], found: Mapping[str, Record], hours: Mapping[str, float]) -> Step:
    ended = [found[i] for i in sorted(entered) if i in found]
    ok = [r for r in ended if r.status == "ok"]
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for r in ended:
        if r.status != "ok":
            groups[r.status, r.reason or "unknown"].append(r)
    losses = [Loss(s, why, len(rs), sum(hours[r.item] for r in rs)) for (s, why), rs in groups.items()]
    return Step(
        stage,
        unit,
        len(entered),
        len(ok),
        sum(r.status == "rejected" for r in ended),
        sum(r.status == "quarantined" for r in ended),
        sum(hours[i] for i in entered),
        sum(hours[r.item] for r in ok),
        tuple(sorted(losses, key=lambda x: (-x.count, x.reason))),
        tuple(sorted(entered - found.keys())),
    )


@dataclass(frozen=True)
class StageTime:
    """What a stage cost over all items, cached results included at what they cost when they were made."""

    stage: str
    items: int
    wall_s: float
    slowest_s: float
    peak_rss_mb: int


def stage_times(records: Sequence[Record]) -> list[StageTime]:
    """Wall time and peak memory per stage, in the records' order."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for r in records:
        groups[r.stage].append(r)
    return [
        StageTime(
            stage, len(rs), sum(r.wall_s for r in rs), max(r.wall_s for r in rs), max(_peak_rss_mb(r) for r in rs)
        )
        for stage, rs in groups.items()
    ]


def _peak_rss_mb(record: Record) -> int:
    done = Path(record.path or "") / "_done.json"
    return int(json.loads(done.read_text()).get("peak_rss_mb", 0)) if record.path and done.is_file() else 0


def quarantine_notes(work: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(stage, item) -> error, traceback and attempts of everything in quarantine."""
    out = {}
    for path in sorted((work / "_quarantine").glob("*/*.json")):
        out[path.parent.name, path.stem] = json.loads(path.read_text())
    return out
