"""repair: put right what can be put right from the dataset itself, without touching a row or a medium.

It removes scratch folders and files that no commit names, writes a damaged ``CURRENT`` again for the newest commit that
is whole, restores small stored files from their plain-named copies, and renews those copies. Everything else needs the
clip parts: ``validate`` says what.
"""

from __future__ import annotations

from pathlib import Path

from dialogbuild.dataset import commit
from dialogbuild.dataset.commit import Commit
from dialogbuild.dataset.validate_history import file_problem
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
        done += [f"restored {p} from its copy" for p in commit.restore_from_copies(root, scratch, state)]
        missing = {e.path for n, e in state.files.items() if n != e.path and file_problem(root, e)}
        if not missing:
            done += [f"renewed the copy {name}" for name in commit.renew_copies(root, scratch, state)]
        if not pointed:  # else the orphans may be all that is left of a later state
            done += [f"removed {name}, which no commit names" for name in commit.sweep(root)]
    return done


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
