"""Ctrl-C ends a run within seconds, whatever it is doing at that moment, and leaves nothing behind."""

from __future__ import annotations

import importlib
import multiprocessing as mp
import multiprocessing.popen_spawn_posix as spawning
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dialogbuild.engines import Job, LocalPool
from dialogbuild.errors import Stopped
from dialogbuild.pipeline import Finished, Places, run_stages
from dialogbuild.recipe import Recipe

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture(autouse=True)
def _fakes_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FAKES))


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C as in a terminal; tests that a shell runs in the background would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def go(folder: Path, text: str) -> Finished:
    (folder / "v").mkdir(exist_ok=True)
    (folder / "v" / "a.mp4").write_text(text)
    stage = importlib.import_module("fake_measure").STAGE
    recipe = Recipe("fakes", (stage,), {"measure": stage.config()})
    return run_stages(recipe, folder / "v", Places(folder / "out"), workers=1, quiet=True)


def press_once_started(folder: Path, whole_group: bool = False) -> threading.Thread:
    def press() -> None:
        deadline = time.monotonic() + 30
        while not list((folder / "out/work/_tmp").glob("*/half")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = [child.pid for child in mp.active_children()] if whole_group else []
        for pid in (*children, os.getpid()):
            os.kill(pid or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    return thread


def children_end(within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while mp.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not mp.active_children()


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("whole_group", [False, True], ids=["kill", "terminal"])
def test_a_running_job_is_ended_and_neither_done_nor_quarantined(tmp_path: Path, whole_group: bool) -> None:
    thread = press_once_started(tmp_path, whole_group)
    started = time.monotonic()
    with pytest.raises(Stopped, match="goes on from here"):
        go(tmp_path, "slow")
    thread.join()
    assert time.monotonic() - started < 30, "the job itself takes 60 s"
    assert children_end()
    assert not (tmp_path / "out/work/measure").exists()
    assert not (tmp_path / "out/work/_quarantine").exists(), "an interrupt is no fault of the item"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("heeded")
def test_an_interrupt_while_a_worker_starts_leaves_no_orphan_and_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launch = getattr(spawning.Popen, "_launch")  # noqa: B009 (private, and in no stub)
    pids = []

    def launch_then_press(self: spawning.Popen, process: mp.Process) -> None:
        launch(self, process)
        pids.append(self.pid)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(spawning.Popen, "_launch", launch_then_press)
    with pytest.raises(Stopped):
        go(tmp_path, "hello")
    assert len(pids) == 1
    assert children_end()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("heeded")
def test_a_job_that_is_tried_again_alone_is_ended_too(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("slow")
    work = tmp_path / "out" / "work"
    job = Job("measure", "fake_measure", "a", "a", tmp_path / "a.mp4", {}, {"gain": 1}, work, "key", {})
    thread = press_once_started(tmp_path)
    with LocalPool(1, tmp_path / "log") as pool:
        pool._suspects.append(job)
        with pytest.raises(Stopped):
            list(pool.events())
    thread.join()
    assert children_end()


@pytest.mark.usefixtures("heeded")
def test_an_interrupt_while_files_are_hashed_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("dialogbuild.pipeline.discover", press)
    with pytest.raises(Stopped, match="goes on from here"):
        go(tmp_path, "hello")


def test_a_caller_that_ignores_interrupts_is_obeyed(tmp_path: Path) -> None:
    """A shell starts background jobs so: Ctrl-C is meant for what runs in the foreground."""
    script = f"""if __name__ == "__main__":
    import signal, sys
    from pathlib import Path
    sys.path[:0] = {[str(FAKES), str(Path(__file__).parent)]!r}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import dialogbuild.pipeline, test_interrupt
    run_items = dialogbuild.pipeline.run_items
    dialogbuild.pipeline.run_items = lambda *a: (signal.raise_signal(signal.SIGINT), run_items(*a))[1]
    sys.exit(test_interrupt.go(Path({str(tmp_path)!r}), "hello").computed)
"""
    (tmp_path / "run.py").write_text(script)
    assert subprocess.run([sys.executable, tmp_path / "run.py"], timeout=60, check=False).returncode == 1
