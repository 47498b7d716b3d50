"""A publisher that dies at any step leaves a readable dataset, and the next one completes the work."""

import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fabricate import fabricate, shard_parts

from dialogbuild.dataset.commit import read_current
from dialogbuild.dataset.merge import compact, merge
from dialogbuild.dataset.reader import open_dataset
from dialogbuild.dataset.takedown import takedown
from dialogbuild.dataset.validate import validate
from dialogbuild.publish import append, publish


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


@pytest.mark.parametrize("every", [41, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("first", [True, False])
def test_a_power_cut_at_any_step_leaves_the_old_state_or_the_new_one(tiny, tmp_path, first, every):
    parts = tiny
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


WHY = {"reason": "consent_withdrawn", "by": "ticket 1", "now": datetime(2026, 1, 1, tzinfo=timezone.utc)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Parts of two clips of one video and of one of another, half a second each. Read only."""
    root = tmp_path_factory.mktemp("tiny")
    one = fabricate(root / "one", "talk-aaaa", n_ticks=29, n_clips=2)
    two = fabricate(root / "two", "talk-bbbb", n_ticks=24, seed=1)
    return shard_parts(one, root / "work") + shard_parts(two, root / "work")


@pytest.fixture(scope="module")
def sets(tiny, tmp_path_factory):
    """``a``: a dataset of the first clip, then of the first two; ``b``: one of the third. Read only."""
    root = tmp_path_factory.mktemp("sets")
    publish(tiny[:1], root / "a")
    append(tiny[1:2], root / "a")
    publish(tiny[2:], root / "b")
    return root


def every_cut(tmp_path, start, act, step, first):
    """Do ``act(root)`` on a copy of ``start`` with the power cut at every ``step``-th operation; the folder then."""
    at = first
    while True:
        root = tmp_path / f"cut{at}"
        shutil.copytree(start, root)
        with pytest.MonkeyPatch.context() as patch:
            Steps(patch, at)
            try:
                act(root)
            except PowerCut:
                hit = True
            else:
                hit = False
        yield root, at
        shutil.rmtree(root)
        if not hit:
            return
        at += step


CHANGES = {
    "append": lambda sets, parts: lambda root: append(parts[2:], root),
    "merge": lambda sets, parts: lambda root: merge([sets / "b"], root),
    "takedown": lambda sets, parts: lambda root: takedown(root, "talk-aaaa_c000", **WHY),
    "compact": lambda sets, parts: lambda root: compact(root, clips_per_file=1, keep=1),
}


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_power_cut_in_a_change_leaves_the_old_state_or_the_new_one_and_the_same_call_ends_it(
    sets, tiny, tmp_path, monkeypatch, change, every
):
    monkeypatch.setattr("secrets.token_hex", lambda n: "5a" * n)
    act = CHANGES[change](sets, tiny)
    start = sets / "a"
    old = surviving_state(start)
    whole = Path(shutil.copytree(start, tmp_path / "whole"))
    act(whole)
    new = surviving_state(whole)
    wanted = {p.relative_to(whole): p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    seen, cuts = set(), 0
    for root, _ in every_cut(tmp_path, start, act, every, first=1 + every // 2):
        state = surviving_state(root)
        assert state in (old, new)
        seen.add(state[0])
        cuts += 1
        act(root)
        assert surviving_state(root) == new
        assert {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} == wanted
    assert seen == {old[0], new[0]}
    assert cuts * every > 90, "the operations that are counted are not those that the change uses"


def test_the_next_change_finishes_a_takedown_that_was_cut_after_its_commit(sets, tiny, tmp_path, monkeypatch):
    """Nobody calls again after the power came back: the next change of any kind removes the bytes."""
    root = Path(shutil.copytree(sets / "a", tmp_path / "d"))
    with monkeypatch.context() as patch:
        patch.setattr("dialogbuild.dataset.history.forget", _cut)
        with pytest.raises(PowerCut):
            takedown(root, "talk-aaaa_c000", **WHY)
    assert read_current(root).number == 3
    assert any("talk-aaaa_c000" in p.name for p in (root / "media").iterdir())
    append(tiny[2:], root)
    assert not any("talk-aaaa_c000" in p.name for p in root.rglob("*"))
    assert not any(b"talk-aaaa_c000" in p.read_bytes() for p in root.rglob("*") if p.is_file())
    assert validate(root) == []


def _cut(*given):
    raise PowerCut
