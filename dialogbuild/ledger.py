"""The books of a run: where every video and clip ended, and whether the counts add up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dialogbuild.artifact import Outcome, read_done, read_json, write_json
from dialogbuild.codekey import code_digest
from dialogbuild.recipe import Recipe
from dialogbuild.runner import Plan, VideoState, newest_last

LAST = Path("_run") / "last.json"
FUNNEL = Path("_run") / "funnel.json"
CODE = Path("_run") / "code"  # which modules a digest of code stands for


@dataclass(frozen=True)
class Entry:
    """How one item ended at one stage; ``hours`` of video (or of the clip) at stake."""

    item: str
    video_id: str
    source: str
    stage: str
    unit: str
    status: str
    reason: str | None
    values: dict[str, Any]
    hours: float
    wall_s: float
    path: str | None


def entries(recipe: Recipe, states: Sequence[VideoState]) -> list[Entry]:
    """One entry per (stage, item), in pipeline order, then in source order.

    What a parallel branch (sound beside picture) happened to do for an item that ended elsewhere is left out, so that
    the books do not depend on which branch was faster.
    """
    rows, over = [], set()
    for stage in recipe.stages:
        for state in states:
            hours = _hours(state)
            for (name, item), outcome in sorted(state.outcomes.items()):
                if name == stage.name and item not in over:
                    rows.append(_entry(state, stage.unit, outcome, hours.get(item, 0.0)))
                    if outcome.status != "ok":
                        over.add(item)
    return rows


def _entry(state: VideoState, unit: str, o: Outcome, hours: float) -> Entry:
    path = str(o.path) if o.path else None
    source = state.source
    values = dict(o.values)
    return Entry(
        o.item, source.video_id, source.path.name, o.stage, unit, o.status, o.reason, values, hours, o.wall_s, path
    )


def _hours(state: VideoState) -> dict[str, float]:
    from dialogbuild.tables import read_table

    hours = {}
    ingest = state.outcomes.get(("ingest", state.source.video_id))
    if ingest is not None and ingest.status == "ok" and ingest.path:
        video = json.loads((ingest.path / "video.json").read_text())
        num, den = video["fps"]
        hours[state.source.video_id] = video["n_ticks"] * den / num / 3600
        cut = state.outcomes.get(("segment", state.source.video_id))
        if cut is not None and cut.status == "ok" and cut.path:
            clips = read_table(cut.path / "clips.parquet", ["clip_id", "n_ticks"])
            for clip, ticks in zip(clips["clip_id"], clips["n_ticks"], strict=True):
                hours[str(clip)] = float(ticks) * den / num / 3600
    return hours


def check_books(recipe: Recipe, states: Sequence[VideoState]) -> None:
    """Every source ended somewhere, and each stage's items came out of the stage before.

    Raises:
        RuntimeError: an item got lost; this is a bug in dialogbuild and the run fails rather than hide it.
    """
    lost = [s.source.video_id for s in states if not s.outcomes]
    for state in states:
        for stage in recipe.stages:
            items = [state.source.video_id] if stage.unit == "video" else state.clips()
            for item in items:
                ready = all(_upstream_ok(recipe, state, name, item) for name in (*stage.reads, *stage.after))
                if ready and not state.ended() and (stage.name, item) not in state.outcomes:
                    lost.append(f"{item} at {stage.name}")
    if lost:
        raise RuntimeError(f"{len(lost)} items have no outcome: {', '.join(lost[:5])}")


def _upstream_ok(recipe: Recipe, state: VideoState, name: str, item: str) -> bool:
    unit = recipe.stage(name).unit
    outcome = state.outcomes.get((name, item if unit == "clip" else state.source.video_id))
    return outcome is not None and outcome.status == "ok"


def final_entries(rows: Sequence[Entry]) -> list[Entry]:
    """Of each item its last entry: where it ended."""
    last: dict[str, Entry] = {}
    for row in rows:
        last[row.item] = row
    return list(last.values())


def summary(rows: Sequence[Entry]) -> list[str]:
    """The funnel as text lines: per stage what went in, came out, was rejected (with reasons) or quarantined."""
    lines = [f"{'stage':<10} {'in':>5} {'ok':>5} {'rejected':>9} {'quarantined':>12}   reasons"]
    for stage in dict.fromkeys(row.stage for row in rows):
        mine = [row for row in rows if row.stage == stage]
        status = Counter(row.status for row in mine)
        assert sum(status.values()) == len(mine)
        reasons = Counter(row.reason for row in mine if row.status == "rejected")
        text = ", ".join(f"{reason} {n}" for reason, n in sorted(reasons.items(), key=lambda kv: (-kv[1], str(kv[0]))))
        counts = f"{len(mine):>5} {status['ok']:>5} {status['rejected']:>9} {status['quarantined']:>12}"
        lines.append(f"{stage:<10} {counts}   {text}")
    return lines


def announce(plan: Plan, src: Path) -> None:
    """Write down what the run that starts now is: what ``status``, ``explain`` and ``gc`` compare with."""
    recipe, work = plan.recipe, plan.work
    (work / CODE).mkdir(parents=True, exist_ok=True)
    for modules in plan.code.values():
        path = _code_file(work, code_digest(modules))
        if modules and not path.is_file():
            write_json(path, modules)
    last = {
        "recipe": recipe.dump(),
        "stages": [stage.name for stage in recipe.stages],
        "src": str(src.resolve()),
        "trust_versions": plan.trust_versions,
    }
    write_json(work / LAST, last)


def _code_file(work: Path, digest: str) -> Path:
    return work / CODE / f"{digest}.json"


def save(work: Path, rows: Sequence[Entry]) -> bool:
    """Keep the run's books for the report. Returns whether they differ from the last run's."""
    books = [asdict(row) for row in rows]
    changed = bool(read_json(work / FUNNEL) != json.loads(json.dumps(books)))
    write_json(work / FUNNEL, books)
    return changed


def stale_keys(work: Path, stage: str, item: str, current: str | None) -> list[dict[str, Any]]:
    """Records of committed artefacts of that item whose key is not the current one, newest last."""
    found = []
    for path in newest_last(work / stage / item):
        done = read_done(path)
        if done is not None and path.name != current:
            found.append(done)
    return found


def code_of(plan: Plan, digest: str) -> Mapping[str, str] | None:
    """The modules that a digest of code stands for; None when it is not on record."""
    known = {code_digest(modules): modules for modules in plan.code.values()}
    recorded: dict[str, str] | None = read_json(_code_file(plan.work, digest)) if digest else None
    return known.get(digest, recorded)


def differences(
    old: dict[str, Any], new: dict[str, Any], modules_of: Callable[[str], Mapping[str, str] | None]
) -> list[str]:
    """Why two keys of one item differ, in words: ``segment.min_s 5 -> 10``, ``code changed: dialogbuild.faces.link``.

    Args:
        modules_of: what a digest of code stands for, as ``code_of`` tells.
    """
    words = []
    if old["version"] != new["version"]:
        words.append(f"stage version {old['version']} -> {new['version']}")
    if old["source_sha256"] != new["source_sha256"]:
        words.append("the source file's content changed")
    before, after = old["config"], new["config"]
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            words.append(f"{new['stage']}.{name} {before.get(name)} -> {after.get(name)}")
    for name in sorted(old["inputs"].keys() | new["inputs"].keys()):
        if old["inputs"].get(name) != new["inputs"].get(name):
            words.append(f"its input from {name} changed")
    for name in sorted(old["models"].keys() | new["models"].keys()):
        if old["models"].get(name) != new["models"].get(name):
            words.append(f"model file {name} changed")
    if old.get("code", "") != new["code"]:
        before, after = modules_of(old.get("code", "")), modules_of(new["code"])
        if before is None or after is None:
            words.append("code changed, which is not on record")
        else:
            changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
            words.append(f"code changed: {', '.join(changed)}")
    return words
