"""Commits: a dataset changes from one complete state to the next, or not at all, whenever the power goes.

    CURRENT                "<n> <sha256 of commits/<n>.json>": the only file that is ever replaced and believed
    commits/<n>.json       every file of that state: path, sha256, bytes, rows; the parent's number and hash
    frames/ media/ commits/objects/   immutable files, named by their content
    tables/ manifests/ meta/          copies of the current state under plain names, for people and other tools

Order of writing: files (fsync, rename to the name of their content) -> commit record -> CURRENT -> plain copies ->
litter. A reader that starts from CURRENT sees the old state or the new one. Publishers exclude each other by a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dialogbuild.artifact import file_sha256, sync
from dialogbuild.dataset.schema import FORMAT_VERSION, OBJECT_PATH, major
from dialogbuild.errors import DatasetError


@dataclass(frozen=True)
class Entry:
    """One file of a commit. ``rows`` is -1 for what has none; ``made_from`` lets the next publish reuse it."""

    path: str
    sha256: str
    bytes: int
    rows: int = -1
    made_from: str = ""


@dataclass(frozen=True)
class Commit:
    """A complete state of the dataset. ``files`` maps logical names to what holds their content."""

    number: int
    inputs: str
    files: Mapping[str, Entry]
    record: Mapping[str, Any]

    def path(self, root: Path, name: str) -> Path:
        """Where a logical name (``tables/turns.parquet``) lies. KeyError when the commit has no such file."""
        return root / self.files[name].path


def commit_path(root: Path, number: int) -> Path:
    """Where the record of a commit lies."""
    return root / "commits" / f"{number:06d}.json"


def read_commit(root: Path, number: int, sha256: str | None = None) -> Commit:
    """Read a commit's record.

    Raises:
        DatasetError: it is missing, is not the one that was hashed, or follows a newer format.
    """
    path = commit_path(root, number)
    if not path.is_file():
        raise DatasetError(f"{path} is missing: restore the folder from a copy, or publish into an empty one")
    data = path.read_bytes()
    damaged = DatasetError(f"{path} is damaged: it differs from what was committed; restore it, or publish again")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise damaged
    try:
        record = json.loads(data)
        version = record["format_version"]
        if major(version) != major(FORMAT_VERSION):
            raise DatasetError(
                f"the dataset has format {version}, this version reads {FORMAT_VERSION}: "
                f"use dialogbuild of the dataset's major version, or publish it again"
            )
        if record.get("seal", _seal(record)) != _seal(record):
            raise damaged
        files = {name: Entry(**entry) for name, entry in record["files"].items()}
        return Commit(record["commit"], record["inputs"], files, record)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None


def _seal(record: Mapping[str, Any]) -> str:
    """SHA-256 of the record's other entries: a record is sound or not even where nothing else knows its hash."""
    rest = {name: value for name, value in record.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_current(root: Path) -> Commit | None:
    """The current commit, or None when nothing was published here yet. DatasetError as ``read_commit``."""
    try:
        text = (root / "CURRENT").read_bytes().decode("latin-1")
    except FileNotFoundError:
        return None
    if not re.fullmatch(r"[0-9]+ [0-9a-f]{64}\n", text):
        raise DatasetError(f"{root / 'CURRENT'} is damaged: dialogbuild validate --repair writes it again")
    number, sha256 = text.split()
    return read_commit(root, int(number), sha256)


def read_named(root: Path, state: Commit, name: str) -> bytes:
    """Content of a file that the commit lists, verified; from its plain-named copy when the stored file is damaged.

    Raises:
        DatasetError: neither is what was committed.
    """
    entry = state.files[name]
    for path in (root / entry.path, root / name):
        if path.is_file():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == entry.sha256:
                return data
    raise DatasetError(f"{root / entry.path} ({name}) is missing or damaged: validate the dataset, then publish again")


@contextmanager
def exclusive(root: Path) -> Iterator[Path]:
    """Hold the dataset for one publisher; yields an empty scratch folder on the same file system.

    Raises:
        DatasetError: another publisher holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DatasetError(f"another process is publishing into {root}; wait for it") from None
        scratch = root / "_tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
        shutil.rmtree(scratch, ignore_errors=True)


def store(root: Path, file: Path, template: str, **names: str) -> Entry:
    """Move a finished file to the name of its content, durably.

    Args:
        file: on the dataset's own file system; it is gone afterwards.
        template: a path template of the schema; ``{h}`` is filled in here.
    """
    sha256 = file_sha256(file)
    entry = Entry(template.format(h=sha256[:16], **names), sha256, file.stat().st_size)
    place(file, root / entry.path)
    return entry


def store_named(root: Path, file: Path, name: str, rows: int = -1) -> Entry:
    """Store a small file that a commit lists under a logical name such as ``meta/info.json``."""
    stem, dot, suffix = Path(name).name.partition(".")
    entry = store(root, file, OBJECT_PATH, stem=stem, suffix=dot + suffix)
    return Entry(entry.path, entry.sha256, entry.bytes, rows)


def place(file: Path, target: Path) -> None:
    """Move a finished file to ``target``, durably; both on the dataset's own file system."""
    sync(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(file, target)  # replaces a damaged file of that name by a sound one
    sync(target.parent)


def commit(root: Path, scratch: Path, inputs: str, files: Mapping[str, Entry], about: Mapping[str, Any]) -> Commit:
    """Make a state current. Called under ``exclusive``, after every file was stored.

    Args:
        inputs: key of everything that the state was made from.
        about: further entries of the record (clip count, convention id, ...).
    """
    parent = read_current(root)
    number = 1 if parent is None else parent.number + 1
    record = {
        "format_version": FORMAT_VERSION,
        **about,
        "commit": number,
        "inputs": inputs,
        "parent": None if parent is None else {"commit": parent.number, "sha256": _commit_hash(root, parent.number)},
        "files": {name: asdict(entry) for name, entry in sorted(files.items())},
    }
    record["seal"] = _seal(json.loads(json.dumps(record)))
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    # a record beyond CURRENT was left by a publisher that died: under the lock it may be replaced
    _write(scratch, commit_path(root, number), text)
    _write(scratch, root / "CURRENT", f"{number} {hashlib.sha256(text.encode()).hexdigest()}\n")
    return Commit(number, inputs, dict(files), record)


def _commit_hash(root: Path, number: int) -> str:
    return file_sha256(commit_path(root, number))


def _write(scratch: Path, target: Path, text: str) -> None:
    file = scratch / target.name
    file.write_text(text)
    place(file, target)


def point_to(root: Path, scratch: Path, number: int) -> None:
    """Write ``CURRENT`` again for a commit that is there. Called under ``exclusive``."""
    _write(scratch, root / "CURRENT", f"{number} {_commit_hash(root, number)}\n")


def commit_numbers(root: Path) -> list[int]:
    """Numbers of the commit records that lie on disk, ascending."""
    found = (re.fullmatch(r"(\d{6,})\.json", path.name) for path in (root / "commits").glob("*.json"))
    return sorted(int(m[1]) for m in found if m)
