"""The part of validation that looks beside the current state: plain copies, older commits, litter, half a takedown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dialogbuild.artifact import file_sha256
from dialogbuild.dataset.commit import Commit, Entry, commit_numbers, commit_path, read_commit
from dialogbuild.dataset.finding import Finding
from dialogbuild.dataset.history import PLAIN, orphans
from dialogbuild.dataset.withheld import first_commit
from dialogbuild.errors import DatasetError

_REPAIR = "dialogbuild validate --repair"
_DROP = "drop the history: dialogbuild compact --keep 1"


def check(root: Path, commit: Commit, deep: bool) -> Iterator[Finding]:
    """Findings, all of them warnings: the current state can be read as it is.

    Args:
        deep: also compare files that only older commits name with their SHA-256.
    """
    yield from _copies(root, commit)
    yield from _history(root, commit, deep)
    yield from _litter(root)


def file_problem(root: Path, entry: Entry, content: bool = True) -> tuple[str, str] | None:
    """What is wrong with a stored file: a finding's code and message; None when nothing is.

    Args:
        content: compare the SHA-256, not only the size.
    """
    path = root / entry.path
    if not path.is_file():
        return "missing_file", "the commit names it, the folder does not have it"
    if (size := path.stat().st_size) != entry.bytes:
        return "wrong_size", f"{size} bytes, committed with {entry.bytes}"
    if content and file_sha256(path) != entry.sha256:
        return "wrong_checksum", "its content is not what was committed"
    return None


def _copies(root: Path, commit: Commit) -> Iterator[Finding]:
    named = {name: entry for name, entry in commit.files.items() if name != entry.path}
    for name, entry in sorted(named.items()):
        path = root / name
        if not path.is_file() or file_sha256(path) != entry.sha256:
            fix = f"{_REPAIR} renews the copies under plain names (readers of this package do not use them)"
            yield Finding("warning", "stale_copy", name, "is not the current commit's content", fix)
    for folder in PLAIN:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and name not in named:
                fix = "move it out of the dataset: the next publish deletes it"
                yield Finding("warning", "orphan", name, "the current commit does not list it", fix)


def _history(root: Path, commit: Commit, deep: bool) -> Iterator[Finding]:
    first = first_commit(commit.record.get("takedowns", ()))
    known = {entry.path for entry in commit.files.values()}
    child = commit
    for number in reversed([n for n in commit_numbers(root) if n < commit.number]):
        name = commit_path(Path(), number).as_posix()
        if number < first:
            fix = "run the takedown again, or publish: either finishes it"
            yield Finding("warning", "unfinished_takedown", name, "is from before the last takedown", fix)
        parent = child.record["parent"]
        try:
            said = parent["sha256"] if parent and parent["commit"] == number else None
            child = read_commit(root, number, said)
        except DatasetError as error:
            yield Finding("warning", "damaged_history", name, str(error), _DROP)
            break
        for entry in sorted(child.files.values(), key=lambda e: e.path):
            if entry.path not in known and (problem := file_problem(root, entry, deep)):
                message = f"{problem[1]}; only older commits name it"
                yield Finding("warning", "damaged_history", entry.path, message, _DROP)
            known.add(entry.path)


def _litter(root: Path) -> Iterator[Finding]:
    if (root / "_tmp").exists():
        yield Finding("warning", "orphan", "_tmp", "is left over from a publisher that died", f"{_REPAIR} removes it")
    try:
        extra = orphans(root)
    except DatasetError:
        return  # told as damaged history
    for path in extra:
        name = path.relative_to(root).as_posix()
        yield Finding("warning", "orphan", name, "no commit names it", f"{_REPAIR} sweeps it, and so does a publish")
