"""repair: put right what can be put right from the dataset itself, without touching a row or a medium.

It removes scratch folders and files that no commit names, writes a damaged ``CURRENT`` again for the newest commit that
is whole, restores small stored files from their plain-named copies, makes derived documents anew where both are lost
(and keeps them only if they are what was committed), and renews the copies. Everything else needs the clip parts:
``validate`` says what.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from dialogbuild.dataset import commit, history
from dialogbuild.dataset.assemble import content_of, described, documents
from dialogbuild.dataset.commit import Commit
from dialogbuild.dataset.held import Held
from dialogbuild.dataset.schema import CROISSANT_NAME, INDEX_NAME, MANIFEST_NAME, SPLITS
from dialogbuild.dataset.validate_history import file_problem
from dialogbuild.dataset.writer import line_index
from dialogbuild.errors import DatasetError


def repair(root: Path) -> list[str]:
    """Do what is safe; returns what was done, a line each. An empty list means that nothing was.

    Raises:
        DatasetError: nothing here is whole, or another process is publishing here.
    """
    if not commit.commit_numbers(root):
        raise DatasetError(f"{root} holds no dataset: no commit record is there; publish again")
    done = ["removed _tmp, left over from a publisher that died"] if (root / "_tmp").exists() else []
    with commit.exclusive(root) as scratch:
        state, pointed = _current(root, scratch)
        done += pointed
        done += [f"restored {p} from its copy" for p in history.restore_from_copies(root, scratch, state)]
        done += [f"made {name} anew" for name in _derive(root, scratch, state)]
        missing = {e.path for n, e in state.files.items() if n != e.path and file_problem(root, e)}
        if not missing:
            done += [f"renewed the copy {name}" for name in history.renew_copies(root, scratch, state)]
        if not pointed:  # else the orphans may be all that is left of a later state
            done += [f"removed {name}, which no commit names" for name in history.sweep(root)]
    return done


def _derive(root: Path, scratch: Path, state: Commit) -> list[str]:
    """Store derived files that are lost, if they come out as they were committed; their logical names."""
    lost = {n: e for n, e in state.files.items() if n != e.path and file_problem(root, e) is not None}
    if not lost:
        return []
    made = {name: data for name, data in _derivable(root, state).items() if name in lost}
    fitting = {name: data for name, data in made.items() if hashlib.sha256(data).hexdigest() == lost[name].sha256}
    for name, data in sorted(fitting.items()):
        (scratch / "document").write_bytes(data)
        commit.store_named(root, scratch / "document", name)
    return sorted(fitting)


def _derivable(root: Path, state: Commit) -> dict[str, bytes]:
    """What can be derived of ``meta/`` and the manifests' indexes, from tables, manifests and motion files."""
    held = Held(root, state)
    out = {}
    for split in SPLITS:
        try:
            lines = commit.read_named(root, state, MANIFEST_NAME.format(split=split)).splitlines(keepends=True)
        except DatasetError:
            continue
        out[INDEX_NAME.format(split=split)] = line_index(lines)
    try:
        about = (held.splits, held.takedowns, held.version, held.clips_per_file)
        content = content_of(held.parts(), held.rights(), *about)
        rest = {name: entry for name, entry in state.files.items() if name != CROISSANT_NAME}
        texts = documents(root, content, rest) | {CROISSANT_NAME: described(content, rest, state.inputs)}
    except (DatasetError, OSError):  # what they follow from is damaged too
        return out
    return out | {name: text.encode() for name, text in texts.items()}


def _current(root: Path, scratch: Path) -> tuple[Commit, list[str]]:
    """The current commit, after ``CURRENT`` was written again where it must be; and what was done."""
    try:
        state = commit.read_current(root)
    except DatasetError:
        state = None
    if state is not None:
        return state, []
    for number in reversed(commit.commit_numbers(root)):
        try:
            state = commit.read_commit(root, number)
        except DatasetError:
            continue
        if _is_whole(root, state):
            commit.point_to(root, scratch, number)
            newer = [n for n in commit.commit_numbers(root) if n > number]
            lost = (
                f"; commits {newer} are damaged: what they published or took down must be done again" if newer else ""
            )
            return state, [f"wrote CURRENT again: commit {number} is the newest that is whole{lost}"]
    raise DatasetError(f"no commit of {root} is whole: publish again, into an empty folder, or restore a copy")


def _is_whole(root: Path, state: Commit) -> bool:
    for name, entry in state.files.items():
        if name == entry.path and file_problem(root, entry) is not None:
            return False
        if name != entry.path:
            try:
                commit.read_named(root, state, name)
            except DatasetError:
                return False
    return True
