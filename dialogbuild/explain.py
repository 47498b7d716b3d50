"""Looking at a run from outside: what is done, what would run and why, what nobody needs any more."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dialogbuild import ledger
from dialogbuild.artifact import read_json
from dialogbuild.engines import Job
from dialogbuild.errors import ConfigError
from dialogbuild.pipeline import Places, survey
from dialogbuild.runner import VideoState, exclusive, quarantine_file


def status_lines(out: Path) -> list[str]:
    """A table: per stage how many items are ok, rejected, quarantined, pending; and stale artefacts."""
    plan, states, jobs = survey(Places(out))
    pending = Counter(job.stage for job in jobs)
    lines = [f"{'stage':<10} {'ok':>6} {'rejected':>9} {'quarantined':>12} {'to run':>7} {'stale':>6}"]
    for stage in plan.recipe.stages:
        mine = [o for state in states for (name, _), o in state.outcomes.items() if name == stage.name]
        count = Counter(outcome.status for outcome in mine)
        held = [
            job for job in jobs if job.stage == stage.name and quarantine_file(plan.work, job.stage, job.item).exists()
        ]
        stale = sum(1 for path in _artifacts(plan.work, stage.name) if path not in _current(states, jobs))
        to_run = pending[stage.name] - len(held)
        lines.append(f"{stage.name:<10} {count['ok']:>6} {count['rejected']:>9} {len(held):>12} {to_run:>7} {stale:>6}")
    lines.append("")
    for state in states:
        last = _last(plan.recipe, state)
        lines.append(f"{state.source.video_id}  {last}")
    if pending:
        lines.append("\nwhat is to run is only what is ready now; stages behind it follow")
    return lines


def explain_lines(out: Path, item: str) -> list[str]:
    """Stage by stage: how it ended for the item, and why it would run (again).

    Raises:
        ConfigError: no item of that name, or several.
    """
    plan, states, jobs = survey(Places(out))
    names = {name for state in states for (_, name) in state.outcomes} | {job.item for job in jobs}
    matches = sorted(name for name in names if item in name)
    chosen = [item] if item in matches else matches[:1] if len(matches) == 1 else []
    videos = [state.source.video_id for state in states if item in state.source.video_id]
    if not chosen and len(videos) == 1:
        chosen = videos
    if not chosen:
        raise ConfigError(f"no item {item!r}" if not matches else f"{item!r} fits several: {', '.join(matches[:9])}")
    name = chosen[0]
    state = next(s for s in states if name == s.source.video_id or name in s.clips())
    lines = [f"{name}  from {state.source.path}", *_reader_note(state)]
    for stage in plan.recipe.stages:
        target = state.source.video_id if stage.unit == "video" else name
        if stage.unit == "clip" and target == state.source.video_id:
            continue
        job = next((j for j in jobs if (j.stage, j.item) == (stage.name, target)), None)
        lines.append(f"  {stage.name:<10} {_why(plan, state, stage.name, target, job)}")
    return lines


def _reader_note(state: VideoState) -> list[str]:
    """That another reader reads the video than the settings say, and why."""
    ingest = state.outcomes.get(("ingest", state.source.video_id))
    video = read_json(ingest.path / "video.json", {}) if ingest is not None and ingest.path is not None else {}
    refused = video.get("reader_refused")
    return (
        [f"  read with {video['reader']}: the reader that the settings name gets it wrong: {refused}"]
        if refused
        else []
    )


def _why(plan: Any, state: VideoState, stage: str, item: str, job: Job | None) -> str:
    if job is not None:
        held = quarantine_file(plan.work, stage, item)
        if held.is_file():
            record = read_json(held, {})
            return f"quarantined after {record.get('attempts')} attempts: {record.get('error')} (see {held})"
        old = ledger.stale_keys(plan.work, stage, item, job.key)
        if not old:
            return "would run: never done for this item"
        return "would run: " + "; ".join(ledger.differences(old[-1], dict(job.record), partial(ledger.code_of, plan)))
    outcome = state.outcomes.get((stage, item))
    if outcome is None:
        blockers = _blockers(plan, state, stage, item)
        return f"not reached: {', '.join(blockers)}" if blockers else "not reached"
    if outcome.status == "rejected":
        return f"rejected: {outcome.reason} " + " ".join(f"{k}={v}" for k, v in outcome.values.items())
    return f"{outcome.status}, up to date; took {outcome.wall_s:.1f} s" + _history(plan, stage, item, outcome)


def _history(plan: Any, stage: str, item: str, outcome: Any) -> str:
    """Why the current result was computed although an older one existed."""
    old = ledger.stale_keys(plan.work, stage, item, outcome.key)
    if not old or outcome.path is None:
        return ""
    new = json.loads((outcome.path / "_done.json").read_text())
    return f"; recomputed because {'; '.join(ledger.differences(old[-1], new, partial(ledger.code_of, plan)))}"


def _blockers(plan: Any, state: VideoState, stage: str, item: str) -> list[str]:
    wanted = plan.recipe.stage(stage)
    words = []
    for name in (*wanted.reads, *wanted.after):
        unit = plan.recipe.stage(name).unit
        outcome = state.outcomes.get((name, item if unit == "clip" else state.source.video_id))
        if outcome is None:
            words.append(f"{name} is not done")
        elif outcome.status != "ok":
            words.append(f"{name} was {outcome.status}")
    return words[:1]


def _last(recipe: Any, state: VideoState) -> str:
    for stage in reversed(recipe.stages):
        mine = [o for (name, _), o in state.outcomes.items() if name == stage.name]
        if mine:
            bad = [o for o in mine if o.status != "ok"]
            return f"{stage.name}: {bad[0].status} {bad[0].reason}" if bad else f"{stage.name}: {len(mine)} ok"
    return "not started"


def _artifacts(work: Path, stage: str) -> Iterator[Path]:
    root = work / stage
    for item in sorted(root.iterdir()) if root.is_dir() else []:
        yield from sorted(path for path in item.iterdir() if path.is_dir())


def _current(states: list[VideoState], jobs: list[Job]) -> set[Path]:
    return {o.path for state in states for o in state.outcomes.values() if o.path is not None}


def superseded(out: Path, delete: bool) -> list[tuple[Path, int]]:
    """Artefacts that the last run's recipe and sources do not lead to, with their size in bytes; deleted on request."""
    found = []
    with exclusive(Places(out).work):
        plan, states, jobs = survey(Places(out))
        current = _current(states, jobs)
        for stage in plan.recipe.stages:
            for path in _artifacts(plan.work, stage.name):
                if path not in current:
                    found.append((path, sum(f.stat().st_size for f in path.rglob("*") if f.is_file())))
                    if delete:
                        _remove(path, plan.work / "_tmp")
    return found


def _remove(path: Path, tmp: Path) -> None:
    """Out of sight by one rename first, so that an interrupted deletion leaves no half artefact behind."""
    tmp.mkdir(exist_ok=True)
    gone = tmp / f"gc-{path.parent.name}-{path.name}"
    path.rename(gone)
    shutil.rmtree(gone)
