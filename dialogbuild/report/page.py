"""The report: one HTML file that says what came in, what came out, why the rest did not, and how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dialogbuild import __version__
from dialogbuild.dataset.conventions import PROCEDURAL_WARNING, is_procedural
from dialogbuild.dataset.schema import SPLITS
from dialogbuild.errors import DatasetError
from dialogbuild.report import charts, gather, people
from dialogbuild.report.records import Record, Step, funnel, quarantine_notes, read_records, stage_times, to_records

if TYPE_CHECKING:
    from dialogbuild.dataset.reader import Dataset

MAX_IMAGE_BYTES = 10_000_000  # embedded stills; clips beyond that are listed without pictures


def write_report(
    work: Path,
    outcomes: Iterable[Any] | None,
    dataset_root: Path,
    out_html: Path,
    max_image_bytes: int = MAX_IMAGE_BYTES,
) -> None:
    """Write the report as one self-contained HTML page.

    Args:
        work: the run's stage folders; quarantine notes and measured numbers are read from here.
        outcomes: one record per (stage, item) in pipeline order: mappings or dataclasses with ``stage``, ``item``,
            ``status`` and, where known, ``unit``, ``video_id``, ``source``, ``reason``, ``values``, ``hours``,
            ``wall_s``, ``path``. None = those that the last run left under ``work``.
        dataset_root: the published dataset; it may be missing or empty.
        out_html: written in one piece; the folder must exist.
        max_image_bytes: budget of the embedded pictures.

    Raises:
        KeyError: an outcome lacks stage, item or status.
    """
    records = read_records(work) if outcomes is None else to_records(outcomes)
    dataset, trouble = _open(dataset_root)
    page = _render(_context(work, records, dataset, trouble, max_image_bytes))
    scratch = out_html.with_name(out_html.name + ".part")
    scratch.write_text(page)
    scratch.replace(out_html)


def _open(root: Path) -> tuple[Dataset | None, str]:
    from dialogbuild.dataset.reader import open_dataset

    if not (root / "CURRENT").is_file():
        return None, "no dataset was published"
    try:
        return open_dataset(root), ""
    except DatasetError as error:
        return None, str(error)


def _context(
    work: Path, records: Sequence[Record], dataset: Dataset | None, trouble: str, budget: int
) -> dict[str, Any]:
    steps = funnel(records)
    measured = gather.measured_clips(records)
    cards, listed, no_mesh = _cards(records, dataset, budget)
    model = dataset.info["head_model"] if dataset else None
    published = [row["id"] for row in dataset.rows] if dataset else []
    return {
        "version": __version__,
        "tiles": _tiles(steps, records, dataset),
        "warning": PROCEDURAL_WARNING if model and is_procedural(model["model_id"]) else "",
        "trouble": trouble,
        "alarms": _alarms(steps, records, published),
        "steps": steps,
        "funnel_svg": charts.funnel_bars([_bar(step) for step in steps]),
        "cards": cards,
        "listed": listed,
        "n_clips": len(published),
        "no_mesh": no_mesh,
        "charts": gather.quality_charts(measured, gather.thresholds(records)),
        "n_measured": len(measured),
        "links": people.link_rows(records),
        "rejected": [_ending(r) for r in records if r.status == "rejected"],
        "quarantined": _quarantined(work, records),
        "times": stage_times(records),
        "times_svg": charts.hbars([(t.stage, t.wall_s, f"{t.wall_s:.1f} s") for t in stage_times(records)]),
        "hours_in": sum(r.hours for r in records if r.unit == "video" and r.stage == steps[0].stage) if steps else 0.0,
        "provenance": _provenance(dataset),
        "splits": {name: dataset.info["splits"][name] for name in SPLITS} if dataset else {},
    }


def _tiles(steps: Sequence[Step], records: Sequence[Record], dataset: Dataset | None) -> list[tuple[str, str, str]]:
    """(number, label, kind) of the boxes at the top."""
    videos = {r.item for r in records if r.unit == "video"}
    total = dataset.info["totals"] if dataset else {"conversations": 0, "hours": 0.0, "identities": 0}
    rejected = sum(s.rejected for s in steps)
    stuck = sum(s.quarantined for s in steps)
    hours_in = steps[0].hours_in if steps else 0.0
    return [
        (str(len(videos)), "videos in", ""),
        (duration(hours_in), "of video", ""),
        (str(total["conversations"]), "clips out", "good" if total["conversations"] else "bad"),
        (duration(total["hours"]), "of dialogue", "good" if total["conversations"] else "bad"),
        (str(total["identities"]), "identities", ""),
        (str(rejected), "rejected", "warn" if rejected else ""),
        (str(stuck), "quarantined", "bad" if stuck else ""),
    ]


def duration(hours: float) -> str:
    """Hours as people say them: 12.3 s, 4.5 min, 1.23 h."""
    seconds = hours * 3600
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if hours < 2 else f"{hours:,.2f} h"


def _bar(step: Step) -> dict[str, Any]:
    note = ", ".join(f"{x.reason} {x.count}" for x in step.losses[:3]) + (", …" if len(step.losses) > 3 else "")
    counts = {"entered": step.entered, "ok": step.ok, "rejected": step.rejected, "quarantined": step.quarantined}
    return {"stage": step.stage, "unit": step.unit, **counts, "lost": len(step.unaccounted), "note": note}


def _alarms(steps: Sequence[Step], records: Sequence[Record], published: Sequence[str]) -> list[str]:
    """Sentences about counts that do not add up; empty when all is well."""
    out = [
        f"{len(s.unaccounted)} of {s.entered} {s.unit}s have no outcome at {s.stage}: {', '.join(s.unaccounted[:5])}"
        for s in steps
        if not s.adds_up
    ]
    done = {r.item for r in records if r.stage == "shard" and r.status == "ok"}
    ran = any(r.stage == "shard" for r in records) or not records
    if ran and records and done != set(published):
        missing, extra = sorted(done - set(published)), sorted(set(published) - done)
        out.append(
            f"the dataset does not hold exactly the clips that are ok: {len(missing)} missing, {len(extra)} from "
            f"elsewhere ({', '.join((missing + extra)[:5])}); publish again"
        )
    return out


def _cards(
    records: Sequence[Record], dataset: Dataset | None, budget: int
) -> tuple[list[gather.Card], list[dict[str, Any]], str]:
    """Cards with pictures as far as the budget goes, the rows of the clips beyond it, and why no head is drawn."""
    if dataset is None or not dataset.rows:
        return [], [], ""
    head, no_mesh = gather.load_model(records, dataset)
    cards: list[gather.Card] = []
    spent = 0
    for row in dataset.rows:
        if spent > budget:
            break
        cards.append(gather.clip_card(dataset.read_clip(row["id"], audio=False), head))
        spent += cards[-1].size()
    return cards, dataset.rows[len(cards) :], no_mesh


def _ending(record: Record) -> dict[str, Any]:
    values = {k: v for k, v in record.values.items() if k != "failed"}
    shown = [f"{name} = {_plain(value)}" for name, value in sorted(values.items())]
    failed = [
        f"person {f['person']}: {f['number']} {_plain(f['value'])}, "
        f"{'at least' if f['side'] == 'min' else 'at most'} {_plain(f['threshold'])} [{f['reason']}]"
        for f in record.values.get("failed", [])
    ]
    return {
        "item": record.item,
        "source": record.source,
        "stage": record.stage,
        "reason": record.reason,
        "values": failed or shown,
        "hours": duration(record.hours) if record.hours else "unknown",
    }


def _plain(value: Any) -> str:
    return charts.number(value) if isinstance(value, float) else str(value)


def _quarantined(work: Path, records: Sequence[Record]) -> list[dict[str, Any]]:
    notes = quarantine_notes(work)
    out = []
    for r in records:
        if r.status == "quarantined":
            note = notes.get((r.stage, r.item), {})
            attempts = note.get("attempts", r.values.get("attempts", ""))
            base = {"item": r.item, "source": r.source, "stage": r.stage, "error": note.get("error", r.reason)}
            out.append({**base, "attempts": attempts, "traceback": note.get("traceback", "")})
    return out


def _provenance(dataset: Dataset | None) -> list[tuple[str, str]]:
    rows = [("dialogbuild", __version__)]
    if dataset is not None:
        info, head = dataset.info, dataset.info["head_model"]
        rows += [
            ("dataset format", info["format_version"]),
            ("commit", str(dataset.commit.number)),
            ("inputs key", dataset.commit.inputs[:16]),
            ("conventions", str(info["convention_id"])),
            ("made with", ", ".join(f"{k} {v}" for k, v in sorted(info["made_with"].items()))),
        ]
        if head:
            rows += [("head model", f"{head['model_id']} ({head['licence']})"), ("head sha256", head["sha256"])]
    return rows


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dialogbuild.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["duration"] = duration
    return environment.get_template("report.html").render(**context)
