"""Throughput and memory of the whole fit, from decoded crops and landmarks to smoothed parameters with sigmas.

Workers are processes with one thread each, as the project's stages run. Compiled code is loaded before the clock
starts. As a script, this is such a worker.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fit_data import FitClip, every_nth, load_clip
from fit_photometric import photometric

from dialogbuild.head import load_head
from dialogbuild.head.model import HeadModel

Array = npt.NDArray[Any]
Report = dict[str, float]


def fps_together(seeds: Sequence[int], seconds: float, cache: Path) -> Report:
    """Frames per second of wall time, all workers together, one clip each at the same time."""
    for seed in seeds:
        load_clip(seed, seconds, cache)
    workers = [_start("timed", seed, seconds, cache, 0) for seed in seeds]
    for worker in workers:
        _line(worker)
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    reports = [json.loads(_line(worker)) for worker in workers]
    for worker in workers:
        worker.wait()
    wall_s = max(r["end"] for r in reports) - min(r["start"] for r in reports)
    frames = sum(r["frames"] for r in reports)
    return {"fps": frames / wall_s, "wall_s": wall_s, "cpu_s": sum(r["cpu_s"] for r in reports), "frames": frames}


def worker_memory(seed: int, seconds: float, cache: Path, frames: int) -> Report:
    """Peak memory (MB) of a fresh worker that fits a clip repeated to ``frames`` frames, and its CPU ms per frame.

    ``once_ms`` is the same for the clip as it is; ``before_mb`` is the peak before the fit began, ``crops_mb`` what the
    windows take of it.
    """
    load_clip(seed, seconds, cache)
    worker = _start("long", seed, seconds, cache, frames)
    report: Report = json.loads(_line(worker))
    worker.wait()
    return report


def _start(kind: str, seed: int, seconds: float, cache: Path, frames: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, kind, str(seed), str(seconds), str(cache), str(frames)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(worker: subprocess.Popen[str]) -> str:
    """The worker's next line."""
    assert worker.stdout is not None
    found = worker.stdout.readline()
    if not found:
        raise RuntimeError(f"a worker ended without an answer: {worker.args}")
    return found


def _warm(clip: FitClip, model: HeadModel) -> None:
    photometric(replace(every_nth(clip, 8), whole=None), model)


def _timed(seed: int, seconds: float, cache: Path) -> Report:
    """Fit a clip as soon as a line arrives."""
    clip, model = load_clip(seed, seconds, cache), load_head()
    _warm(clip, model)
    print("ready", flush=True)
    sys.stdin.readline()
    start, cpu_s = time.time(), _cpu_s(lambda: photometric(clip, model))
    return {"frames": len(clip), "start": start, "end": time.time(), "cpu_s": cpu_s}


def _long(seed: int, seconds: float, cache: Path, frames: int) -> Report:
    """Fit a repeated clip, take the peak, then fit the clip itself."""
    model = load_head()
    clip = load_clip(seed, seconds, cache)
    _warm(clip, model)
    clip = repeated(clip, frames)
    before_mb = _peak_mb()
    each = _cpu_s(lambda: photometric(clip, model)) / frames
    peak_mb = _peak_mb()
    crops_mb = clip.frames_rgb.nbytes / 2**20
    once = load_clip(seed, seconds, cache)
    own = _cpu_s(lambda: photometric(once, model)) / len(once)
    times = {"once_ms": 1e3 * own, "long_ms": 1e3 * each}
    return {"mb": peak_mb, "before_mb": before_mb, "crops_mb": crops_mb, **times}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cpu_s(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def repeated(clip: FitClip, frames: int) -> FitClip:
    """The clip over and over, to and fro so that nothing jumps, until it has ``frames`` frames."""
    n = len(clip)
    there_and_back = np.concatenate([np.arange(n), np.arange(n)[::-1]])
    return pick(clip, np.resize(there_and_back, frames), np.ones(frames - 1, bool))


def pick(clip: FitClip, at: Array, linked: Array) -> FitClip:
    """The clip's frames ``at``, in that order, as a clip of its own."""
    names = [f.name for f in fields(clip) if f.name not in ("linked", "whole", "true_pose")]
    rows = {name: getattr(clip, name) for name in names}
    kept = {name: a[at] for name, a in rows.items() if isinstance(a, np.ndarray) and len(a) == len(clip)}
    return replace(clip, **kept, linked=linked, true_pose=clip.true_pose.frames(at), whole=None)


def main() -> None:
    """A worker: ``timed`` or ``long``, seed, seconds, cache, frames."""
    kind, seed, seconds, cache, frames = sys.argv[1:]
    where = (int(seed), float(seconds), Path(cache))
    print(json.dumps(_timed(*where) if kind == "timed" else _long(*where, int(frames))), flush=True)


if __name__ == "__main__":
    main()
