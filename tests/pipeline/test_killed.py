"""kill -9 in the middle of every stage, one after the other: the end is the same bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dialogbuild.stages import ORDER


def start(src: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dialogbuild", "run", "demo", str(src), "--out", str(out), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def committed(out: Path, stage: str) -> bool:
    return bool(list((out / "work" / stage).glob("*/*/_done.json")))


def content(root: Path) -> dict[str, str]:
    """Every file and its hash; ``_done.json`` holds times and is left out."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "_done.json")
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def kill_within(stage: str, src: Path, out: Path) -> bool:
    """Start the run and kill it while ``stage`` is at work; True when it was caught there."""
    if committed(out, stage):
        return False  # a parallel branch was faster than an earlier kill
    process = start(src, out)
    before = ORDER[: ORDER.index(stage)]
    tmp = out / "work" / "_tmp"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and not committed(out, stage):
        if all(committed(out, s) for s in before) and tmp.is_dir() and any(tmp.iterdir()):
            time.sleep(0.02)
            break
        time.sleep(0.002)
    caught = process.poll() is None and not committed(out, stage)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return caught


def test_a_run_killed_in_every_stage_ends_in_the_same_bytes(tmp_path: Path, make_clip: Any) -> None:
    src = tmp_path / "videos"
    src.mkdir()
    (src / "a.mp4").hardlink_to(make_clip(duration_s=5.2).path)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(src, calm).wait(timeout=300) == 0
    caught = [stage for stage in ORDER if kill_within(stage, src, killed)]
    assert len(caught) >= 5, f"the kill must hit stages at work to prove anything; it hit {caught}"
    last = start(src, killed)
    assert last.wait(timeout=300) == 0
    for part in ("dataset", *(f"work/{stage}" for stage in ORDER)):
        assert content(killed / part) == content(calm / part), f"{part} differs after kills within {caught}"
    assert not list((killed / "work" / "_quarantine").rglob("*.json")), "a kill is no failure of the item"
    time.sleep(1.5)
    survivors = subprocess.run(["pgrep", "-f", str(killed)], capture_output=True, text=True, check=False).stdout
    assert survivors == "", "a killed run leaves no workers behind"
