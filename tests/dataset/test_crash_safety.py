"""A publisher that dies at any step leaves a readable dataset, and the next one completes the work."""

import os
import shutil
from pathlib import Path

import pytest

from dialogbuild.dataset.commit import read_current
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.validate import validate
from dialogbuild.publish import publish


class PowerCut(BaseException):
    """Not an Exception: nothing in the package may catch it."""


class Steps:
    """Counts the operations that change the disk and cuts the power before or after a chosen one."""

    def __init__(self, monkeypatch, at: int) -> None:
        self.n, self.at = 0, at
        for module, name in (
            (os, "replace"),
            (os, "fsync"),
            (shutil, "copyfile"),
            (shutil, "rmtree"),
            (Path, "unlink"),
        ):
            monkeypatch.setattr(module, name, self._wrap(getattr(module, name)))

    def _wrap(self, operation):
        def wrapped(*args, **kwargs):
            self._step()
            result = operation(*args, **kwargs)
            self._step()
            return result

        return wrapped

    def _step(self) -> None:
        self.n += 1
        if self.n >= self.at:  # everything after the cut fails too: no clean-up runs on a dead machine
            raise PowerCut


def surviving_state(root: Path):
    """What a reader sees: the number of the commit and its clips. Every file that it names must be sound."""
    current = read_current(root)
    if current is None:
        return (0, [])
    errors = [f for f in validate(root) if f.level == "error"]
    assert errors == []
    return (current.number, [row["id"] for row in open_dataset(root).rows])


def cut_everywhere(tmp_path: Path, start: Path | None, parts, step: int):
    """Publish with the power cut at every ``step``-th operation; yields the folder after each cut, until none hits."""
    at = 1
    while True:
        root = tmp_path / f"cut{at}"
        if start is not None:
            shutil.copytree(start, root)
        with pytest.MonkeyPatch.context() as patch:
            steps = Steps(patch, at)
            try:
                publish(parts, root)
            except PowerCut:
                hit = True
            else:
                hit = False
        yield root, hit
        shutil.rmtree(root)
        if not hit:
            assert steps.n > 100, "the operations that are counted are not those that publish uses"
            return
        at += step


@pytest.mark.parametrize("every", [31, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", [True, False])
def test_a_power_cut_at_any_step_leaves_the_old_state_or_the_new_one(parts, tmp_path, first, every):
    ids = [d.parent.name for d in parts]
    start = None
    if not first:
        start = tmp_path / "start"
        publish(parts[:1], start)
    old, new = ((0, []) if first else (1, ids[:1])), ((1, ids) if first else (2, ids))
    whole = tmp_path / "whole"
    if start is not None:
        shutil.copytree(start, whole)
    publish(parts, whole)
    wanted = {p.relative_to(whole): p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    seen = set()
    for root, _ in cut_everywhere(tmp_path, start, parts, step=every):
        state = surviving_state(root)
        assert state in (old, new)
        seen.add(state[0])
        assert publish(parts, root).commit == new[0]
        assert {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} == wanted
    assert seen == {old[0], new[0]}
