"""Documents beside the data: info, schema and statistics. The card and the Croissant record are in their own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dialogbuild import __version__
from dialogbuild.dataset import schema, stats
from dialogbuild.dataset.conventions import is_procedural
from dialogbuild.dataset.part import Part
from dialogbuild.dataset.schema import SPLITS, TABLES, TICK_HZ

DOCUMENTS_VERSION = 2  # bump when the files of meta/ change for the same clips


def info(parts: Sequence[Part], splits: Mapping[str, str], convention: str | None, version: str) -> dict[str, Any]:
    """``meta/info.json``: version, clock, sizes, head model and where things are."""
    head = dict(parts[0].record["convention"]["head_model"]) if parts else None
    ticks = {p.clip_id: int(p.record["conversation"]["n_ticks"]) for p in parts}
    return {
        "format_version": version,
        "made_with": {"dialogbuild": __version__, "pyarrow": pa.__version__},
        "fps": [TICK_HZ, 1],
        "audio_rate_hz": schema.AUDIO_RATE_HZ,
        "samples_per_tick": schema.SAMPLES_PER_TICK,
        "crop_px": schema.CROP_PX,
        "convention_id": convention,
        "head_model": head,
        "publishable_labels": head is not None and not is_procedural(str(head["model_id"])),
        "widths": parts[0].widths if parts else {"E": 0, "S": 0},
        "paths": {"frames": schema.FRAMES_PATH, "media": schema.MEDIA_PATH, "tables": schema.TABLE_NAME},
        "totals": _totals(parts, ticks),
        "splits": {s: _totals([p for p in parts if splits[p.clip_id] == s], ticks) for s in SPLITS},
    }


def _totals(parts: Sequence[Part], ticks: Mapping[str, int]) -> dict[str, Any]:
    n = sum(ticks[p.clip_id] for p in parts)
    return {
        "videos": len({p.record["video"]["video_id"] for p in parts}),
        "conversations": len(parts),
        "identities": len({i["identity_id"] for p in parts for i in p.record["identities"]}),
        "ticks": n,
        "face_frames": 2 * n,
        "hours": n / TICK_HZ / 3600,
    }


def schema_record(widths: Mapping[str, int], version: str) -> dict[str, Any]:
    """``meta/schema.json``: every table and column with type, shape, unit, range and meaning."""
    tables = {}
    for name, table in ((name, table.at(version)) for name, table in TABLES.items()):
        columns: dict[str, dict[str, Any]] = {}
        for c in table.columns:
            k = widths[c.width] if isinstance(c.width, str) else c.width
            columns[c.name] = {"dtype": c.dtype, "shape": [k] if k else [], "unit": c.unit, "meaning": c.meaning}
            columns[c.name].update({k: v for k, v in (("low", c.low), ("high", c.high)) if v is not None})
        tables[name] = {
            "meaning": table.meaning,
            "key": list(table.key),
            "row_group": table.row_group,
            "columns": columns,
        }
    return {"format_version": version, "tables": tables}


def statistics(files: Sequence[tuple[str, Mapping[str, stats.Moments]]]) -> dict[str, Any]:
    """``meta/stats.json``: per split and over all, what the motion columns hold where fit_ok is set.

    Args:
        files: per motion file its split and ``writer.file_stats``.
    """
    out: dict[str, Any] = {"quantile_error": {"relative": stats.RELATIVE_ERROR, "absolute": stats.SMALLEST}}
    for split in ("all", *SPLITS):
        mine = [found for where, found in files if split in ("all", where)]
        out[split] = {
            name: stats.describe(stats.merge_summaries([found[name] for found in mine])) for name in stats.STATS_COLUMNS
        }
    return out
