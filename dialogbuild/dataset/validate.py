"""Does a dataset on disk keep its own contract? Nothing is changed; every finding says what to do.

The quick pass compares every file with its commit (existence, size, SHA-256), every table with the schema, and the
tables with the manifests and the media headers. ``deep`` also decodes every row, sample and frame, and compares files
that only older commits name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dialogbuild.dataset import validate_history, validate_rows
from dialogbuild.dataset.commit import Commit, read_current, read_named
from dialogbuild.dataset.conventions import convention_id, is_known
from dialogbuild.dataset.finding import Finding
from dialogbuild.dataset.schema import CONVENTION_NAME, INDEX_NAME, INFO_NAME, MANIFEST_NAME, SPLITS
from dialogbuild.dataset.writer import line_index
from dialogbuild.errors import DatasetError

__all__ = ["Finding", "validate"]

_AGAIN = "delete it and publish again: it is made anew from the clip parts"


@dataclass(frozen=True)
class _State:
    root: Path
    commit: Commit

    def read(self, name: str) -> bytes | None:
        """A listed file's content, from its copy where it is damaged; None when both are."""
        try:
            return read_named(self.root, self.commit, name)
        except (DatasetError, KeyError):
            return None


def validate(root: Path, deep: bool = False) -> list[Finding]:
    """Check the dataset under ``root``; an empty list means that nothing is wrong.

    Args:
        deep: also decode every Parquet row (finite, in range, bit masks), every sample and every video frame.
    """
    try:
        commit = read_current(root)
    except DatasetError as error:
        fix = "dialogbuild validate --repair goes back to the newest commit that is whole; or publish again"
        return [Finding("error", "damaged_commit", "CURRENT", str(error), fix)]
    if commit is None:
        fix = "publish, or give another folder; if it was there, dialogbuild validate --repair writes it again"
        return [Finding("error", "no_dataset", "CURRENT", "nothing was published here", fix)]
    state = _State(root, commit)
    found = list(_files(state))
    broken = {f.path for f in found}
    found += _conventions(state)
    found += validate_history.check(root, commit, deep)
    found += _indexes(state)
    try:
        found += validate_rows.check(root, commit, broken, deep)
    except DatasetError as error:
        fix = "restore or make anew the damaged files above first, then validate again"
        found.append(Finding("error", "not_checked", "tables", f"rows were not looked at: {error}", fix))
    return found


def _files(state: _State) -> Iterator[Finding]:
    for name, entry in sorted(state.commit.files.items()):
        problem = validate_history.file_problem(state.root, entry)
        if problem is not None:
            code, message = problem
            copy = state.read(name) is not None
            fix = "dialogbuild validate --repair restores it from its copy; or " + _AGAIN if copy else _AGAIN
            yield Finding("error", code, entry.path, f"{name}: {message}", fix)


def _conventions(state: _State) -> Iterator[Finding]:
    info = state.read(INFO_NAME)
    if info is None:
        return
    wanted = json.loads(info)["convention_id"]
    if wanted is None:
        return
    name = CONVENTION_NAME.format(id=wanted)
    if name not in state.commit.files:
        yield Finding(
            "error", "no_conventions", INFO_NAME, f"conventions {wanted} are not in the commit", "publish again"
        )
    elif (data := state.read(name)) is not None:
        record = json.loads(data)
        if convention_id(record) != wanted or not is_known(record):
            fix = "use the version of dialogbuild that meta/info.json names, or shard and publish again"
            yield Finding("error", "unknown_conventions", name, f"this version does not know {wanted}", fix)


def _indexes(state: _State) -> Iterator[Finding]:
    for split in SPLITS:
        name = INDEX_NAME.format(split=split)
        lines, data = state.read(MANIFEST_NAME.format(split=split)), state.read(name)
        if lines is None or data is None:
            continue
        if data != line_index(lines.splitlines(keepends=True)):
            yield Finding("error", "wrong_index", name, "its offsets are not the manifest's line starts", _AGAIN)
