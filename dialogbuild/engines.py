"""Where jobs run: a pool of spawned processes, one thread each, that outlives the death of any of them."""

from __future__ import annotations

import errno
import faulthandler
import multiprocessing as mp
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dialogbuild.artifact import Inputs, Outcome, Stage, run_stage
from dialogbuild.errors import ConfigError, MissingPart, Stopped

_THREAD_CAPS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_PROGRESS_EVERY_S = 0.5
_STOPPED = "stopped; the same command goes on from here"


@dataclass(frozen=True)
class Job:
    """One stage for one item, with all that a fresh process needs to run it."""

    stage: str
    module: str  # where the worker finds the stage, as ``STAGE``
    item: str
    video_id: str
    source: Path
    dirs: Mapping[str, Path]
    config: Mapping[str, Any]
    work: Path
    key: str
    record: Mapping[str, Any]
    source_mark: tuple[int, int] | None = None  # size and mtime of the source when it was hashed


@dataclass(frozen=True)
class Failure:
    """A job that ended in an exception that is no verdict on the data.

    ``fatal`` means that no other job can fare better (a full disk, a missing model file): the run should stop.
    """

    job: Job
    error: str
    traceback: str
    fatal: bool = False


@dataclass(frozen=True)
class Tick:
    """How far a running job is, 0 to 1."""

    job: Job
    fraction: float


Event = Outcome | Failure | Tick
_Answer = Future[Outcome | Failure]


@contextmanager
def stoppable() -> Iterator[None]:
    """Make Ctrl-C outside of a pool (while files are hashed, or pressed a second time) ``Stopped`` as well."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(_STOPPED) from None


def execute(job: Job, progress: Any = None) -> Outcome | Failure:
    """Run one job in this process; every exception becomes a ``Failure``."""
    try:
        stage: Stage = import_module(job.module).STAGE
        report = progress or (lambda done, total: None)
        inputs = Inputs(job.item, job.video_id, job.source, job.dirs, report, job.source_mark)
        return run_stage(stage, inputs, stage.config.model_validate(job.config), job.work, job.key, job.record)
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = f"{type(error).__name__}: {error}"
        return Failure(job, text, traceback.format_exc(), full or isinstance(error, MissingPart | ConfigError))


class LocalPool:
    """Spawned worker processes. Jobs go in through ``submit``; outcomes and progress come out of ``events``.

    Within the ``with`` block Ctrl-C is no ``KeyboardInterrupt``, which could strike while the executor holds a lock or
    starts a process: ``events`` raises ``Stopped`` instead. A second Ctrl-C does what it did before.

    Args:
        workers: processes; one thread each.
        log: file to which the workers' standard error is appended.
    """

    def __init__(self, workers: int, log: Path) -> None:
        self._log = log
        self.workers = max(1, workers)
        self._context = mp.get_context("spawn")
        self._progress: Any = None
        self._pool = self._new_pool(self.workers)
        self._running: dict[_Answer, Job] = {}
        self._suspects: list[Job] = []
        self._interrupted = False
        self._listens = False

    def __enter__(self) -> LocalPool:
        main = threading.current_thread() is threading.main_thread()
        # an interrupt that the caller ignores (a background job of a shell) or handles itself stays as it is
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupt)
            self._listens = True
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._pool)
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _interrupt(self, number: int, frame: object) -> None:
        self._interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __len__(self) -> int:
        return len(self._running) + len(self._suspects)

    def submit(self, job: Job) -> None:
        """Queue a job."""
        try:
            with _uninterrupted_start():
                future = self._pool.submit(_in_worker, job)
        except BrokenProcessPool:
            self._suspects.append(job)
            return
        self._running[future] = job

    def events(self) -> Iterator[Event]:
        """Whatever happened within the next half second, progress first. Empty when nothing did.

        A worker that dies (out of memory, a crash in native code) breaks every job in flight. Each of those is tried
        again alone, so that only the guilty one fails and its neighbours survive.

        Raises:
            Stopped: Ctrl-C was pressed.
        """
        yield from self._drain_progress()
        if self._running:
            for future in self._wait(self._running):
                job = self._running.pop(future)
                try:
                    yield future.result()
                except BrokenProcessPool:
                    self._suspects.append(job)
        if self._suspects and not self._running:
            yield from self._retry_alone()

    def _wait(self, futures: Collection[_Answer]) -> set[_Answer]:
        done = wait(futures, timeout=_PROGRESS_EVERY_S, return_when=FIRST_COMPLETED).done
        if self._interrupted:  # what came back together with it is done again: it may have failed because of it
            raise Stopped(_STOPPED)
        return done

    def _retry_alone(self) -> Iterator[Event]:
        self._pool.shutdown(wait=False)
        self._pool = self._new_pool(self.workers)  # new jobs come in while the suspects are tried
        suspects, self._suspects = sorted(self._suspects, key=lambda job: (job.stage, job.item)), []
        for job in suspects:
            alone = self._new_pool(1)
            try:
                with _uninterrupted_start():
                    future = alone.submit(_in_worker, job)
                while not self._wait([future]):
                    pass
                yield future.result()
            except BrokenProcessPool:
                yield Failure(job, "the worker process died (out of memory, or a crash in native code)", "")
            finally:
                _end(alone)

    def _drain_progress(self) -> Iterator[Tick]:
        jobs = {(job.stage, job.item): job for job in self._running.values()}
        while True:
            try:
                stage, item, fraction = self._progress.get_nowait()
            except queue.Empty:
                return
            if (stage, item) in jobs:
                yield Tick(jobs[stage, item], fraction)

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        self._progress = self._context.Queue()  # a worker that died may have taken the old one's lock with it
        for name in _THREAD_CAPS:  # before any worker imports numpy: one process per core, one thread each
            os.environ.setdefault(name, "1")
        return ProcessPoolExecutor(
            workers,
            mp_context=self._context,
            initializer=_start_worker,
            initargs=(self._progress, os.getpid(), self._log),
        )


def _end(pool: ProcessPoolExecutor) -> None:
    """Kill the workers at once; half-written work is swept at the next start."""
    processes = list((getattr(pool, "_processes", None) or {}).values())  # shutdown forgets them
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


@contextmanager
def _uninterrupted_start() -> Iterator[None]:
    """A process started within is deaf to Ctrl-C until ``_start_worker``: a terminal sends it to the workers too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker_progress: Any = None


def _start_worker(progress: Any, parent: int, log: Path) -> None:
    global _worker_progress
    _worker_progress = progress
    signal.signal(signal.SIGINT, _leave_it_to_the_parent)  # SIG_IGN would pass on to the programs that a stage starts
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    progress.cancel_join_thread()  # progress that nobody reads any more must not keep a worker alive
    log.parent.mkdir(parents=True, exist_ok=True)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 2)  # native libraries write their notices here; Python's errors come back as results
    os.close(sink)
    faulthandler.enable()
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _leave_it_to_the_parent(number: int, frame: object) -> None:
    pass


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)  # a killed run leaves no workers behind; half-written work is swept at the next start


def _in_worker(job: Job) -> Outcome | Failure:
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_EVERY_S and total > 0:
            last = now
            _worker_progress.put((job.stage, job.item, done / total))

    return execute(job, progress)


def usable_cores() -> int:
    """Cores this process may use (a container's or a batch job's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
