"""Does a dataset on disk keep its own contract? Nothing is repaired; every finding says what to do.

The quick pass compares every file with its commit (existence, size, SHA-256), every table with the schema, and the
tables with the manifests and the media headers. ``deep`` also decodes every row and every frame.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dialogbuild.artifact import file_sha256
from dialogbuild.dataset import validate_rows
from dialogbuild.dataset.commit import Commit, Entry, orphans, read_commit, read_current
from dialogbuild.dataset.conventions import convention_id, is_known
from dialogbuild.dataset.finding import Finding
from dialogbuild.dataset.schema import CONVENTION_NAME, INDEX_NAME, INFO_NAME, MANIFEST_NAME, SPLITS
from dialogbuild.errors import DatasetError

__all__ = ["Finding", "validate"]

_AGAIN = "delete it and publish again: it is made anew from the clip parts"


@dataclass(frozen=True)
class _State:
    root: Path
    commit: Commit


def validate(root: Path, deep: bool = False) -> list[Finding]:
    """Check the dataset under ``root``; an empty list means that nothing is wrong.

    Args:
        deep: also decode every Parquet row (finite, in range, bit masks) and every video frame.
    """
    try:
        commit = read_current(root)
    except DatasetError as error:
        return [Finding("error", "damaged_commit", "CURRENT", str(error), "restore the file, or publish again")]
    if commit is None:
        return [
            Finding("error", "no_dataset", "CURRENT", "nothing was published here", "publish, or give another folder")
        ]
    state = _State(root, commit)
    found = list(_files(state))
    broken = {f.path for f in found}
    found += _conventions(state, broken)
    found += _copies(state)
    found += _history(state)
    if not any(path.startswith("commits/objects/") for path in broken):
        found += _indexes(state)
        found += validate_rows.check(root, commit, broken, deep)
    return found


def _files(state: _State) -> Iterator[Finding]:
    for name, entry in sorted(state.commit.files.items()):
        problem = _file_problem(state.root, entry)
        if problem is not None:
            code, message = problem
            yield Finding("error", code, entry.path, f"{name}: {message}", _AGAIN)


def _file_problem(root: Path, entry: Entry) -> tuple[str, str] | None:
    path = root / entry.path
    if not path.is_file():
        return "missing_file", "the commit names it, the folder does not have it"
    if (size := path.stat().st_size) != entry.bytes:
        return "wrong_size", f"{size} bytes, committed with {entry.bytes}"
    if file_sha256(path) != entry.sha256:
        return "wrong_checksum", "its content is not what was committed"
    return None


def _conventions(state: _State, broken: set[str]) -> Iterator[Finding]:
    info = state.commit.files.get(INFO_NAME)
    if info is None or info.path in broken:
        return
    wanted = json.loads((state.root / info.path).read_text())["convention_id"]
    if wanted is None:
        return
    entry = state.commit.files.get(CONVENTION_NAME.format(id=wanted))
    if entry is None:
        yield Finding(
            "error", "no_conventions", INFO_NAME, f"conventions {wanted} are not in the commit", "publish again"
        )
    elif entry.path not in broken:
        record = json.loads((state.root / entry.path).read_text())
        if convention_id(record) != wanted or not is_known(record):
            fix = "use the version of dialogbuild that meta/info.json names, or shard and publish again"
            yield Finding("error", "unknown_conventions", entry.path, f"this version does not know {wanted}", fix)


def _copies(state: _State) -> Iterator[Finding]:
    for name, entry in sorted(state.commit.files.items()):
        if name == entry.path:
            continue
        path = state.root / name
        if not path.is_file() or file_sha256(path) != entry.sha256:
            fix = "publish again: it renews the copies under plain names (readers of this package do not use them)"
            yield Finding("warning", "stale_copy", name, "is not the current commit's content", fix)


def _history(state: _State) -> Iterator[Finding]:
    try:
        extra = orphans(state.root)
    except DatasetError as error:
        yield Finding("warning", "damaged_history", "commits", str(error), "purge the history: keep the current commit")
        return
    for path in extra:
        name = path.relative_to(state.root).as_posix()
        yield Finding("warning", "orphan", name, "no commit names it", "publish again to sweep it, or delete it")
    parent = state.commit.record["parent"]
    if parent is not None and (state.root / "commits" / f"{parent['commit']:06d}.json").is_file():
        try:
            read_commit(state.root, parent["commit"], parent["sha256"])
        except DatasetError as error:
            fix = "purge the history: keep the current commit"
            yield Finding("warning", "damaged_history", f"commits/{parent['commit']:06d}.json", str(error), fix)


def _indexes(state: _State) -> Iterator[Finding]:
    for split in SPLITS:
        name = INDEX_NAME.format(split=split)
        lines = state.commit.path(state.root, MANIFEST_NAME.format(split=split)).read_bytes()
        data = state.commit.path(state.root, name).read_bytes()
        offsets = list(struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8]))
        want = [0]
        for line in lines.splitlines(keepends=True):
            want.append(want[-1] + len(line))
        if offsets != want:
            yield Finding("error", "wrong_index", name, "its offsets are not the manifest's line starts", _AGAIN)
