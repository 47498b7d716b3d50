"""What lies beside the current commit: plain-named copies of it, older commits, and litter."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from dialogbuild.artifact import file_sha256, sync
from dialogbuild.dataset.commit import Commit, commit_numbers, commit_path, exclusive, place, read_commit, read_current
from dialogbuild.errors import DatasetError

PLAIN = ("tables", "manifests", "meta")  # folders of the copies
_STORED = re.compile(r"-[0-9a-f]{16}(\.[a-z0-9.]+)$")
_STORES = ("frames", "media", "commits/objects")


def refresh_plain(root: Path, scratch: Path, state: Commit) -> None:
    """Bring the plain-named copies up to the current state and drop those that it does not list."""
    renew_copies(root, scratch, state)
    for folder in PLAIN:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.relative_to(root).as_posix() not in state.files:
                path.unlink()


def renew_copies(root: Path, scratch: Path, state: Commit) -> list[str]:
    """Write the plain-named copies that are not the current state's; returns their names."""
    renewed = []
    for name, entry in sorted((n, e) for n, e in state.files.items() if n != e.path):
        target = root / name
        if not target.is_file() or file_sha256(target) != entry.sha256:
            shutil.copyfile(root / entry.path, scratch / "copy")
            place(scratch / "copy", target)
            renewed.append(name)
    return renewed


def restore_from_copies(root: Path, scratch: Path, state: Commit) -> list[str]:
    """Write stored files that are damaged again from sound plain-named copies; returns their paths."""
    restored = []
    for name, entry in sorted((n, e) for n, e in state.files.items() if n != e.path):
        path = root / entry.path
        if (path.is_file() and file_sha256(path) == entry.sha256) or not (root / name).is_file():
            continue
        if file_sha256(root / name) == entry.sha256:
            shutil.copyfile(root / name, scratch / "copy")
            place(scratch / "copy", path)
            restored.append(entry.path)
    return restored


def orphans(root: Path) -> list[Path]:
    """Files in the stores that no commit up to the current one names: litter of a publisher that died."""
    current = read_current(root)
    last = current.number if current else 0
    kept = {e.path for n in commit_numbers(root) if n <= last for e in read_commit(root, n).files.values()}
    extra = [path for path in _in_stores(root) if path.relative_to(root).as_posix() not in kept]
    return extra + [commit_path(root, n) for n in commit_numbers(root) if n > last]


def _in_stores(root: Path) -> list[Path]:
    return sorted(p for store in _STORES for p in (root / store).rglob("*") if p.is_file())


def stored_files(root: Path) -> set[str]:
    """Names of the files in the stores and of the commit records, whoever names them."""
    paths = [*_in_stores(root), *(commit_path(root, n) for n in commit_numbers(root))]
    return {p.relative_to(root).as_posix() for p in paths}


def _delete(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()
    for folder in {path.parent for path in paths}:
        sync(folder)  # a power cut must not bring them back


def sweep(root: Path) -> list[str]:
    """Delete orphans whose name is one of ours; returns what was deleted. Called under ``exclusive``.

    Nothing is deleted while a commit record is damaged: nobody knows then what it names.
    """
    try:
        extra = orphans(root)
    except DatasetError:
        return []
    gone = [p for p in extra if _STORED.search(p.name) or p.parent == root / "commits"]
    _delete(gone)
    return [p.relative_to(root).as_posix() for p in gone]


def purge(root: Path, keep: int = 1) -> list[str]:
    """Forget all but the last ``keep`` commits and delete the files that only they named; returns what was deleted.

    Withdrawn data is gone from the folder only after this.

    Raises:
        ValueError: ``keep`` is less than 1.
        DatasetError: nothing was published here, or another publisher is at work.
    """
    if keep < 1:
        raise ValueError(f"keep at least the current commit, not {keep}")
    with exclusive(root):
        current = read_current(root)
        if current is None:
            raise DatasetError(f"{root} holds no dataset: CURRENT is missing")
        forget(root, keep - 1)
        return sweep(root)


def forget(root: Path, older: int) -> list[int]:
    """Delete all commit records but the current one and the ``older`` before it; their files become orphans.

    Called under ``exclusive``. Returns the numbers that are gone.
    """
    current = read_current(root)
    gone = [n for n in commit_numbers(root) if current is not None and n < current.number - older]
    _delete([commit_path(root, number) for number in gone])
    return gone
