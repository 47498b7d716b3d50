"""Throughput and memory of the whole fit, from decoded crops and landmarks to smoothed parameters with sigmas.

Workers are processes with one thread each, as the project's stages run. Compiled code is loaded before the clock
starts.
"""

from __future__ import annotations

import multiprocessing as mp
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
from fit_data import FitClip, every_nth, load_clip
from fit_photometric import photometric

from dialogbuild.head import load_head

Report = dict[str, float]


def fps_together(seeds: Sequence[int], seconds: float, cache: Path) -> Report:
    """Frames per second of wall time, all workers together, one clip each at the same time."""
    for seed in seeds:
        load_clip(seed, seconds, cache)
    context = mp.get_context("spawn")
    barrier, queue = context.Barrier(len(seeds)), context.Queue()
    jobs = [context.Process(target=_timed, args=(s, seconds, cache, barrier, queue)) for s in seeds]
    for job in jobs:
        job.start()
    spans = [queue.get() for _ in jobs]
    for job in jobs:
        job.join()
    wall_s = max(end for _, _, end, _ in spans) - min(start for _, start, _, _ in spans)
    frames = sum(n for n, _, _, _ in spans)
    return {"fps": frames / wall_s, "wall_s": wall_s, "cpu_s": sum(cpu for *_, cpu in spans), "frames": frames}


def _timed(seed: int, seconds: float, cache: Path, barrier: Barrier, queue: Any) -> None:
    clip, model = load_clip(seed, seconds, cache), load_head()
    photometric(replace(every_nth(clip, 8), whole=None), model)
    barrier.wait()
    start, cpu = time.time(), time.process_time()
    photometric(clip, model)
    queue.put((len(clip), start, time.time(), time.process_time() - cpu))


def worker_memory(seed: int, seconds: float, cache: Path, frames: int) -> Report:
    """Peak memory (MB) of a fresh worker that fits a clip repeated to ``frames`` frames, and its CPU ms per frame.

    ``once_ms`` is the same for the clip as it is; ``crops_mb`` is how much of the memory the windows take.
    """
    load_clip(seed, seconds, cache)
    context = mp.get_context("spawn")
    queue = context.Queue()
    job = context.Process(target=_long, args=(seed, seconds, cache, frames, queue))
    job.start()
    report: Report = queue.get()
    job.join()
    return report


def _long(seed: int, seconds: float, cache: Path, frames: int, queue: Any) -> None:
    clip, model = load_clip(seed, seconds, cache), load_head()
    once = _cpu_s(lambda: photometric(clip, model)) / len(clip)
    clip = repeated(clip, frames)
    each = _cpu_s(lambda: photometric(clip, model)) / frames
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    queue.put({"mb": peak_mb, "crops_mb": clip.frames_rgb.nbytes / 2**20, "once_ms": 1e3 * once, "long_ms": 1e3 * each})


def _cpu_s(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def repeated(clip: FitClip, frames: int) -> FitClip:
    """The clip over and over, to and fro so that nothing jumps, until it has ``frames`` frames."""
    n = len(clip)
    there_and_back = np.concatenate([np.arange(n), np.arange(n)[::-1]])
    at = np.resize(there_and_back, frames)
    return pick(clip, at, np.ones(frames - 1, bool))


def pick(clip: FitClip, at: np.ndarray[Any, Any], linked: np.ndarray[Any, Any]) -> FitClip:
    """The clip's frames ``at``, in that order, as a clip of its own."""
    n = len(clip)
    rows = {f.name: getattr(clip, f.name) for f in fields(clip) if f.name not in ("linked", "whole", "true_pose")}
    kept = {name: a[at] for name, a in rows.items() if isinstance(a, np.ndarray) and len(a) == n}
    return replace(clip, **kept, linked=linked, true_pose=clip.true_pose.frames(at), whole=None)
