"""Artefacts: immutable directories, keyed by everything that made them, committed by one rename.

    <work>/<stage>/<item>/<key>/        the files of one stage for one video or one clip
                               _done.json   ok | rejected(reason, values), and what it was made from
    <work>/_quarantine/<stage>/<item>.json  a traceback; tried again on the next run
    <work>/_tmp/                            half-written work of a run that was killed: swept at the next start

``key`` hashes the source's content, the stage's name and version, the code it runs, its config, the keys of the
artefacts it reads and the hashes of the model files it uses. What a key does not hold (device, workers, batch size)
must not change the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dialogbuild.config import StageConfig
from dialogbuild.errors import Reject

DONE = "_done.json"
Unit = Literal["video", "clip"]
Progress = Callable[[int, int], None]  # (done, total) of whatever the stage counts, usually frames


def _silent(done: int, total: int) -> None:
    del done, total


def _no_models(config: Any) -> Sequence[Path]:
    del config
    return ()


def _no_video_files(config: Any, source: Path) -> Sequence[Path]:
    del config, source
    return ()


@dataclass(frozen=True)
class Inputs:
    """What a stage may look at: the artefacts it declared in ``reads``, and the original media.

    ``inputs["tracks"]`` is the directory of the upstream artefact. ``source`` is never written to.
    """

    item: str  # video id, or clip id for a per-clip stage
    video_id: str
    source: Path  # the original file, read only
    dirs: Mapping[str, Path]
    progress: Progress = _silent
    source_mark: tuple[int, int] | None = None  # size and mtime_ns when its content was hashed; None: not watched

    def __getitem__(self, stage: str) -> Path:
        return self.dirs[stage]


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline: ``run(inputs, out, config)`` reads upstream artefacts and fills ``out``.

    ``reads`` enters the key. ``after`` only decides whether the stage runs at all (its stages must be ok), so that a
    retuned gate recomputes nothing behind it. ``models(config)`` names the files whose content enters the key;
    ``video_files(config, source)`` those that do so for one video alone, and that may be missing as yet.
    """

    name: str
    version: int  # bump with every change of behaviour, for keys without code (``--trust-versions``, no source files)
    unit: Unit
    config: type[StageConfig]
    run: Callable[[Inputs, Path, Any], None]
    reads: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    models: Callable[[Any], Sequence[Path]] = field(default=_no_models)
    video_files: Callable[[Any, Path], Sequence[Path]] = field(default=_no_video_files)


@dataclass(frozen=True)
class Outcome:
    """How one stage ended for one item. ``status`` is ``ok``, ``rejected`` or ``quarantined``."""

    stage: str
    item: str
    key: str
    status: Literal["ok", "rejected", "quarantined"]
    path: Path | None = None
    reason: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, hex."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256_310(f)


def _sha256_310(f: Any) -> str:
    h = hashlib.sha256()
    while block := f.read(1 << 20):
        h.update(block)
    return h.hexdigest()


def artifact_key(
    stage: Stage,
    item: str,
    source_sha256: str,
    config: StageConfig,
    input_keys: Mapping[str, str],
    models: Mapping[str, str],
    code: str,
) -> str:
    """The name of a result: equal exactly when nothing that could change the result has changed. 20 hex digits.

    Args:
        code: the ``code_digest`` of what the stage runs; empty when its source is not at hand.
    """
    recipe = {
        "item": item,
        "source": source_sha256,
        "stage": stage.name,
        "version": stage.version,
        "config": config.canonical(),
        "inputs": dict(sorted(input_keys.items())),
        "models": dict(sorted(models.items())),
        "code": code,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:20]


def artifact_dir(work: Path, stage: str, item: str, key: str) -> Path:
    """Where the artefact of that key lives, whether or not it exists yet."""
    return work / stage / item / key


def read_done(directory: Path) -> dict[str, Any] | None:
    """The record of a committed artefact, or None when there is none."""
    try:
        done: dict[str, Any] = json.loads((directory / DONE).read_text())
    except FileNotFoundError:
        return None
    return done


def write_json(path: Path, value: Any) -> None:
    """Write JSON in one piece, with sorted keys and a final newline, so that equal values are equal bytes."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
    os.replace(scratch, path)


def read_json(path: Path, default: Any = None) -> Any:
    """Read JSON; ``default`` where the file is absent or damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return default


def run_stage(
    stage: Stage, inputs: Inputs, config: StageConfig, work: Path, key: str, record: Mapping[str, Any]
) -> Outcome:
    """Run one stage for one item and commit what it made.

    A ``Reject`` is committed like a success, with its reason, so that it is not tried again until its key changes.
    Any other exception propagates: nothing is committed and the caller quarantines the item.

    Args:
        record: what the caller knows about the key (input keys, model hashes, config), copied into ``_done.json``.
    """
    final = artifact_dir(work, stage.name, inputs.item, key)
    tmp = work / "_tmp" / uuid.uuid4().hex
    tmp.mkdir(parents=True)
    wall, cpu = time.perf_counter(), time.process_time()
    status, reason, values = "ok", None, {}
    try:
        try:
            stage.run(inputs, tmp, config)
        finally:
            _check_source(inputs)  # a verdict on a file that changed meanwhile is as wrong as a result
    except Reject as verdict:
        status, reason, values = "rejected", verdict.reason, dict(verdict.values)
        shutil.rmtree(tmp)
        tmp.mkdir()
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    wall_s = round(time.perf_counter() - wall, 3)
    done = {
        **record,
        "status": status,
        "reason": reason,
        "values": values,
        "wall_s": wall_s,
        "cpu_s": round(time.process_time() - cpu, 3),
        "peak_rss_mb": _peak_rss_mb(),
    }
    write_json(tmp / DONE, done)
    commit_dir(tmp, final)
    return Outcome(stage.name, inputs.item, key, "ok" if status == "ok" else "rejected", final, reason, values, wall_s)


def source_mark(path: Path) -> tuple[int, int]:
    """What tells cheaply that a file was changed: its size and modification time in ns."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _check_source(inputs: Inputs) -> None:
    if inputs.source_mark is not None and source_mark(inputs.source) != inputs.source_mark:
        raise RuntimeError(f"{inputs.source.name} changed while it was read; run again when it is complete")


def commit_dir(tmp: Path, final: Path) -> None:
    """Make a finished directory visible under its final name, all or nothing, safe against a power cut.

    When another process committed the same key first, its result stands and ours is dropped: they are equal.
    """
    for path in sorted(tmp.rglob("*")):
        if path.is_file():
            sync(path)
    sync(tmp)
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists() and read_done(final) is None:  # the rest of an interrupted deletion
        os.rename(final, tmp.with_name(tmp.name + ".old"))
    try:
        os.rename(tmp, final)
    except OSError:
        if read_done(final) is None:
            raise
        shutil.rmtree(tmp)
    sync(final.parent)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's list of names, onto the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _peak_rss_mb() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
