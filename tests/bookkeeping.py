"""A made-up run around the made-up stage results: work folder, outcomes of every kind, dataset."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabricate import Fabricated, fabricate, shard_parts

from dialogbuild.artifact import write_json
from dialogbuild.publish import publish

VIDEO_STAGES = ("ingest", "shots", "tracks", "landmarks", "diarize", "assign", "segment", "identity")
CLIP_STAGES = ("fit_flame", "quality", "gate", "shard")
GATES = [
    {"reason": "low_coverage", "number": "coverage", "side": "min", "threshold": 0.8},
    {"reason": "small_face", "number": "face_size_px_p5", "side": "min", "threshold": 28.0},
    {"reason": "high_reprojection", "number": "reproj_pct_median", "side": "max", "threshold": 5.0},
    {"reason": "too_little_speech", "number": "speech_s", "side": "min", "threshold": 1.0},
]


@dataclass(frozen=True)
class Run:
    """Everything that a report is made from."""

    work: Path
    dataset: Path
    records: list[dict[str, Any]]


def make_run(root: Path, head: object = None, survivors: bool = True) -> Run:
    """Five inputs: a video of three clips (one good, one fails the gate, one the fit), three bad ones, a doublet."""
    made = fabricate(root / "stages", "interview-1a2b3c4d", n_ticks=95, n_clips=3, head=head)
    work, video = root / "work", made.video_id
    clips = list(made.clips)
    good = shard_parts(made, root / "work", clips[:1]) if survivors else []
    records = [_record(s, video, video, "video", 0.002, path=_keep(made, work, s, video)) for s in VIDEO_STAGES]
    for i, clip in enumerate(clips):
        records += _clip_records(made, work, clip, video, i, good)
    records += [
        _bad("mute-0badf00d", "ingest", "no_audio", {"streams": 0}),
        *[_record(s, "solo-77777777", "solo-77777777", "video", 0.01) for s in VIDEO_STAGES[:5]],
        _bad("solo-77777777", "assign", "not_a_dialogue", {"persons": 1, "voices": 1}, 0.01),
        _bad("copy-1a2b3c4d", "ingest", "duplicate", {"of": video}),
        {**_bad("broken-deadbeef", "ingest", "unreadable", {}), "status": "quarantined", "reason": "OSError: disk"},
    ]
    order = {name: i for i, name in enumerate(VIDEO_STAGES + CLIP_STAGES)}
    records.sort(key=lambda r: order[r["stage"]])
    note = {
        "error": "OSError: disk",
        "traceback": "Traceback (most recent call last):\n  ...\nOSError: disk",
        "attempts": 2,
    }
    (work / "_quarantine" / "ingest").mkdir(parents=True)
    write_json(work / "_quarantine" / "ingest" / "broken-deadbeef.json", note)
    (work / "_run").mkdir()
    write_json(work / "_run" / "funnel.json", records)
    publish(good, root / "dataset")
    return Run(work, root / "dataset", records)


def _record(stage: str, item: str, video: str, unit: str, hours: float, path: Path | None = None) -> dict[str, Any]:
    wall_s = {"fit_flame": 6.0, "landmarks": 4.0, "shard": 2.0}.get(stage, 0.5)
    return {
        "stage": stage, "item": item, "video_id": video, "source": f"{video.split('-')[0]}.mp4", "unit": unit,
        "status": "ok", "reason": None, "values": {}, "hours": hours, "wall_s": wall_s,
        "path": str(path) if path else None,
    }  # fmt: skip


def _bad(item: str, stage: str, reason: str, values: dict[str, Any], hours: float = 0.0) -> dict[str, Any]:
    return {**_record(stage, item, item, "video", hours), "status": "rejected", "reason": reason, "values": values}


def _keep(made: Fabricated, work: Path, stage: str, item: str) -> Path:
    """A stage's fabricated folder as an artefact under ``work``."""
    final = work / stage / item / ("0" * 20)
    if stage in made.dirs:
        shutil.copytree(made.folder(stage, item), final)
    else:
        final.mkdir(parents=True)
    write_json(final / "_done.json", {"status": "ok", "peak_rss_mb": 210, "config": {}})
    return final


def _clip_records(
    made: Fabricated, work: Path, clip: str, video: str, index: int, good: list[Path]
) -> list[dict[str, Any]]:
    hours = (made.clips[clip][1] - made.clips[clip][0]) / 25 / 3600
    if index == 2:
        return [{**_record("fit_flame", clip, video, "clip", hours), "status": "rejected", "reason": "never_seen"}]
    rows = [
        _record(s, clip, video, "clip", hours, _keep(made, work, s, clip)) for s in ("fit_flame", "quality", "gate")
    ]
    gate = Path(rows[-1]["path"])
    if index == 1 or not good:
        failed = {**GATES[0], "person": "1", "value": 0.76}
        values = {"value": 0.76, "threshold": 0.8, "person": "1", "failed": [failed]}
        rows[-1].update(status="rejected", reason="low_coverage", values=values)
        return rows
    write_json(gate / "verdict.json", {"passed": True, "gates": GATES})
    return [*rows, _record("shard", clip, video, "clip", hours, good[0])]
