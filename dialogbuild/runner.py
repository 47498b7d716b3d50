"""Items times stages: what is ready, what is done, what it was made from; and how every input ended."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dialogbuild import __version__
from dialogbuild.artifact import (
    Outcome,
    Stage,
    artifact_dir,
    artifact_key,
    file_sha256,
    read_done,
    read_json,
    write_json,
)
from dialogbuild.codekey import code_digest, stage_code
from dialogbuild.engines import Event, Failure, Job, LocalPool, Tick
from dialogbuild.errors import ConfigError, DialogbuildError
from dialogbuild.recipe import Recipe
from dialogbuild.sources import Source
from dialogbuild.tables import read_table


@dataclass(frozen=True)
class Planned:
    """An item has reached a stage: its result was there already (``cached``), or it will run."""

    stage: str
    item: str
    cached: bool


Listener = Callable[[Event | Planned], None]
_CODE_FIELDS = {"code", "dialogbuild", "key"}


@dataclass
class VideoState:
    """What is known of one video: the outcome of each (stage, item), and the jobs under way."""

    source: Source
    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    running: set[tuple[str, str]] = field(default_factory=set)

    def ended(self) -> bool:
        """Whether the video as a whole was rejected or quarantined: then no stage takes it further."""
        return any(o.status != "ok" for (_, item), o in self.outcomes.items() if item == self.source.video_id)

    def clips(self) -> list[str]:
        """Clip ids in order, once ``segment`` has cut them."""
        cut = self.outcomes.get(("segment", self.source.video_id))
        if cut is None or cut.status != "ok" or cut.path is None:
            return []
        return [str(clip) for clip in read_table(cut.path / "clips.parquet", ["clip_id"])["clip_id"]]


class Plan:
    """Keys and readiness: a pure reading of the recipe, the sources, the code and what lies under ``work``.

    Args:
        trust_versions: take over a result that other code made, if the stage's version and all else is the same.

    Attributes:
        code: by stage, the digest of every module that it runs.
    """

    def __init__(self, recipe: Recipe, work: Path, trust_versions: bool = False) -> None:
        self.recipe = recipe
        self.work = work
        self.trust_versions = trust_versions
        self.code = {stage.name: stage_code(stage.run.__module__) for stage in recipe.stages}
        self._digests = {name: code_digest(modules) for name, modules in self.code.items()}
        self._models = {stage.name: self._hash_models(stage) for stage in recipe.stages}

    def _hash_models(self, stage: Stage) -> dict[str, str]:
        files = stage.models(self.recipe.configs[stage.name])
        missing = [str(path) for path in files if not Path(path).is_file()]
        if missing:
            raise ConfigError(f"[{stage.name}] needs a model file that is not there: {', '.join(missing)}")
        return _hashes(files)

    def state(self, source: Source) -> VideoState:
        """A video before anything is known of it but its file: copies and unreadable files have ended already."""
        state = VideoState(source)
        key = (self.recipe.stages[0].name, source.video_id)
        if source.error is not None:
            state.outcomes[key] = Outcome(*key, "", "quarantined", None, source.error)
        elif source.duplicate_of is not None:
            state.outcomes[key] = Outcome(*key, "", "rejected", None, "duplicate", {"of": source.duplicate_of})
        return state

    def items(self, stage: Stage, state: VideoState) -> list[str]:
        """The items that a stage handles for one video."""
        return [state.source.video_id] if stage.unit == "video" else state.clips()

    def inputs(self, stage: Stage, item: str, state: VideoState) -> dict[str, Outcome] | None:
        """The outcomes that a stage reads for an item; None while one is missing or was not ok."""
        found = {}
        for name in (*stage.reads, *stage.after):
            upstream = self.recipe.stage(name)
            outcome = state.outcomes.get((name, item if upstream.unit == "clip" else state.source.video_id))
            if outcome is None or outcome.status != "ok":
                return None
            if name in stage.reads:
                found[name] = outcome
        return found

    def job(self, stage: Stage, item: str, state: VideoState, inputs: dict[str, Outcome]) -> Job:
        """The job of a stage for an item, with its key and the record that ``_done.json`` will keep."""
        config = self.recipe.configs[stage.name]
        keys = {name: outcome.key for name, outcome in inputs.items()}
        models = {**self._models[stage.name], **_hashes(stage.video_files(config, state.source.path))}
        code = self._digests[stage.name]
        key = artifact_key(stage, item, state.source.sha256, config, keys, models, code)
        record = {
            "stage": stage.name,
            "version": stage.version,
            "dialogbuild": __version__,
            "code": code,
            "item": item,
            "video_id": state.source.video_id,
            "key": key,
            "config": config.model_dump(mode="json"),
            "inputs": keys,
            "models": models,
            "source_sha256": state.source.sha256,
        }
        dirs = {name: outcome.path for name, outcome in inputs.items() if outcome.path is not None}
        values = config.model_dump(mode="json")
        source, module = state.source, stage.run.__module__
        at = (stage.name, module, item, source.video_id, source.path, dirs, values)
        return Job(*at, self.work, key, record, source.mark)

    def advance(self, state: VideoState) -> Iterator[Job]:
        """Record what is already on disk and yield what can run now."""
        for stage in self.recipe.stages:
            if state.ended():
                return
            for item in self.items(stage, state):
                if (stage.name, item) in state.outcomes or (stage.name, item) in state.running:
                    continue
                inputs = self.inputs(stage, item, state)
                if inputs is None:
                    continue
                job = self.job(stage, item, state, inputs)
                cached = cached_outcome(job) or (self._of_other_code(job) if self.trust_versions else None)
                if cached is None:
                    yield job
                else:
                    state.outcomes[stage.name, item] = cached

    def _of_other_code(self, job: Job) -> Outcome | None:
        """The newest committed outcome of which all but the code is as the job's."""
        wanted = {name: value for name, value in job.record.items() if name not in _CODE_FIELDS}
        for path in newest_last(self.work / job.stage / job.item)[::-1]:
            done = read_done(path)
            if done is not None and {name: done.get(name) for name in wanted} == wanted:
                return _outcome(job, path, done)
        return None


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    """Hashes by ``folder/name``; files of one name in folders of one name are numbered, so that none is lost."""
    hashes: dict[str, str] = {}
    for path in map(Path, files):
        name = plain = f"{path.parent.name}/{path.name}"
        n = 1
        while name in hashes:
            n += 1
            name = f"{plain}#{n}"
        hashes[name] = file_sha256(path)
    return hashes


def cached_outcome(job: Job) -> Outcome | None:
    """The committed outcome of a job, or None when it has to run."""
    path = artifact_dir(job.work, job.stage, job.item, job.key)
    done = read_done(path)
    return None if done is None else _outcome(job, path, done)


def _outcome(job: Job, path: Path, done: Mapping[str, Any]) -> Outcome:
    return Outcome(job.stage, job.item, path.name, done["status"], path, done["reason"], done["values"], done["wall_s"])


def newest_last(folder: Path) -> list[Path]:
    """The artefacts of one item by the time of their commit; none where the folder is absent."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)


def quarantine_file(work: Path, stage: str, item: str) -> Path:
    """Where the traceback of a failed job is kept until a later run succeeds."""
    return work / "_quarantine" / stage / f"{item}.json"


@contextmanager
def exclusive(work: Path, share: str = "0of1") -> Iterator[None]:
    """Hold the work folder (or one share of it) for one run, and sweep what a killed one left half-written.

    Raises:
        DialogbuildError: another run holds it.
    """
    work.mkdir(parents=True, exist_ok=True)
    whole = share == "0of1"
    with (work / "_lock").open("w") as lock, (work / f"_lock.{share}").open("w") as own:
        try:
            fcntl.flock(lock, (fcntl.LOCK_EX if whole else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DialogbuildError(f"another run is using {work}; wait for it, or give another --out") from None
        if whole:  # other shares may be at work in the same folder
            shutil.rmtree(work / "_tmp", ignore_errors=True)
        yield


def run_items(plan: Plan, sources: Sequence[Source], pool: LocalPool, listen: Listener) -> list[VideoState]:
    """Take every source through every stage that it can reach.

    Raises:
        DialogbuildError: a fault that no other item can escape (a full disk, a missing part). What was
            committed stays; the same command goes on from there.
    """
    states = [plan.state(source) for source in sources]
    by_video = {state.source.video_id: state for state in states}
    waiting = [state for state in states if not state.ended()]
    backlog = 2 * pool.workers  # enough to keep every worker busy; few enough to finish videos one after another
    while waiting or len(pool):
        while waiting and len(pool) < backlog:
            _submit_ready(plan, waiting.pop(0), pool, listen)
        for event in pool.events():
            listen(event)
            if isinstance(event, Tick):
                continue
            job = event.job if isinstance(event, Failure) else None
            state = by_video[job.video_id] if job else _owner(by_video, event)  # type: ignore[arg-type]
            _settle(plan, state, event)
            _submit_ready(plan, state, pool, listen)
    return states


def _owner(by_video: dict[str, VideoState], outcome: Outcome) -> VideoState:
    for state in by_video.values():
        if (outcome.stage, outcome.item) in state.running:
            return state
    raise AssertionError(f"no video asked for {outcome.stage} of {outcome.item}")


def _settle(plan: Plan, state: VideoState, event: Outcome | Failure) -> None:
    if isinstance(event, Outcome):
        state.outcomes[event.stage, event.item] = event
        state.running.discard((event.stage, event.item))
        quarantine_file(plan.work, event.stage, event.item).unlink(missing_ok=True)
        return
    if event.fatal:
        raise DialogbuildError(f"{event.job.stage} of {event.job.item}: {event.error}")
    job = event.job
    path = quarantine_file(plan.work, job.stage, job.item)
    attempts = int(read_json(path, {}).get("attempts", 0)) + 1
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**job.record, "error": event.error, "traceback": event.traceback, "attempts": attempts})
    state.outcomes[job.stage, job.item] = Outcome(
        job.stage, job.item, job.key, "quarantined", None, event.error, {"attempts": attempts}
    )
    state.running.discard((job.stage, job.item))


def _submit_ready(plan: Plan, state: VideoState, pool: LocalPool, listen: Listener) -> None:
    before = set(state.outcomes)
    jobs = list(plan.advance(state))
    for stage, item in state.outcomes.keys() - before:
        listen(Planned(stage, item, cached=True))
    for job in jobs:
        state.running.add((job.stage, job.item))
        listen(Planned(job.stage, job.item, cached=False))
        pool.submit(job)


def write_json_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Append rows to a JSONL log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as f:
        f.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)


class RunLog:
    """The run's JSON log: one line per event, with the wall clock, beside the work."""

    def __init__(self, work: Path, recipe: Recipe, started: float | None = None) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started or time.time()))
        self.path = work / "_run" / f"{stamp}.jsonl"
        write_json_lines(self.path, [{"event": "start", "recipe": recipe.dump(), "at": stamp}])

    def __call__(self, event: Event | Planned) -> None:
        """Append what happened; progress is not kept."""
        if isinstance(event, Outcome):
            row = {**asdict(event), "path": str(event.path), "event": "outcome"}
        elif isinstance(event, Failure):
            row = {"event": "failure", "stage": event.job.stage, "item": event.job.item, "error": event.error}
        else:
            return
        row["at_s"] = round(time.time(), 3)
        write_json_lines(self.path, [row])
