"""Documents beside the data: info, schema, statistics, conventions and the dataset card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from dialogbuild import __version__
from dialogbuild.dataset import schema, stats
from dialogbuild.dataset.conventions import PROCEDURAL_WARNING, is_procedural
from dialogbuild.dataset.part import Part
from dialogbuild.dataset.schema import SPLITS, TABLES, TICK_HZ


def info(parts: Sequence[Part], splits: Mapping[str, str], convention: str | None) -> dict[str, Any]:
    """``meta/info.json``: version, clock, sizes, head model and where things are."""
    head = dict(parts[0].record["convention"]["head_model"]) if parts else None
    ticks = {p.clip_id: int(p.record["conversation"]["n_ticks"]) for p in parts}
    return {
        "format_version": schema.FORMAT_VERSION,
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


def schema_record(widths: Mapping[str, int]) -> dict[str, Any]:
    """``meta/schema.json``: every table and column with type, shape, unit, range and meaning."""
    tables = {}
    for name, table in TABLES.items():
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
    return {"format_version": schema.FORMAT_VERSION, "tables": tables}


def statistics(parts: Sequence[Part], splits: Mapping[str, str]) -> dict[str, Any]:
    """``meta/stats.json``: per split and over all, moments of the motion columns where fit_ok is set."""
    out = {}
    for split in ("all", *SPLITS):
        mine = [p.record["moments"] for p in parts if split in ("all", splits[p.clip_id])]
        out[split] = {name: stats.describe(stats.merge([m[name] for m in mine])) for name in stats.STATS_COLUMNS}
    return out


def card(facts: Mapping[str, Any], rights: Mapping[str, Mapping[str, str]]) -> str:
    """``meta/README.md``: the dataset card, with the header that dataset hubs read.

    Args:
        facts: from ``info``.
        rights: video id -> licence and consent_ref.
    """
    total, head = facts["totals"], facts["head_model"]
    licences = sorted({r["licence"] for r in rights.values()})
    unknown = sum(r["consent_ref"] == "unknown" for r in rights.values())
    model = f"`{head['model_id']}` ({head['licence']}; {head['n_expr']} expressions)" if head else "none"
    warning = f"> **Do not publish.** {PROCEDURAL_WARNING}\n\n" if head and is_procedural(head["model_id"]) else ""
    rows = "\n".join(
        f"| {name} | {s['hours']:.3f} | {s['conversations']} | {s['identities']} | {s['videos']} |"
        for name, s in (*facts["splits"].items(), ("all", total))
    )
    return f"""---
pretty_name: Two-person dialogue, aligned video, speech and 3D heads
tags: [talking-head, dialogue, 3d, flame, audio, video]
license: other
---
# Two-person dialogue dataset

{warning}{total["hours"]:.3f} hours of conversation, {total["conversations"]} clips, {total["identities"]} identities, \
{total["face_frames"]} face-frames at {facts["fps"][0]} fps.

| split | hours | clips | identities | videos |
|---|---:|---:|---:|---:|
{rows}

- Head model of the 3D labels: {model}. Coefficients of different models are never mixed.
- Format {facts["format_version"]}; axes, units and joint order: `meta/conventions/{facts["convention_id"]}.json`.
- Identities are told apart within a video; nobody is recognised across videos. Splits keep whole groups of linked
  identities, conversations and source files together.
- Per-person audio is the person's own channel where a stereo source separates the two, else the mix under a soft mask,
  which holds both voices where both speak (`motion.state` = 3): `tracks.audio_method`, `tracks.bleed_db`.
- Labels are estimates. Every row has residuals and posterior sigmas in `frames/quality` and validity bits in
  `motion.valid`: use them.

## Rights
Source licences: {", ".join(licences) or "none"}. Consent reference missing for {unknown} of {len(rights)} videos. The
people shown did not thereby agree to any use beyond what their consent record says.

## Reading it
```python
from dialogbuild.dataset.reader import open_dataset
clip = open_dataset("path/to/dataset").read_clip()
clip.persons["A"].motion["expr"].shape      # (T, E) at 25 fps
```
`CURRENT` and `commits/` say which files make up this state; the plain names under `tables/`, `manifests/` and `meta/`
are copies of it. Columns: `meta/schema.json`.
"""
